"""``--list-hosts``, ``--list-tags`` and ``--syntax-check``: no host is contacted."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from deployer.cli.main import run

PLAYBOOK = """
- name: Base
  hosts: all
  tags: [base]
  tasks:
    - {copy: {dest: /a, content: x}, tags: [files], when: false}
    - {copy: {dest: /b, content: x}, tags: [rare, never]}
- name: Chat
  hosts: web
  sites:
    - domain: chat.example.com
      tls: {issuer: internal}
      routes: [{path: /ws, websocket: "http://127.0.0.1:7890"}]
"""
INVENTORY = "all: {hosts: {db1: }, children: {web: {hosts: {web1: , web2: }}}}\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project, and no network."""
    monkeypatch.chdir(tmp_path)
    Path("site.yml").write_text(PLAYBOOK)
    Path("inventory.yml").write_text(INVENTORY)

    def refused(*_: object) -> None:
        raise AssertionError("a host was contacted")

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.parametrize("command", ["apply", "plan", "check"])
def test_the_hosts_of_each_play(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "site.yml", "--list-hosts", "-l", "db1:web2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "playbook: site.yml",
        "",
        "  play #1 (all): Base",
        "    hosts (2):",
        "      db1",
        "      web2",
        "",
        "  play #2 (web): Chat",
        "    hosts (1):",
        "      web2",
    ]


def test_the_tags_of_each_play(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apply", "site.yml", "--list-tags", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    base, chat = document["plays"]
    assert base["tags"] == ["base", "files"]
    assert {"install", "sites", "certificates"} <= set(chat["tags"])
    assert document["hosts"] == {}


def test_tags_that_are_not_selected_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apply", "site.yml", "--list-tags", "--skip-tags", "sites,files", "--json"]) == 0
    base, chat = json.loads(capsys.readouterr().out)["plays"]
    assert base["tags"] == []
    assert "install" in chat["tags"]
    assert "sites" not in chat["tags"]
    assert run(["apply", "site.yml", "--list-tags", "-t", "rare", "--json"]) == 0
    assert "rare" in json.loads(capsys.readouterr().out)["plays"][0]["tags"]


@pytest.mark.parametrize("command", ["apply", "plan", "check"])
def test_a_syntax_check_shows_errors_and_no_warnings(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", "site.yml"]) == 0
    assert "warning:" in capsys.readouterr().err
    assert run([command, "site.yml", "--syntax-check"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("ok: 2 plays")
    assert "warning:" not in shown.err
    Path("site.yml").write_text("- hosts: all\n  becom: true\n")
    assert run([command, "site.yml", "--syntax-check"]) == 1
    assert "unknown key 'becom'" in capsys.readouterr().err


def test_tags_can_be_skipped_and_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.yml").write_text(PLAYBOOK.replace(", when: false", ""))
    counts = []
    for options in ([], ["--skip-tags", "files"], ["-t", "files", "-t", "rare"]):
        assert run(["check", "site.yml", "-l", "db1", *options]) == 0
        counts.append(capsys.readouterr().out.rpartition(", ")[2].strip())
    assert counts == ["1 resource", "0 resources", "2 resources"]
