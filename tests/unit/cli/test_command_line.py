"""The command line without hosts: what it imports, what it refuses, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deployer.cli import init, main
from deployer.run.options import SessionOptions
from deployer.run.session import _command_line
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


def test_help_imports_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys\n"
        "from deployer.cli.main import run\n"
        "run(['--help'])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert "apply" in done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in (
        "init",
        "check",
        "plan",
        "apply",
        "verify",
        "history",
        "recover",
        "certs",
        "lab",
    ):
        assert f"\n  {command} " in shown


def test_a_missing_playbook_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.yml").write_text("all: {hosts: {web1: }}\n")
    assert main.run(["plan", "site.yml"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("Error: ")
    assert "site.yml" in shown.err
    assert shown.out == ""


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


def test_the_commands_of_certs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, option in (
        ("status", "--warn-days"),
        ("renew", "--force"),
        ("schedule", "--remove"),
    ):
        assert main.run(["certs", command, "--help"]) == 0
        assert f"  {option} " in capsys.readouterr().out
        assert main.run(["certs", command, "site.yml", "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["command"] == f"certs {command}"


def test_wrong_usage_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["apply"]) == 1
    assert "Missing argument 'SITE.yml|FILE'" in capsys.readouterr().err
    assert main.run(["aply", "site.yml"]) == 1


def test_init_writes_two_files_and_overwrites_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["init", "goaccess"]) == 0
    assert (tmp_path / "site.yml").read_text().startswith("#")
    assert (tmp_path / "inventory.yml").is_file()
    (tmp_path / "site.yml").write_text("mine\n")
    assert main.run(["init", "goaccess"]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert (tmp_path / "site.yml").read_text() == "mine\n"


def test_init_names_all_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["init"]) == 0
    capsys.readouterr()
    assert main.run(["init"]) == 1
    assert "site.yml and inventory.yml exist already" in capsys.readouterr().err


def test_a_check_counts_one_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inventory.yml").write_text("all: {hosts: {web1: }}\n")
    playbook = tmp_path / "site.yml"
    playbook.write_text("- hosts: all\n  tasks: [{copy: {dest: /a, content: b}}]\n")
    assert main.run(["check", str(playbook)]) == 0
    assert capsys.readouterr().out == "ok: 1 play, 1 host, 0 sites, 1 resource\n"


def test_init_suggests_the_nearest_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", "goacces"]) == 1
    assert "Did you mean goaccess?" in capsys.readouterr().err


def test_every_ready_playbook_is_right_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name, _ in init.templates()]
    assert "websocket-app" in names
    for name in names:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert main.run(["init", name]) == 0
        assert main.run(["check", "site.yml"]) == 0, capsys.readouterr()


def test_the_command_to_go_on_with_names_all_that_it_needs() -> None:
    options = SessionOptions(inventories=[Path("a.yml")])
    again = partial(_command_line, Path("my site.yml"), command="recover", host="web1")
    assert again(options, is_part=False) == "deployer recover 'my site.yml' -i a.yml"
    asked = replace(options, user="ops", ask_pass=True, become=True, ask_become_pass=True)
    assert again(asked, is_part=True).endswith(" -i a.yml -u ops -b -k -K -l web1")
    renew = _command_line(Path("s.yml"), SessionOptions(), "certs renew", "web1", is_part=False)
    assert renew == "deployer certs renew s.yml"
