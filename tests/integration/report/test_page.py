"""The page of a run in a real browser: at the width of a phone, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from deployer.report.page import page_of
from tests.support.clients.chromium import Page, chromium

#: A phone, a tablet and a desk, in pixels.
WIDTHS = (360, 768, 1440)
LONG = "a-name-that-is-longer-than-any-screen-of-a-phone-is-wide.stats.example.com"

#: The lowest contrast of any text with what is behind it, as WCAG 2.2 (1.4.3) computes it.
_LOWEST_CONTRAST = """
(() => {
    const numbers = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const part = value => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        };
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = element => {
        for (let each = element; each; each = each.parentElement) {
            const colour = numbers(getComputedStyle(each).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
        const a = light(numbers(getComputedStyle(element).color)), b = light(behind(element));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        found.push([ratio, element.className + ": " + walker.currentNode.data.trim()]);
    }
    return found.sort((one, other) => one[0] - other[0])[0];
})()
"""
_WIDER_THAN_THE_SCREEN = """
[...document.querySelectorAll("body *")]
    .filter(each => each.checkVisibility() && each.getBoundingClientRect().right > innerWidth + 1)
    .filter(each => !each.closest(".diff"))
    .map(each => each.tagName + "." + each.className)
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(
        page_of(_document(), at=datetime(2026, 11, 21, 15, 4, tzinfo=UTC)), encoding="utf-8"
    )
    with chromium(folder) as page:
        page.open((folder / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        yield page


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(tab: Page, width: int) -> None:
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    tab.ask("Emulation.setDeviceMetricsOverride", **screen)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(_WIDER_THAN_THE_SCREEN) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(tab: Page, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    tab.ask("Emulation.setEmulatedMedia", features=features)
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 22, 29)"}[scheme]
    contrast, where = tab.evaluate(_LOWEST_CONTRAST)
    assert contrast >= 4.5, where


def test_the_page_loads_nothing(tab: Page) -> None:
    asked = [each["request"]["url"] for each in tab.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.endswith("/report.html")] == []


_FINDING: dict[str, Any] = {
    "code": "upgrade-not-forwarded",
    "severity": "error",
    "hop": "proxy",
    "symptom": f"wss://{LONG}/ws answered 426 Upgrade Required",
    "cause": "The proxy reaches the service but does not pass Upgrade and Connection on.",
    "fix": "Pass both on, in this very location.",
    "directive": "proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;",
    "file": f"/etc/nginx/sites-available/{LONG}.conf:12",
    "evidence": "HTTP status 426\nServer: nginx",
    "request": f"GET /ws HTTP/1.1\nHost: {LONG}",
    "response": "HTTP/1.1 426 Upgrade Required",
    "page": "docs/findings/upgrade-not-forwarded.md",
    "alternatives": [{"code": "wrong-route", "tell": "The service's own log shows no request."}],
}
_CANARIES = {
    "affected": {"nginx": "reload"},
    "routes": [
        {
            "site": LONG,
            "path": "/ws",
            "required": True,
            "opened": 2,
            "survived": 1,
            "lost": 1,
            "canaries": [
                {"fate": "survived", "by": None, "close_code": None, "after_s": None},
                {"fate": "reset", "by": "proxy", "close_code": None, "after_s": 1.2},
            ],
        }
    ],
    "others": {"connections": 1200, "still_open": 1199, "are_websockets": True},
}


def _check(hop: str, **given: Any) -> dict[str, Any]:
    timings_s = {"dns": 0.004, "connect": 0.011, "tls": 0.024, "upgrade": 0.009, "ping": 0.01}
    handshake = {"status_code": 101, "timings_s": {**timings_s, "first_message": 0.02}}
    return {
        "site": LONG,
        "name": "handshake",
        "target": f"/ws at {LONG}:7890",
        "hop": hop,
        "ok": True,
        "detail": "101, ping 2 ms",
        "seconds": 0.05,
        "handshake": handshake,
        "finding": None,
        **given,
    }


def _change(action: str, name: str) -> dict[str, Any]:
    return {
        "resource_id": f"file:/etc/{LONG}/{name}",
        "action": action,
        "before": {"mode": "0644"},
        "after": {"mode": "0600"},
        "reason": "a reason",
        "secret": False,
        "before_content": f"one {LONG} {LONG} {LONG}\n",
        "after_content": "two\n",
    }


def _document() -> dict[str, Any]:
    """The JSON document of a failed apply, with all its parts."""
    warning = {**_FINDING, "severity": "warning", "code": "tls-expires-soon"}
    note = {**_FINDING, "severity": "note", "code": "sample-key"}
    host = {
        "state": "reverted",
        "exit_code": 3,
        "message": "the verification failed",
        "seconds": 4.2,
        "generation": 3,
        "notes": ["a note"],
        "watchdog": False,
        "checks": [
            _check("proxy", name="certificate", handshake=None, valid_until="2026-11-25"),
            _check("public", skipped=True, handshake=None, detail="does not resolve"),
            _check("proxy", ok=False, finding=_FINDING, detail="answered 426"),
            _check("backend", finding=warning),
        ],
        "plan": {
            "changes": [_change("create", "a"), _change("update", "b"), _change("delete", "c")],
            "forecasts": [{"words": "this reload leaves 431 open WebSocket connections"}],
        },
        "canaries": _CANARIES,
    }
    place = {"host": "web1", "site": LONG}
    return {
        "format_version": 1,
        "command": "apply",
        "exit_code": 3,
        "seconds": 4.2,
        "hosts": {"web1": host, "web2": {"state": "confirmed", "exit_code": 0, "seconds": 3.0}},
        "findings": [{**place, **each} for each in (_FINDING, warning, note)],
    }
