"""Shared by tests of whole runs: the command, and the state of a host to compare."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.waiting import PATIENCE_S

#: Runs on the host: everything under /etc and /var/lib with type, mode, owner, content and times,
#: what packages there are, and what units are enabled and active. Our own folder, the databases of
#: apt and dpkg, and what systemd writes about time and randomness by itself are left out.
_STATE_PROGRAM = r"""
import hashlib, json, os, stat, subprocess
SKIPPED = {"/var/lib/deployer", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd/timers",
           "/var/lib/systemd/timesync", "/var/lib/systemd/random-seed", "/var/lib/private",
           "/var/lib/logrotate", "/var/lib/systemd/linger"}
PACKAGE_FORMAT = "${Package} ${Version} ${db:Status-Abbrev}\n"
TRANSIENT = ("session-", "user")
tree = {}
def look(path):
    info = os.lstat(path)
    entry = [oct(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns]
    if stat.S_ISLNK(info.st_mode):
        entry.append(os.readlink(path))
    elif stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            entry.append(hashlib.sha256(file.read()).hexdigest())
    tree[path] = entry
for top in ("/etc", "/var/lib", "/var/www", "/srv", "/opt", "/usr/local"):
    if not os.path.exists(top):
        continue
    for folder, folders, files in os.walk(top):
        if folder != "/var/lib":
            look(folder)
        folders[:] = [name for name in folders if os.path.join(folder, name) not in SKIPPED]
        for name in [*files, *(n for n in folders if os.path.islink(os.path.join(folder, n)))]:
            if os.path.join(folder, name) not in SKIPPED:
                look(os.path.join(folder, name))
def words(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()
units = words("systemctl", "list-units", "--type=service,socket,timer", "--state=active",
              "--plain", "--no-legend", "--full")
print(json.dumps({
    "tree": tree,
    "packages": sorted(words("dpkg-query", "-W", "-f", PACKAGE_FORMAT)),
    "manual": sorted(words("apt-mark", "showmanual")),
    "enabled": sorted(words("systemctl", "list-unit-files", "--plain", "--no-legend", "--full")),
    "active": sorted(line.split()[0] for line in units if not line.startswith(TRANSIENT)),
}))
"""


def state_of(host: LabHost) -> dict[str, Any]:
    """Everything on `host` that a reverted run has to restore."""
    done = host.exec(["python3", "-c", _STATE_PROGRAM])
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The differences, by name; empty if there are none."""
    found: dict[str, Any] = {}
    for path in sorted({*before["tree"], *after["tree"]}):
        pair = (before["tree"].get(path), after["tree"].get(path))
        if pair[0] != pair[1]:
            found[path] = pair
    for key in ("packages", "manual", "enabled", "active"):
        gone, come = set(before[key]) - set(after[key]), set(after[key]) - set(before[key])
        if gone or come:
            found[key] = (sorted(gone), sorted(come))
    return found


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of the command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


def deployer(*arguments: str | Path, timeout_s: float = PATIENCE_S, **environment: str) -> Ran:
    """Run the real command in the current folder, as a user would."""
    done = subprocess.run(
        [sys.executable, "-m", "deployer", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
    return Ran(done.returncode, done.stdout, done.stderr)


def goaccess_project(lab: Lab, folder: Path) -> None:
    """``deployer init goaccess`` in `folder`, with the lab's inventory."""
    assert deployer("init", "goaccess").code == 0
    lab.write_inventory(folder / "inventory.yml")


def write_playbook(folder: Path, text: str, lab: Lab | None = None) -> None:
    """A playbook of one's own, and the lab's inventory next to it."""
    (folder / "site.yml").write_text(text)
    if lab is not None:
        lab.write_inventory(folder / "inventory.yml")


def handshake(host: LabHost, root_pem: Path, *, domain: str, path: str) -> str:
    """The first message that a WebSocket client gets from the service, over TLS.

    A client in this process that reads and writes in one thread, over the host's real address.
    """
    import socket
    import ssl

    from websockets.client import ClientProtocol
    from websockets.frames import Frame
    from websockets.http11 import Response
    from websockets.uri import parse_uri

    protocol = ClientProtocol(parse_uri(f"wss://{domain}{path}"), origin=f"https://{domain}")  # type: ignore[arg-type]
    trust = ssl.create_default_context(cafile=root_pem)
    with (
        socket.create_connection((host.address, 443), timeout=PATIENCE_S) as line,
        trust.wrap_socket(line, server_hostname=domain) as tls,
    ):
        protocol.send_request(protocol.connect())
        for data in protocol.data_to_send():
            tls.sendall(data)
        while True:
            for event in protocol.events_received():
                if isinstance(event, Response):
                    assert event.status_code == 101, event
                    assert protocol.handshake_exc is None
                elif isinstance(event, Frame) and event.data:
                    return bytes(event.data).decode()
            data = tls.recv(65536)
            assert data, "the connection was closed"
            protocol.receive_data(data)


def names(items: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """One value of each of `items`."""
    return [item[key] for item in items]
