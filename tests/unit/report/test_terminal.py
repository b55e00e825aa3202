"""A run in a terminal, and its JSON document."""

from __future__ import annotations

import io
import json

import pytest

from deployer.commit.outcome import HostReport, RunReport, State
from deployer.model import UNFINISHED, CheckResult, Finding
from deployer.plan.model import Change, Plan
from deployer.report.document import run_document
from deployer.report.output import Output
from deployer.report.terminal import TerminalReport

FINDING = Finding(
    code="bad-gateway",
    hop="backend",
    symptom="wss://a.example/ws answered 502",
    cause="nothing listens on 127.0.0.1:7999",
    fix="start the service",
    evidence="HTTP/1.1 502 Bad Gateway\nServer: nginx",
)
FAILED = CheckResult(
    site="a.example", name="upgrade", target="/ws", hop="proxy", ok=False, finding=FINDING
)


def shown(*reports: HostReport) -> str:
    stream = io.StringIO()
    terminal = TerminalReport(Output(stream), hosts=[report.host for report in reports])
    terminal.summary(RunReport(command="apply", hosts=reports, seconds=1.0))
    return stream.getvalue()


def test_the_summary_names_hop_cause_and_fix() -> None:
    text = shown(
        HostReport(
            host="web1",
            state="reverted",
            message="the verification failed; the host is back in its former state",
            checks=(FAILED,),
        )
    )
    assert "web1: failed and reverted" in text
    assert "wss://a.example/ws answered 502  [bad-gateway]" in text
    assert "hop:      backend" in text
    assert "fix:      start the service" in text
    assert "              Server: nginx" in text


def test_hosts_with_the_same_result_share_it_and_the_worst_comes_last() -> None:
    text = shown(
        HostReport(host="web3", state="unreachable", message="web3: no answer"),
        HostReport(host="web1", state="unchanged"),
        HostReport(host="web2", state="unchanged"),
    )
    assert text.index("web1, web2: nothing to do") < text.index("web3: unreachable")
    assert "2 unchanged" in text


def test_each_step_names_what_happened_to_its_resource() -> None:
    changes = (
        Change(
            resource_id="service:nginx",
            action="update",
            before={"active": False, "enabled": False},
            after={"active": True, "enabled": True},
            fingerprint="",
        ),
        Change(resource_id="package:nginx", action="create", before=None, after={}, fingerprint=""),
    )
    stream = io.StringIO()
    terminal = TerminalReport(Output(stream), hosts=["web1"])
    plan = Plan(host="web1", created_at="2026-11-21T09:00:00+00:00", changes=changes)
    terminal.looked(HostReport(host="web1", state="planned", plan=plan))
    steps = [(each.resource_id, each.action) for each in changes]
    for resource_id, action in [*steps, ("handler:reload", "reload"), ("file:/a", "restore")]:
        event = {"event": "step", "n": 1, "total": 4, "state": "done"}
        terminal.step("web1", {**event, "resource_id": resource_id, "action": action})
    assert stream.getvalue().splitlines() == [
        "  web1    1/4  service nginx  started and enabled",
        "  web1    1/4  package nginx  installed",
        "  web1    1/4  handler reload  reloaded",
        "  web1    1/4  file /a  restored",
    ]


def test_a_host_cannot_move_the_cursor() -> None:
    stream = io.StringIO()
    Output(stream).line("evil\x1b[2J\x07 name")
    assert stream.getvalue() == "evil\\x1b[2J\\x07 name\n"


def test_the_document_has_hosts_by_name_and_flat_findings() -> None:
    report = HostReport(host="web1", state="reverted", checks=(FAILED,))
    document = run_document(RunReport(command="apply", hosts=(report,)))
    assert document["exit_code"] == 3
    assert document["hosts"]["web1"]["state"] == "reverted"
    (finding,) = document["findings"]
    assert finding["host"] == "web1"
    assert finding["site"] == "a.example"
    assert (finding["hop"], finding["code"]) == ("backend", "bad-gateway")
    assert finding["fix"] == "start the service"


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (("confirmed", "unchanged"), 0),
        (("confirmed", "unreachable"), 5),
        (("unreachable", "reverted"), 3),
        (("stranded", "reverted", "unreachable"), 4),
        (("invalid", "planned"), 1),
        ((), 0),
    ],
)
def test_the_worst_host_decides_the_exit_code(states: tuple[State, ...], code: int) -> None:
    reports = tuple(HostReport(host=state, state=state) for state in states)
    assert RunReport(command="apply", hosts=reports).exit_code == code


def test_an_interruption_has_the_exit_code_of_the_shell() -> None:
    assert RunReport(command="plan", hosts=(), interrupted=True).exit_code == 130


@pytest.mark.parametrize(
    ("states", "code"),
    [(("planned", "unchanged"), 2), (("unchanged",), 0), (("planned", "unreachable"), 5)],
)
def test_the_document_has_the_detailed_exit_code(states: tuple[State, ...], code: int) -> None:
    reports = tuple(HostReport(host=state, state=state) for state in states)
    run = RunReport(command="plan", hosts=reports, tells_changes=True)
    assert run_document(run)["exit_code"] == run.exit_code == code


def test_secrets_in_the_names_of_a_plan_are_masked() -> None:
    change = Change(
        resource_id="file:/etc/hunter2-and-more.conf",
        action="create",
        before=None,
        after={"type": "file"},
        fingerprint="absent",
        reason="Token hunter2",
    )
    plan = Plan(format_version=1, host="web1", created_at="", changes=(change,), handlers=())
    secrets = frozenset({"hunter2", "hunter2-and-more"})
    report = HostReport(host="web1", state="planned", plan=plan, secrets=secrets)
    stream = io.StringIO()
    terminal = TerminalReport(Output(stream), hosts=["web1"], verbose=True)
    terminal.looked(report)
    terminal.plans([report], with_diff=True)
    document = run_document(RunReport(command="plan", hosts=(report,)))
    for text in (stream.getvalue(), json.dumps(document)):
        assert "/etc/(secret).conf" in text
        assert "hunter2" not in text
        assert "and-more" not in text


def test_checks_ended_by_ctrl_c_are_counted() -> None:
    checks = tuple(
        CheckResult(
            site="a.example",
            name="upgrade",
            target=f"/{number}",
            hop="proxy",
            ok=False,
            detail="answered 502" if number == 0 else UNFINISHED,
        )
        for number in range(4)
    )
    text = shown(HostReport(host="web1", state="reverted", checks=checks))
    assert "a.example/0  upgrade: answered 502" in text
    assert "3 checks not finished: interrupted" in text
    assert "a.example/1" not in text


def test_the_document_of_a_history_has_only_documented_keys() -> None:
    entry = {"generation": 1, "commit": "c1", "state": "confirmed", "boot_id": "b", "packs": []}
    listed = HostReport(host="web1", state="listed", history=(entry,), found={"lock": {}})
    document = run_document(RunReport(command="history", hosts=(listed,)))["hosts"]["web1"]
    assert document["history"] == [{"generation": 1, "commit": "c1", "state": "confirmed"}]
    assert document["found"] == {"lock": {}}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_command_to_run_is_never_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    command = "deployer recover /srv/plays/some/site.yml -i hosts.yml -l web1"
    for words in (
        f"Nothing was changed by this run. To fix it: {command}",
        f"Some words before it, so that it comes late: `{command}` then says the rest of it.",
    ):
        stream = Terminal()
        Output(stream).line(words, indent=2, hanging=0)
        lines = stream.getvalue().splitlines()
        assert len(lines) > 1
        assert any(command in line for line in lines), lines
        assert "\x1f" not in stream.getvalue()
