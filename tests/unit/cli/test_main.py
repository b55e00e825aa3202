"""The command line without hosts: its imports, its errors, and its exit codes."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deployer.cli import main
from tests.support.waiting import PATIENCE_S

HEAVY = {
    "asyncio",
    "cryptography",
    "fabric",
    "invoke",
    "jinja2",
    "paramiko",
    "pydantic",
    "rich",
    "websockets",
    "yaml",
}
#: Parts of this package that a help text does not need.
PARTS = {"agent", "commit", "plan", "proxies", "report", "run", "sites", "transport", "verify"}


def ran(program: str) -> subprocess.CompletedProcess[str]:
    """What a program printed, in a Python of its own."""
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE_S)


def imported_by(*arguments: str) -> set[str]:
    """The modules that are loaded after a run of the command line."""
    program = (
        "import sys\n"
        "from deployer.cli.main import run\n"
        f"assert run({list(arguments)}) == 0\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = ran(program)
    assert "Usage: deployer" in done.stdout
    return set(done.stderr.split())


def test_help_imports_no_command_and_nothing_heavy() -> None:
    found = imported_by("--help")
    assert not HEAVY & {name.partition(".")[0] for name in found}
    commands = {f"deployer.cli.{name}" for name in main.cli.list_commands(_context())}
    assert not commands & found


@pytest.mark.parametrize("command", ["apply", "verify", "diagnose", "certs", "init", "check"])
def test_the_help_of_a_command_imports_that_command_only(command: str) -> None:
    found = imported_by(command, "--help")
    assert not HEAVY & {name.partition(".")[0] for name in found}
    commands = {f"deployer.cli.{name}" for name in main.cli.list_commands(_context())}
    assert commands & found == {f"deployer.cli.{command}"}
    assert not {f"deployer.{part}" for part in PARTS} & found


def test_no_process_looks_for_garbage_when_it_ends() -> None:
    """It would visit every object of every module: a fifth of a run that has nothing to do."""
    program = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_threshold()[0], len(gc.get_objects())))\n"
        "from deployer.cli.main import main\n"
        "main(['version'])"
    )
    done = ran(program)
    threshold, found = map(int, done.stdout.split()[-2:])
    assert threshold > 10_000
    assert found < 1000


def _context() -> click.Context:
    return click.Context(main.cli, info_name="deployer")


def test_a_missing_playbook_is_reported_before_a_missing_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["plan", "site.yml"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "Error: playbook site.yml does not exist\n"
    assert shown.out == ""
    (tmp_path / "site.yml").write_text("- hosts: all\n")
    assert main.run(["plan", "site.yml"]) == 1
    assert "No inventory" in capsys.readouterr().err


def test_an_error_is_a_document_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["apply", "site.yml", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["format_version"] == 1
    assert document["command"] == "apply"
    assert document["exit_code"] == 1
    assert document["error"] == "playbook site.yml does not exist"


@pytest.mark.parametrize(
    ("arguments", "message", "where"),
    [
        (["apply"], "Missing argument 'SITE.yml|FILE'.", "deployer apply"),
        (["aply", "site.yml"], "No such command 'aply'. Did you mean 'apply'?", "deployer"),
        (["certs", "renw"], "No such command 'renw'. Did you mean 'renew'?", "deployer certs"),
        (
            ["apply", "site.yml", "--forks", "0"],
            "0 is not in the range 1 to 500.",
            "deployer apply",
        ),
        (["rollback", "s.yml", "--to", "x"], "is not a valid whole number.", "deployer rollback"),
        (
            ["certs", "status", "s.yml", "--warn-days", "-1"],
            "range from 0.",
            "deployer certs status",
        ),
        (["history", "site.yml", "--install-python"], "No such option", "deployer history"),
        (["plan", "site.yml", "--jsn"], "Did you mean one of: '--json'", "deployer plan"),
    ],
)
def test_wrong_usage_is_one_message_and_exits_with_1(
    arguments: list[str], message: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Error: ")
    assert shown.count("Error") == 1
    assert message in shown
    assert shown.endswith(f"\nSee `{where} --help`.\n")


@pytest.mark.parametrize(("command", "exit_code"), [("check", 1), ("plan", 1), ("apply", 4)])
def test_a_defect_is_one_message(
    command: str,
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def defect(*_args: object, **_kwargs: object) -> None:
        raise TypeError("'list' object is not callable")

    monkeypatch.setattr(main.cli, "main", defect)
    assert main.run([command, "site.yml", "--json"]) == exit_code
    output = capsys.readouterr()
    assert "TypeError: 'list' object is not callable (test_main.py:" in output.err
    assert "Traceback" not in output.err
    assert json.loads(output.out)["exit_code"] == exit_code


def test_a_file_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/plan")

    monkeypatch.setattr(main.cli, "main", failing)
    assert main.run(["plan", "site.yml"]) == 1
    assert capsys.readouterr().err == "Error: /srv/plan: No space left on device\n"


def test_ctrl_c_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.cli, "main", interrupted)
    assert main.run(["plan", "site.yml"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
