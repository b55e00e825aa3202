"""``deployer certs``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployer.cli import main


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
