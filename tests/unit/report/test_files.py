"""The HTML page and the JUnit XML of a run, built from its JSON document."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from deployer.commit.outcome import HostReport, RunReport
from deployer.errors import UsageError
from deployer.model import Alternative, CheckResult, Finding, HandshakeResult
from deployer.report.document import error_document, run_document
from deployer.report.files import ReportFiles
from deployer.report.junit import junit_of
from deployer.report.page import page_of
from deployer.report.page.hops import hops_of
from deployer.report.page.view import page_view
from deployer.report.page.waterfall import waterfall_of

AT = datetime(2026, 11, 21, 15, 4, tzinfo=UTC)
HOSTILE = '<script>alert("1")</script>'
FINDING = Finding(
    code="upgrade-not-forwarded",
    hop="proxy",
    symptom=f"wss://chat.example.com/ws answered 426 {HOSTILE}",
    cause="The proxy does not pass Upgrade on.",
    fix="Pass it on.",
    directive="proxy_http_version 1.1;",
    file="/etc/nginx/sites-enabled/chat.conf:12",
    request="GET /ws HTTP/1.1",
    response="HTTP/1.1 426 Upgrade Required\n\x00\x1b[31m",
    alternatives=(Alternative(code="wrong-route", tell="ask the service straight"),),
)


def _check(**given: Any) -> CheckResult:
    timings_s = given.pop("timings_s", {})
    uri = "wss://chat.example.com/ws"
    handshake = HandshakeResult(uri=uri, hop=given["hop"], status_code=101, timings_s=timings_s)
    values = {
        "site": "chat.example.com",
        "name": "handshake",
        "target": "/ws",
        "ok": True,
        "seconds": sum(timings_s.values()),
        "handshake": handshake if timings_s else None,
    }
    return CheckResult(**{**values, **given})


CHECKS = (
    _check(
        hop="proxy",
        name="certificate",
        target="chat.example.com",
        valid_until="2026-11-30",
        detail="TLSv1.3",
    ),
    _check(
        hop="public",
        ok=False,
        finding=FINDING,
        detail="answered 426",
        timings_s={"dns": 0.01, "connect": 0.02, "tls": 0.03, "upgrade": 0.015},
    ),
    _check(hop="backend", timings_s={"connect": 0.001, "upgrade": 0.002, "ping": 0.0005}),
    _check(hop="proxy", name="handshake", target="/live", skipped=True, detail="no DNS yet"),
)


def _document(*checks: CheckResult, state: Any = "unhealthy") -> dict[str, Any]:
    report = HostReport(host="web1", state=state, checks=checks, seconds=1.5, notes=("a note",))
    return run_document(RunReport(command="verify", hosts=(report,), seconds=1.5))


class _Names(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def test_a_page_has_the_findings_and_loads_nothing() -> None:
    text = page_of(_document(*CHECKS), at=AT)
    names = _Names()
    names.feed(text)
    assert "script" not in names.tags
    assert "link" not in names.tags
    assert names.loaded == []
    assert "url(" not in text
    assert HOSTILE not in text
    assert "/etc/nginx/sites-enabled/chat.conf:12" in text
    assert "proxy_http_version 1.1;" in text
    assert "9 days left" in text
    assert "1 of 4 checks failed, 1 skipped" in text


def test_the_page_of_an_error_shows_the_error() -> None:
    text = page_of(error_document("verify", exit_code=1, message="site.yml:3 is wrong"), at=AT)
    assert "site.yml:3 is wrong" in text
    assert "No host was contacted" in text


def test_errors_come_before_warnings() -> None:
    warning = Finding(
        code="version-banner", hop="proxy", symptom="s", cause="c", fix="f", severity="warning"
    )
    checks = (_check(hop="proxy", finding=warning), *CHECKS)
    page = page_view(_document(*checks), at=AT)
    assert [finding.code for finding in page.findings] == [
        "upgrade-not-forwarded",
        "version-banner",
    ]
    assert page.mark == "bad"


def test_warnings_are_shown_on_a_healthy_host() -> None:
    warning = Finding(
        code="version-banner", hop="proxy", symptom="s", cause="c", fix="f", severity="warning"
    )
    page = page_view(_document(_check(hop="proxy", finding=warning), state="healthy"), at=AT)
    assert page.mark == "warn"
    assert page.exit_code == 0


def test_the_picture_marks_the_hop_at_fault() -> None:
    picture = hops_of(_document(*CHECKS)["hosts"]["web1"]["checks"])
    assert picture is not None
    assert picture.at_fault == "proxy"
    assert [(hop.hop, hop.mark) for hop in picture.hops] == [
        ("public", "bad"),
        ("proxy", "good"),
        ("backend", "good"),
    ]
    assert picture.hops[2].took == "3 ms"


def test_bars_are_consecutive_on_one_scale() -> None:
    chart = waterfall_of(_document(*CHECKS)["hosts"]["web1"]["checks"])
    assert chart is not None
    assert [words for _, words in chart.ticks] == ["0", "20 ms", "40 ms", "60 ms", "80 ms"]
    bars = chart.rows[0].bars
    assert [bar.phase for bar in bars] == ["dns", "connect", "tls", "upgrade"]
    assert [bar.left for bar in bars] == [0.0, 12.5, 37.5, 75.0]
    assert bars[-1].left + bars[-1].width == pytest.approx(93.75)


def test_junit_counts_and_quotes() -> None:
    root = ElementTree.fromstring(junit_of(_document(*CHECKS), at=AT).encode())  # noqa: S314
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("type") == "upgrade-not-forwarded"
    assert HOSTILE in str(failure.get("message"))
    assert "proxy_http_version 1.1;" in str(failure.text)
    assert root.find(".//testcase").get("classname") == "web1.chat.example.com"  # type: ignore[union-attr]


@pytest.mark.parametrize("state", ["unreachable", "stranded", "reverted"])
def test_junit_has_an_error_for_a_host_that_has_no_failing_check(state: str) -> None:
    report = HostReport(host="web1", state=state, message="no answer\nat all")  # type: ignore[arg-type]
    document = run_document(RunReport(command="apply", hosts=(report,)))
    root = ElementTree.fromstring(junit_of(document, at=AT).encode())  # noqa: S314
    error = root.find(".//error")
    assert error is not None
    assert (error.get("type"), error.get("message")) == (state, "no answer")


def test_reports_are_written_atomically_with_default_modes(tmp_path: Path) -> None:
    files = ReportFiles(html=tmp_path / "report.html", junit=tmp_path / "report.xml")
    files.check_writable()
    files.write(_document(*CHECKS), at=AT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.xml"]
    assert re.match("<!doctype html>", (tmp_path / "report.html").read_text())
    plain = tmp_path / "plain"
    plain.write_text("")
    assert (tmp_path / "report.xml").stat().st_mode == plain.stat().st_mode


def test_a_missing_folder_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a writable folder"):
        ReportFiles(html=tmp_path / "missing" / "report.html").check_writable()
    with pytest.raises(UsageError, match="is a folder"):
        ReportFiles(junit=tmp_path).check_writable()


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """``--junit /dev/null`` by root would otherwise leave a machine without its /dev/null."""
    pipe, kept, link = tmp_path / "pipe", tmp_path / "kept.xml", tmp_path / "link.xml"
    os.mkfifo(pipe)
    kept.write_text("former")
    link.symlink_to(kept)
    files = ReportFiles(junit=pipe)
    files.check_writable()
    with pytest.raises(UsageError, match="could not be written"):
        files.write(_document(*CHECKS), at=AT)  # no reader
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write(_document(*CHECKS), at=AT)
        assert os.read(reader, 1 << 16).startswith(b"<?xml")
    finally:
        os.close(reader)
    assert pipe.is_fifo()

    ReportFiles(junit=link).write(_document(*CHECKS), at=AT)
    assert link.is_symlink()
    assert kept.read_text().startswith("<?xml")
    assert Path("/dev/null").is_char_device()
    ReportFiles(junit=Path("/dev/null")).write(_document(*CHECKS), at=AT)
    assert Path("/dev/null").is_char_device()
