"""The table of `verify`: one column for each hop, times by phase, and findings below."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.model import Alternative, CheckResult, Finding, HandshakeResult, Hop
from deployer.report.findings import finding_lines
from deployer.report.hops import check_rows, skip_lines

SITE = "stats.example.com"


def check(name: str, hop: Hop, target: str = SITE, **about: Any) -> CheckResult:
    return CheckResult(site=SITE, name=name, hop=hop, target=target, **{"ok": True, **about})


def shaken(hop: Hop, target: str, *, status: int = 101, **timings_ms: float) -> CheckResult:
    timings_s = {name: value / 1000 for name, value in timings_ms.items()}
    answer = HandshakeResult(uri="wss://…", hop=hop, status_code=status, timings_s=timings_s)
    return check(
        "handshake",
        hop,
        target,
        handshake=answer,
        ok=status == 101,
        seconds=sum(timings_s.values()),
        detail=f"answered {status}",
    )


CHECKS = [
    check("certificate", "proxy", seconds=0.021, detail="TLSv1.3, 90.0 days left"),
    shaken("proxy", "/ws", connect=1.0, tls=9.0, upgrade=2.5, first_message=0.4, ping=1.2),
    shaken("backend", "/ws at 127.0.0.1:7890", connect=0.3, upgrade=1.5, ping=0.9),
    check("dns", "public", seconds=0.012, detail="192.0.2.7, 2001:db8::7"),
    check("certificate", "public", f"{SITE} at 192.0.2.7:443", seconds=0.03),
    check("certificate", "public", f"{SITE} at [2001:db8::7]:443", skipped=True, detail="no way"),
    shaken("public", "/ws at 192.0.2.7:443", status=502, dns=12.0, connect=20.0, tls=41.0),
]


def written(checks: list[CheckResult], width: int) -> list[str]:
    rows = check_rows(checks, host="", width=width)
    return ["".join(text for text, _ in row).rstrip() for row in rows]


def test_hops_are_columns() -> None:
    assert written(CHECKS, 80) == [
        "",
        "stats.example.com  backend      proxy        public",
        "  dns              ·            ·            ✓ 12 ms      192.0.2.7,",
        "                                                          2001:db8::7",
        "  certificate      ·            ✓ 21 ms      – skipped ×2 no way",
        "  handshake /ws    ✓ 2.7 ms     ✓ 14 ms      ✗ 502        answered 502",
        "",
        "  times in ms            DNS      TCP      TLS  upgrade  message     ping",
        "  /ws      backend         ·      0.3        ·      1.5        ·      0.9",
        "           proxy           ·      1.0      9.0      2.5      0.4      1.2",
        "           public       12.0     20.0     41.0        ·        ·        ·",
    ]


def test_a_wide_terminal_shows_details_on_one_line() -> None:
    lines = written(CHECKS, 120)
    assert lines[2].endswith("192.0.2.7, 2001:db8::7")
    assert lines[4].endswith("✗ 502        answered 502")


def test_long_paths_are_wrapped_before_their_slashes() -> None:
    long = check("handshake", "proxy", "/api/v1/workbench/messages", detail="answered 101 " * 4)
    backend, public = check("dns", "backend"), check("dns", "public")
    assert written([long, backend, public], 80)[3:] == [
        "  handshake /api/v1 ·            ✓ passed     ·            answered 101",
        "    /workbench                                             answered 101",
        "    /messages                                              answered 101",
        "                                                           answered 101",
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    long = "/api/v1/linsight/workbench/task-message-stream"
    more = [shaken("proxy", long, connect=1234.5), check("h2c refused", "proxy", long)]
    lines = written([*CHECKS, *more, check("x" * 90, "proxy", detail="y" * 300)], width)
    assert max(map(len, lines)) <= max(width, 80)
    assert any("…" in line for line in lines)


def test_each_reason_to_skip_is_shown_once() -> None:
    skipped = check("dns", "public", skipped=True, detail=f"{SITE} does not resolve")
    assert list(skip_lines([*CHECKS, skipped, skipped])) == [
        "certificate (public) skipped: no way",
        f"dns (public) skipped: {SITE} does not resolve",
    ]


def test_a_hop_without_any_check_is_named_alone() -> None:
    skipped = check("dns", "public", skipped=True, detail="not wanted")
    assert list(skip_lines([check("handshake", "proxy"), skipped])) == [
        "public skipped: not wanted"
    ]


def test_a_finding_short_and_verbose() -> None:
    finding = Finding(
        code="bad-gateway",
        hop="proxy",
        symptom="wss://stats.example.com/ws answered 502",
        cause="The proxy does not reach the service.",
        fix="Compare proxy_pass with the upstream.",
        evidence="HTTP status 502\nServer: nginx\nlog: connect() failed",
        request="GET /ws HTTP/1.1\nHost: stats.example.com\nUser-Agent: deployer-verify",
        response="HTTP/1.1 502 Bad Gateway\nServer: nginx",
        directive="proxy_pass http://127.0.0.1:7890;",
        file="/etc/nginx/sites-enabled/stats.conf:12",
        alternatives=(Alternative(code="upstream-scheme", tell="its log speaks of TLS"),),
    )
    short = [line.text for line in finding_lines(finding, verbose=False)]
    assert short == [
        "",
        "wss://stats.example.com/ws answered 502  [bad-gateway]",
        "hop:      proxy",
        "cause:    The proxy does not reach the service.",
        "fix:      Compare proxy_pass with the upstream.",
        "write:    proxy_pass http://127.0.0.1:7890;",
        "in:       /etc/nginx/sites-enabled/stats.conf:12",
        "sent:     GET /ws HTTP/1.1 · Host: stats.example.com",
        "evidence: HTTP status 502",
        "Server: nginx",
        "log: connect() failed",
        "or:       upstream-scheme: its log speaks of TLS",
        "more:     deployer verify --explain bad-gateway (docs/findings/bad-gateway.md)",
    ]
    full = [line.text for line in finding_lines(finding, verbose=True)]
    assert "User-Agent: deployer-verify" in full
    assert "got:      HTTP/1.1 502 Bad Gateway" in full
    assert "evidence: log: connect() failed" in full
