"""Values and files that the real ansible-vault has encrypted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.playbook import load_inventory, load_settings
from deployer.playbook.yaml import vault
from deployer.run.options import SessionOptions
from deployer.run.project import load_project
from tests.support.ansible import ANSIBLE_PYTHON


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A file and a value that are encrypted."""
    folder = tmp_path_factory.mktemp("vault")
    (folder / "word").write_text("correct horse\n")
    (folder / "file.yml").write_text("token: 'file secret {{ 1 + 1 }}'\nport: 8080\n")
    password = ("--vault-password-file", str(folder / "word"))
    run_vault("encrypt", *password, str(folder / "file.yml"))
    identity = ("--vault-id", f"prod@{folder}/word", "--encrypt-vault-id", "prod")
    value = run_vault("encrypt_string", *identity, "value secret", "--name", "key")
    return (folder / "file.yml").read_text(), value


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: tuple[str, str]
) -> Iterator[Path]:
    """A project with a password, `vault_password_file`, and what is encrypted with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("word").write_text("correct horse\n")
    Path("ansible.cfg").write_text("[defaults]\nvault_password_file = word\n")
    Path("group_vars/web").mkdir(parents=True)
    file, value = sealed
    Path("group_vars/web/sealed.yml").write_text(file)
    lines = "".join(f"    {line}\n" for line in value.splitlines())
    Path("inventory.yml").write_text(f"web:\n  hosts: {{w1: }}\n  vars:\n{lines}")
    yield tmp_path
    vault.unlock(())


def run_vault(command: str, *arguments: str) -> str:
    run = subprocess.run(
        [str(Path(ANSIBLE_PYTHON).with_name("ansible-vault")), command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_what_ansible_vault_encrypted_is_read_and_kept_secret(folder: Path) -> None:
    assert Path("group_vars/web/sealed.yml").read_text().startswith("$ANSIBLE_VAULT;1.1;AES256")
    assert "$ANSIBLE_VAULT;1.2;AES256;prod" in Path("inventory.yml").read_text()
    Path("site.yml").write_text(
        "- hosts: web\n  tasks:\n"
        "    - copy: {dest: /etc/token, content: '{{ token }}'}\n"
        "    - copy: {dest: /etc/key, content: '{{ key }}'}\n"
        "    - copy: {dest: /etc/port, content: '{{ port }}'}\n"
    )
    load_settings()
    host = load_inventory([Path("inventory.yml")]).hosts["w1"]
    assert host.vars["key"] == "value secret"
    project = load_project(Path("site.yml"), SessionOptions())
    assert project.secrets(host, facts={}) == {"file secret 2", "value secret"}
    from deployer.playbook import render_host

    rendered = render_host(
        project.playbook.plays,
        host,
        inventory=project.inventory,
        facts={},
        site_roles=lambda *_: (),
    )
    assert [(task.args["content"], task.secret) for task in rendered.tasks] == [
        (b"file secret 2", True),
        (b"value secret", True),
        (b"8080", False),
    ]


def test_a_wrong_password(folder: Path) -> None:
    Path("word").write_text("wrong\n")
    load_settings()
    with pytest.raises(UsageError) as caught:
        load_inventory([Path("inventory.yml")])
    text = str(caught.value)
    assert "inventory.yml:4:10: encrypted with Ansible Vault, and the password is not" in text


def test_a_password_from_a_program(folder: Path) -> None:
    Path("word").write_text("#!/bin/sh\necho correct horse\n")
    Path("word").chmod(0o755)
    load_settings()
    assert load_inventory([Path("inventory.yml")]).hosts["w1"].vars["key"] == "value secret"
    Path("word").write_text("#!/bin/sh\necho no >&2; exit 3\n")
    with pytest.raises(UsageError, match="is a program that failed: no"):
        load_settings()


def test_without_a_password_the_hint_names_the_setting(folder: Path) -> None:
    Path("ansible.cfg").unlink()
    load_settings()
    with pytest.raises(UsageError, match="vault_password_file"):
        load_inventory([Path("inventory.yml")])
