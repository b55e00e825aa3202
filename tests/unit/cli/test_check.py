"""``deployer check``."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli import main


def test_the_summary_of_a_check_uses_singular_and_plural(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inventory.yml").write_text("all: {hosts: {web1: }}\n")
    playbook = tmp_path / "site.yml"
    playbook.write_text("- hosts: all\n  tasks: [{copy: {dest: /a, content: b}}]\n")
    assert main.run(["check", str(playbook)]) == 0
    assert capsys.readouterr().out == "ok: 1 play, 1 host, 0 sites, 1 resource\n"
