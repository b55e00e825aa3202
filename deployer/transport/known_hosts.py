"""known_hosts files: which keys a host may present, read once for all hosts.

A line is ``[@marker] names key-type base64-key [comment]``. Names are patterns, separated by
commas, ``[host]:port`` for a port other than 22, or hashed with HMAC-SHA1.

Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Lock
from typing import Literal

from deployer.text.numbers import is_number
from deployer.text.reading import MAX_COPIED_BYTES, read_limited

Marker = Literal["", "@revoked", "@cert-authority"]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One key of a known_hosts file; `key` is in base64 as the file has it."""

    file: str
    line: int
    marker: str
    key_type: str
    key: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        try:
            return fingerprint(base64.b64decode(self.key))
        except (binascii.Error, ValueError):
            return "(unreadable)"


@dataclass(frozen=True, slots=True)
class _Entry:
    names: str
    key: KnownKey

    def matches(self, name: str) -> bool:
        if self.names.startswith("|1|"):
            return _matches_hash(self.names, name)
        found = False
        for pattern in self.names.lower().split(","):
            if pattern.startswith("!"):
                if _matches_pattern(pattern[1:], name):
                    return False
            elif _matches_pattern(pattern, name):
                found = True
        return found


def _matches_pattern(pattern: str, name: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    # Only * and ? are special (ssh_config(5), PATTERNS); a bracket opens `[host]:port`.
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def _matches_hash(hashed: str, name: str) -> bool:
    import hmac

    try:
        _, _, salt, digest = hashed.split("|")
        expected = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
        return hmac.compare_digest(expected, base64.b64decode(digest))
    except ValueError:
        return False


class _File:
    """One file, indexed by its plain names; patterns and hashes are tried one by one."""

    def __init__(self, path: str) -> None:
        self._plain: dict[str, list[_Entry]] = {}
        self._others: list[_Entry] = []
        text = read_limited(Path(path), MAX_COPIED_BYTES).decode("utf-8", "replace")
        for number, line in enumerate(text.split("\n"), 1):
            entry = _parse(path, number, line)
            if entry is None:
                continue
            if any(special in entry.names for special in "*?!|"):
                self._others.append(entry)
                continue
            for name in entry.names.lower().split(","):
                self._plain.setdefault(name, []).append(entry)

    def keys(self, name: str) -> Iterator[KnownKey]:
        for entry in self._plain.get(name, ()):
            yield entry.key
        for entry in self._others:
            if entry.matches(name):
                yield entry.key


def _parse(path: str, number: int, line: str) -> _Entry | None:
    words = line.split(None, 4)
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if len(words) < 3 or is_number(words[1]):  # incomplete, or a key of SSH 1
        return None
    return _Entry(words[0], KnownKey(path, number, marker, words[1], words[2]))


class KnownHosts:
    """The known_hosts files of this process; each is read once, and again when it has changed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[str, tuple[tuple[int, int], _File]] = {}

    def keys(self, name: str, *, files: Iterable[str]) -> list[KnownKey]:
        """The keys known for `name`, as `known_name` writes it, in the order of the files.

        A missing or unreadable file has no keys.
        """
        found: list[KnownKey] = []
        for path in files:
            with contextlib.suppress(OSError):
                found += self._file(path).keys(name)
        return found

    def _file(self, path: str) -> _File:
        with self._lock:
            status = os.stat(path)  # noqa: PTH116 - a Path would cost more than the call
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            version = (status.st_mtime_ns, status.st_size)
            known = self._files.get(path)
            if known is None or known[0] != version:
                known = (version, _File(path))
                self._files[path] = known
            return known[1]


#: One for all hosts of a run: Paramiko's own reader needs 18 ms per host for a file of 306 lines.
KNOWN_HOSTS = KnownHosts()


def known_name(hostname: str, port: int) -> str:
    """The name of a host in known_hosts: ``[host]:port`` unless the port is 22."""
    name = hostname.lower()
    return name if port == 22 else f"[{name}]:{port}"


def fingerprint(key: bytes) -> str:
    """The SHA-256 fingerprint of a public key's blob, in OpenSSH's notation."""
    from hashlib import sha256

    return "SHA256:" + base64.b64encode(sha256(key).digest()).decode().rstrip("=")


def remember(path: str, *, name: str, key_type: str, key: str) -> None:
    """Append a key to a known_hosts file; a new file is readable by its owner only.

    Raises: OSError.
    """
    file = Path(path)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as known:
        fcntl.flock(known, fcntl.LOCK_EX)  # several hosts of a run, and several runs
        size = known.seek(0, os.SEEK_END)
        line = f"{name} {key_type} {key}\n".encode()
        if size:
            known.seek(size - 1)
            if known.read(1) != b"\n":
                line = b"\n" + line
        known.write(line)
