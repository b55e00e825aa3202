"""``deployer init``."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli import init, main


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


def test_init_names_all_existing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["init"]) == 0
    capsys.readouterr()
    assert main.run(["init"]) == 1
    assert "site.yml and inventory.yml exist already" in capsys.readouterr().err


def test_init_suggests_the_nearest_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", "goacces"]) == 1
    assert "Did you mean goaccess?" in capsys.readouterr().err


def test_every_ready_playbook_passes_the_check_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for name, _ in init.templates()]
    assert "websocket-app" in names
    for name in names:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert main.run(["init", name]) == 0
        assert main.run(["check", "site.yml"]) == 0, capsys.readouterr()
