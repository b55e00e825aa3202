"""Names of files that no file can have: one message, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli import main

LONG = "x" * 300


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.yml").write_text("- hosts: all\n  tasks: []\n")
    Path("inventory.yml").write_text("web: {hosts: {w1: }}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", LONG],
        ["check", "site.yml", "-i", LONG],
        ["check", "site.yml", "-i", f"{LONG}/hosts"],
        ["check", "site.yml", "-i", "a\x01"],
        ["check", "site.yml", "-e", f"@{LONG}"],
        ["check", "site.yml", "-l", f"@{LONG}"],
        ["check", "site.yml", "--render", LONG],
        ["plan", "site.yml", "--out", LONG],
        ["plan", "site.yml", "--html", LONG],
        ["plan", "site.yml", "--junit", f"{LONG}/x"],
        ["apply", LONG],
        ["init", "goaccess", LONG],
        ["diagnose", "https://127.0.0.1:1", "--ca-bundle", LONG],
        ["diagnose", "https://127.0.0.1:1", "--host", "w1", "-i", LONG],
    ],
    ids=lambda arguments: " ".join(word[:12] for word in arguments),
)
def test_one_message(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = main.run(arguments)
    shown = capsys.readouterr().err
    assert code in (1, 2, 5), shown
    assert shown.startswith(("Error: ", "Usage: ")), shown
    assert "Traceback" not in shown


def test_an_ansible_cfg_with_such_names(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("inventory", "roles_path", "vault_password_file", "private_key_file"):
        Path("ansible.cfg").write_text(f"[defaults]\n{key} = {LONG}\n")
        main.run(["check", "site.yml"])
        assert "Traceback" not in capsys.readouterr().err
