"""A quick look at a playbook: the hosts that it names, before the rest of it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.errors import DeployerError
from deployer.model import Host
from deployer.playbook.inventory.load import Inventory
from deployer.playbook.yaml.vault import HEADER
from deployer.text.connection import PLAY_KEYWORDS
from deployer.text.reading import is_regular, read_limited

#: What wrong types, dates and depths cause; the playbook is then read with all checks.
_NOT_A_PLAYBOOK = (TypeError, KeyError, AttributeError, ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Glance:
    """The hosts that the playbook probably works on, and whether it sets `become` anywhere."""

    hosts: tuple[Host, ...]
    become: bool


def peek(path: Path, *, inventory: Inventory, limit: str | None, become: bool = False) -> Glance:
    """Look for hosts and `become`; returns no hosts if anything is unclear or invalid."""
    import yaml

    try:
        if not is_regular(path):  # a pipe can be read once only
            return Glance(hosts=(), become=False)
        # All scalars stay texts: a number of a million digits takes minutes.
        plays = yaml.load(read_limited(path), getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506
        patterns = [play["hosts"] for play in plays]
        hosts = {
            host.name: host for pattern in patterns for host in inventory.select(pattern, limit)
        }
        tasks = [task for play in plays for task in play.get("tasks") or ()]
        if any(_may_set_connection(play, path.parent) for play in plays):
            return Glance(hosts=(), become=False)
        is_root = any(_is_true(play.get("become", become)) for play in plays)
        is_root = is_root or any(_is_true(task.get("become")) for task in tasks)
    except (OSError, yaml.YAMLError, DeployerError, *_NOT_A_PLAYBOOK):
        return Glance(hosts=(), become=False)
    return Glance(hosts=tuple(hosts.values()), become=is_root)


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "yes", "on")


def _may_set_connection(play: dict[str, Any], folder: Path) -> bool:
    """Whether a play may change how to connect: then it must be read first."""
    if not PLAY_KEYWORDS.keys().isdisjoint(play):
        return True
    if any(str(name).startswith("ansible_") for name in play.get("vars") or ()):
        return True
    for entry in play.get("vars_files") or ():
        name = entry["file"] if isinstance(entry, dict) else entry
        if "{" in name or not is_regular(folder / name):
            return True
        text = read_limited(folder / name)
        if b"ansible_" in text or text.startswith(HEADER.encode()):
            return True
    return False
