"""Fixtures of several test files in this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab


@pytest.fixture(scope="module")
def server(lab: Lab) -> LabHost:
    """The host, with three accounts: one that may use sudo, one with a password, one without."""
    host = lab.hosts[0]
    key = lab.key.with_suffix(".pub").read_text().strip()
    script = f"""
    for name in free asked barred; do
        useradd --create-home --shell /bin/bash $name
        echo "$name:right horse" | chpasswd
        install -d -o $name -g $name -m 700 /home/$name/.ssh
        echo '{key}' > /home/$name/.ssh/authorized_keys
        chown $name: /home/$name/.ssh/authorized_keys
    done
    echo 'free ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/free
    echo 'asked ALL=(ALL) ALL' > /etc/sudoers.d/asked
    """
    host.sh(script)
    return host


@pytest.fixture
def ssh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes ~/.ssh/config of a home of the test's own."""
    from deployer.transport import ssh_config

    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def write(text: str) -> None:
        (tmp_path / ".ssh/config").write_text(text)
        ssh_config.forget()

    write("")
    return write
