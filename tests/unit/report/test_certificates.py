"""The table of certificates, on terminals of two widths and in a file."""

from __future__ import annotations

import io

import pytest

from deployer.commit.outcome import HostReport, RunReport, with_judged_certificates
from deployer.report.output import Output
from deployer.report.terminal import TerminalReport
from tests.support.certificates.status_cases import FINE, NOW, again, case, judged_run
from tests.support.paths import CASES

GOLDEN = CASES / "certificates-table"
SHORT_LIVED = {
    **FINE,
    "domain": "ca.example.com",
    "names": ["ca.example.com"],
    "wanted_names": ["ca.example.com"],
    "issuer": "acme",
    "wanted_directory": "https://ca.corp.example/acme/directory",
    "not_before": "2026-11-20T09:00:00Z",
    "not_after": "2026-11-26T09:00:00Z",
    "renewal_due_at": "2026-11-23T09:00:00Z",
    "ari": ["2026-11-23T20:00:00Z", "2026-11-24T04:00:00Z"],
    "last_attempt": {"at": "2026-11-21T01:00:00Z", "ok": True, "what": "not due", "words": ""},
    "served": {**FINE["served"], "names": ["ca.example.com"]},
}
MANY = [f"{name}.example.com" for name in ("mine", "a", "b", "c", "d", "e")]
PROVIDED = {
    **case("few-days-of-a-file")["status"],
    "domain": "mine.example.com",
    "wanted_names": MANY,
    "served": {**FINE["served"], "names": MANY},
}
TRIED = case("tried-and-failed")["status"]
OTHER = {**case("another-is-served")["status"], "wanted_names": ["chat.example.com"]}
NONE_YET = {**case("none-yet")["status"], "wanted_names": ["chat.example.com"]}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_of(*hosts: HostReport) -> RunReport:
    run = RunReport(command="certs status", hosts=hosts, seconds=1.0)
    return with_judged_certificates(run, now=NOW, warn_days=None, again=again)


def several() -> RunReport:
    return run_of(
        HostReport(host="web1", state="healthy", certificates=(FINE, SHORT_LIVED, PROVIDED)),
        HostReport(host="web2", state="healthy", certificates=(TRIED, OTHER, NONE_YET)),
        HostReport(host="web3", state="unreachable", message="web3: no answer"),
    )


def shown(run: RunReport, stream: io.StringIO, *, verbose: bool = False) -> str:
    output = Output(stream)
    report = TerminalReport(output, hosts=[host.host for host in run.hosts], verbose=verbose)
    report.certificates(run, now=NOW)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    run = several() if width == 80 else judged_run(FINE, PROVIDED, TRIED, OTHER, NONE_YET)
    text = shown(run, Terminal()).replace("\x1b[1m", "").replace("\x1b[2m", "")
    text = text.replace("\x1b[0m", "")
    assert text == (GOLDEN / f"{width}.txt").read_text()
    assert max(map(len, text.splitlines())) <= width


def test_in_a_file_every_certificate_has_one_line() -> None:
    text = shown(several(), io.StringIO())
    assert text == (GOLDEN / "file.txt").read_text()


def test_colours_distinguish_good_late_and_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = shown(judged_run(FINE, case("late")["status"], case("expired")["status"]), Terminal())
    assert "\x1b[32mas on disk" in text
    assert "\x1b[32m82 days" in text
    assert "\x1b[33m2026-11-19" in text
    assert "\x1b[1;31mexpired" in text


def test_the_details_have_the_whole_serial_and_the_next_check() -> None:
    text = shown(judged_run({**FINE, "ari": SHORT_LIVED["ari"]}), io.StringIO(), verbose=True)
    assert f"  serial:       {FINE['serial']}\n" in text
    assert "; the CA suggests 2026-11-23 20:00Z to 2026-11-24 04:00Z\n" in text
    assert "  next check:   2026-11-21 20:13Z, in 11 h\n" in text


def test_the_message_of_a_failed_host_is_shown() -> None:
    report = HostReport(host="web1", state="unhealthy", message="the timer failed", notes=("n",))
    text = shown(run_of(report), io.StringIO())
    assert "web1: the timer failed\n" in text
    assert "web1: note: n\n" in text


def test_a_run_without_certificates_is_reported() -> None:
    text = shown(judged_run(), io.StringIO())
    assert text == "no certificates: no site on these hosts uses TLS\n"
