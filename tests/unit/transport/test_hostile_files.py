"""Keys and known_hosts files that never end, or are huge: reported at once, and not read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.transport.known_hosts import KnownHosts
from deployer.transport.login import Login
from deployer.transport.settings import SshSettings


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(50_000_000)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "is a pipe or device, not a file"),
    "zero": (_endless, "is a pipe or device, not a file"),
    "huge": (_huge, "has 50,000,000 bytes, which is too large for a key"),
    "folder": (Path.mkdir, "cannot be read: Is a directory"),
}


def _tried(*paths: Path) -> list[str]:
    login = Login(
        SshSettings(
            host="web1",
            hostname="127.0.0.1",
            port=22,
            user="root",
            key_name="web1",
            known_hosts_files=(),
            remember_in="",
            identity_files=tuple(map(str, paths)),
            only_identities=True,
            agent_socket=None,
            connect_timeout_s=1.0,
        )
    )
    began = time.thread_time()
    assert list(login._keys()) == []
    assert time.thread_time() - began < 2
    return login._tried


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_file_that_is_no_key(kind: str, tmp_path: Path) -> None:
    make, problem = KINDS[kind]
    make(tmp_path / "key")
    make(tmp_path / "key.pub")
    assert problem in _tried(tmp_path / "key")[0]
    assert len(_tried(tmp_path / "key", tmp_path / "missing")) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_next_to_a_key(kind: str, tmp_path: Path) -> None:
    make, problem = KINDS[kind]
    (tmp_path / "key").write_text("no key")
    make(tmp_path / "key-cert.pub")
    expected = "not a private key" if kind == "folder" else problem
    assert expected in _tried(tmp_path / "key")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_hosts_file_without_keys(kind: str, tmp_path: Path) -> None:
    KINDS[kind][0](tmp_path / "known")
    assert KnownHosts().keys("web1", files=[str(tmp_path / "known")]) == []
