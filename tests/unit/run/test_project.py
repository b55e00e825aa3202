"""Who becomes root: the play, the inventory, or ``--become``."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.playbook.load.peek import peek
from deployer.run.options import SessionOptions
from deployer.run.project import Project, load_project


def loaded(folder: Path, play: str, *, become: bool) -> Project:
    """The project of a play, with one host."""
    (folder / "inventory.yml").write_text("all: {hosts: {web1: }}\n")
    (folder / "site.yml").write_text(play)
    return load_project(folder / "site.yml", SessionOptions(become=become))


@pytest.mark.parametrize(
    ("play", "become", "is_root"),
    [
        ("- hosts: all\n", False, False),
        ("- hosts: all\n", True, True),
        ("- {hosts: all, become: false}\n", True, False),
        ("- {hosts: all, become: true}\n", False, True),
        ("- {hosts: all, become: false}\n- hosts: all\n", True, True),
    ],
)
def test_the_play_wins_over_the_option(
    play: str, become: bool, is_root: bool, tmp_path: Path
) -> None:
    project = loaded(tmp_path, play, become=become)
    host = project.inventory.hosts["web1"]
    assert project.becomes_root(host) is is_root
    glance = peek(project.path, inventory=project.inventory, limit=None, become=become)
    assert glance.become is is_root


def test_a_task_cannot_leave_what_the_option_says(tmp_path: Path) -> None:
    play = "- hosts: all\n  tasks: [{become: false, copy: {dest: /a, content: b}}]\n"
    loaded(tmp_path, play, become=False)
    with pytest.raises(UsageError, match="become: false on a task"):
        loaded(tmp_path, play, become=True)
