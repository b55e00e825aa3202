"""Who logs in to a host, and with which password."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.model import Host
from deployer.transport import ssh_config
from deployer.transport.options import ConnectOptions
from deployer.transport.settings import host_settings, jump_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an SSH config that names a user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Host *\n  User config\n")
    ssh_config.forget()
    return tmp_path


OPTIONS = ConnectOptions(user="option", password="typed")


def test_the_inventory_wins_over_the_option_and_the_option_over_the_ssh_config() -> None:
    plain = Host(name="web1", hostname="192.0.2.1")
    named = Host(
        name="web1",
        hostname="192.0.2.1",
        user="inventory",
        vars={"ansible_user": "inventory", "ansible_password": "kept"},
    )
    assert host_settings(plain, ConnectOptions()).user == "config"
    assert host_settings(plain, ConnectOptions()).password is None
    for host, user, password in ((plain, "option", "typed"), (named, "inventory", "kept")):
        settings = host_settings(host, OPTIONS)
        assert (settings.user, settings.password) == (user, password)


def test_a_jump_host_gets_neither_the_user_nor_the_password() -> None:
    host = Host(name="web1", hostname="192.0.2.1")
    settings = jump_settings("gate", before=(), host=host, options=OPTIONS)
    assert (settings.user, settings.password) == ("config", None)
