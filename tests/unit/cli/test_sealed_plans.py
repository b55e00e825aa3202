"""``plan --out`` and ``apply FILE`` without a host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployer.cli import main
from deployer.model import Host
from deployer.plan.model import Plan
from deployer.plan.wire import sealed
from deployer.run.batches import Batch
from deployer.run.sealed.file import write_sealed
from deployer.run.sealed.model import SealedHost, SealedPlan

HOST = Host(name="web1", hostname="192.0.2.1")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a sealed plan in the current folder."""
    monkeypatch.chdir(tmp_path)
    empty = sealed(Plan(host="web1", created_at="2026-11-21T09:00:00+00:00", changes=()))
    whole = SealedPlan(
        created_at="2026-11-21T09:00:00+00:00",
        who="ada",
        origin="desk",
        playbook="/srv/site.yml",
        sealed_hosts=(SealedHost(host=HOST, becomes_root=False, plan=empty, roots={}),),
        planned_batches=(Batch(hosts=(HOST,)),),
    )
    write_sealed(Path("p.plan"), whole, project=Path())
    return "p.plan"


@pytest.mark.parametrize("option", ["--prune", "--prune-packages", "--prune-certificates"])
def test_what_to_remove_is_decided_by_the_plan(
    plan: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["apply", plan, option]) == 1
    assert f"{option} would change the plan" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_a_part_of_a_playbook_does_not_decide_what_is_left_over(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["plan"], ["apply", "--yes"], ["apply", "--check"]):
        assert main.run([*command, "site.yml", "--prune", option, "sites"]) == 1
        shown = capsys.readouterr().err
        assert f"--prune needs the whole playbook, but {option} selects a part" in shown


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("-i", "inventory.yml", "--inventory"),
        ("-l", "web1", "--limit"),
        ("-e", "a=1", "--extra-vars"),
        ("-t", "sites", "--tags"),
        ("--skip-tags", "sites", "--skip-tags"),
    ],
)
def test_options_that_change_a_plan_are_refused_with_the_reason(
    plan: str, option: str, value: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["apply"], ["apply", "--dry-run"]):
        assert main.run([*command, plan, option, value]) == 1
        shown = capsys.readouterr().err
        assert f"{name} would change the plan, and p.plan is applied as it was sealed" in shown
        assert f"deployer plan SITE.yml {name} … --out FILE" in shown


def test_out_is_refused_for_a_sealed_plan(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["apply", plan, "--dry-run", "--out", "other"]) == 1
    assert "p.plan is already a sealed plan" in capsys.readouterr().err
    assert not Path("other").exists()


def test_out_is_refused_for_an_apply(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["apply", "site.yml", "--out", "other"]) == 1
    assert "Add --check" in capsys.readouterr().err


def test_other_commands_explain_how_to_use_a_sealed_plan(
    plan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("plan", "check", "verify", "history", "rollback"):
        assert main.run([command, plan]) == 1
        shown = capsys.readouterr().err
        assert "p.plan is a sealed plan, not a playbook." in shown
        assert "deployer apply p.plan" in shown


def test_a_file_that_exists_is_reported_before_any_host_is_contacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes").write_text("mine\n")
    assert main.run(["plan", "site.yml", "--out", "notes"]) == 1
    assert "exists and is not a sealed plan" in capsys.readouterr().err
    assert Path("notes").read_text() == "mine\n"


def test_an_altered_file_is_an_error_document_too(
    plan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(plan).write_bytes(Path(plan).read_bytes().replace(b"192.0.2.1", b"192.0.2.2"))
    assert main.run(["apply", plan, "--yes", "--json"]) == 1
    shown = capsys.readouterr()
    assert "p.plan was altered after it was sealed; no host was touched" in shown.err
    document = json.loads(shown.out)
    assert document["exit_code"] == 1
    assert "altered" in document["error"]
    assert document["hosts"] == {}
