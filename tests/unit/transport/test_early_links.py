"""The first glance at a playbook, and what it is good for."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli import main
from deployer.playbook import load_inventory
from deployer.playbook.load.peek import Glance, peek

INVENTORY = "all: {children: {web: {hosts: {web1: , web2: }}, db: {hosts: {db1: }}}}\n"


def glance(folder: Path, text: str, limit: str | None = None) -> Glance:
    (folder / "inventory.yml").write_text(INVENTORY)
    (folder / "site.yml").write_text(text)
    inventory = load_inventory([folder / "inventory.yml"])
    return peek(folder / "site.yml", inventory=inventory, limit=limit)


def test_whom_the_plays_name_and_whether_as_root(tmp_path: Path) -> None:
    text = "- {hosts: web, become: true}\n- {hosts: 'db:web'}\n"
    seen = glance(tmp_path, text)
    assert [host.name for host in seen.hosts] == ["web1", "web2", "db1"]
    assert seen.become
    assert [host.name for host in glance(tmp_path, text, limit="db1").hosts] == ["db1"]
    assert not glance(tmp_path, "- {hosts: web}\n").become


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hosts: web\n",
        "- hosts: [web\n",
        "- hosts: nosuch\n",
        "- hosts: '{{ group }}'\n",
        "- tasks: []\n",
        "- 5\n",
        "- {hosts: !vault x}\n",
    ],
)
def test_what_is_unclear_names_no_host_and_is_no_error_yet(text: str, tmp_path: Path) -> None:
    assert glance(tmp_path, text).hosts == ()


def test_a_limit_may_leave_a_play_without_hosts_but_not_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    (tmp_path / "site.yml").write_text("- {hosts: web}\n- {hosts: db}\n")
    assert main.run(["check", "site.yml", "--limit", "db1"]) == 0
    assert "1 host" in capsys.readouterr().out
    (tmp_path / "site.yml").write_text("- {hosts: web}\n")
    assert main.run(["check", "site.yml", "--limit", "db1"]) == 1
    assert "--limit db1 matches none of the hosts of 'web'" in capsys.readouterr().err
