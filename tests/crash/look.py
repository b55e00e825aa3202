"""What a rehearsal host looks like, as far as a commit may have to do with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deployer.lab.host import LabHost

#: Runs on the host. Types, modes, owners, contents and link targets of everything in the folders
#: that are managed; packages, accounts, units; what the proxy answers. Times are left out: a commit
#: and the same commit a second later differ in nothing else. Our own folder is left out, and what
#: the host writes by itself. What is enabled are links in /etc.
_PROGRAM = r"""
import hashlib, json, os, socket, stat, subprocess
SKIPPED = {"/var/lib/deployer", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd",
           "/var/lib/private", "/var/lib/logrotate", "/var/lib/nginx"}
SPAWN = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
asked = {
    "active": ["systemctl", "list-units", "--type=service,socket,timer", "--state=active",
               "--plain", "--no-legend", "--full"],
    "failed": ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"],
}
asked = {name: subprocess.Popen(argv, **SPAWN) for name, argv in asked.items()}
tree = {}
def look(path):
    info = os.lstat(path)
    entry = [oct(info.st_mode), info.st_uid, info.st_gid]
    if stat.S_ISLNK(info.st_mode):
        entry.append(os.readlink(path))
    elif stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            entry.append(hashlib.sha256(file.read()).hexdigest()[:16])
    tree[path] = entry
for top in ("/etc", "/var/lib", "/var/www", "/var/mail", "/home", "/srv", "/opt", "/usr/local"):
    for folder, folders, files in os.walk(top):
        look(folder)
        folders[:] = [name for name in folders if os.path.join(folder, name) not in SKIPPED]
        for name in [*files, *(n for n in folders if os.path.islink(os.path.join(folder, n)))]:
            look(os.path.join(folder, name))
def blocks(path):
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return
    for block in text.split("\n\n"):
        yield dict(line.partition(": ")[::2] for line in block.splitlines() if line[:1] != " ")
packages = [" ".join(about.get(key, "") for key in ("Package", "Version", "Status"))
            for about in blocks("/var/lib/dpkg/status")]
automatic = [about["Package"] for about in blocks("/var/lib/apt/extended_states")
             if about.get("Auto-Installed") == "1"]
def served():
    try:
        with socket.create_connection(("127.0.0.1", 8099), timeout=5) as line:
            line.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return line.makefile("rb").read().decode().rpartition("\r\n\r\n")[2]
    except OSError as error:
        return type(error).__name__
lines = {name: process.communicate()[0].splitlines() for name, process in asked.items()}
TRANSIENT = ("session-", "user@", "user-", "run-")
IDLE = {"systemd-hostnamed.service", "systemd-tmpfiles-clean.service", "logrotate.service"}
def units(lines):
    names = (line.split()[0] for line in lines if line.strip())
    return sorted(n for n in names if not n.startswith(TRANSIENT) and n not in IDLE)
print(json.dumps({
    "tree": tree,
    "packages": sorted(packages),
    "automatic": sorted(automatic),
    "active": units(lines["active"]),
    "failed": units(lines["failed"]),
    "served": [served()],
}))
"""

Look = Mapping[str, Any]


def look_at(host: LabHost) -> Look:
    """The host as it is now, to be compared."""
    document: dict[str, Any] = json.loads(host.exec(["python3", "-I", "-S", "-c", _PROGRAM]).stdout)
    return document


def differences(one: Look, other: Look) -> dict[str, Any]:
    """What is not alike, by name, each as a pair; empty where everything is."""
    found: dict[str, Any] = {}
    for path in sorted({*one["tree"], *other["tree"]}):
        pair = one["tree"].get(path), other["tree"].get(path)
        if pair[0] != pair[1]:
            found[path] = pair
    for key in one:
        if key != "tree" and one[key] != other[key]:
            ours, others = set(one[key]), set(other[key])
            found[key] = sorted(ours - others), sorted(others - ours)
    return found
