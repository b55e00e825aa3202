"""Ansible host patterns: groups, hosts, wildcards, slices, ``web:!old``, ``web:&prod``."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from deployer.errors import UsageError
from deployer.playbook.inventory.addresses import is_address, split_port
from deployer.playbook.yaml.source import nearest

_SLICE = re.compile(r"(?P<name>.+)\[(?P<first>-?[0-9]+)(?P<range>[:-](?P<last>[0-9]*))?\]")
_PART = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")

#: Names of this machine, which every inventory has without mentioning them.
LOCALHOST = ("localhost", "127.0.0.1", "::1")


def select(
    pattern: str, *, hosts: Collection[str], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The hosts that a pattern matches, in the pattern's order.

    Additions are evaluated first, then intersections (``&``), then exclusions (``!``), regardless
    of their order.

    Raises: UsageError, for a part that matches neither a host nor a group.
    Source: "Patterns: targeting hosts and groups" in Ansible's inventory guide.
    """
    parts = split(pattern, hosts)
    if not parts:
        raise UsageError("an empty host pattern", hint="write a group, a host, or all")
    added: dict[str, None] = {}
    plain = [part for part in parts if part[0] not in "&!"]
    for part in plain or ["all"]:
        # A name that is both a group and a host is the host, but in an exclusion it is the group.
        found = (part,) if part in hosts else _matches(part, hosts, groups)
        added.update(dict.fromkeys(found))
    if not added and plain and not any(_is_empty_group(part, groups) for part in plain):
        raise _unknown(", ".join(plain), hosts, groups)
    for part in parts:
        if part.startswith("&"):
            kept = set(_matches(part[1:], hosts, groups))
            added = {host: None for host in added if host in kept}
    for part in parts:
        if part.startswith("!"):
            gone = set(_matches(part[1:], hosts, groups))
            added = {host: None for host in added if host not in gone}
    return tuple(added)


def split(pattern: str, hosts: Collection[str]) -> list[str]:
    """The parts of a pattern: separated by commas, or by colons unless it is one address."""
    if "," in pattern:
        parts = pattern.split(",")
    elif pattern in hosts or is_address(split_port(pattern, ranges=True)[0]):
        parts = [pattern]
    else:
        parts = _PART.findall(pattern)
    return [part.strip() for part in parts if part.strip()]


def with_files(limit: str) -> str:
    """``--limit`` with the lines of each ``@FILE`` in its place. Raises: UsageError."""
    from deployer.playbook.yaml.file import read_text

    if "@" not in limit:
        return limit
    found: list[str] = []
    for part in split(limit, ()):
        if part.startswith("@"):
            lines = read_text(Path(os.path.expanduser(part[1:])), what="file of hosts").splitlines()
            found += [line.strip() for line in lines if line.strip()]
        else:
            found.append(part)
    return ",".join(found)


def _matches(
    name: str, hosts: Collection[str], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    if name in groups:
        return groups[name]
    if name in hosts:
        return (name,)
    if name.startswith("@"):
        raise UsageError(f"'{name}': only --limit takes a file of hosts; list the hosts")
    if name.startswith("~"):
        return _by_name(_expression(name), hosts, groups)
    slice_ = _SLICE.fullmatch(name)
    if slice_ is not None:
        return _sliced(name, slice_, _matches(slice_["name"], hosts, groups))
    if any(character in name for character in "*?["):
        return _by_name(lambda each: fnmatch.fnmatchcase(each, name), hosts, groups)
    if name in LOCALHOST:
        return (next((each for each in hosts if each in LOCALHOST), name),)
    raise _unknown(name, hosts, groups)


def _expression(name: str) -> Callable[[str], object]:
    try:
        return re.compile(name[1:]).match
    except re.error as error:
        raise UsageError(f"the pattern '{name}' is not a regular expression: {error}") from None


def _sliced(name: str, slice_: re.Match[str], found: tuple[str, ...]) -> tuple[str, ...]:
    """Part of a group; unlike in Python, both ends of a range are included."""
    first = int(slice_["first"])
    last = int(slice_["last"]) if slice_["last"] else -1
    if slice_["range"] is not None and last != 0:
        return found[first : None if last == -1 else last + 1]
    if found and not -len(found) <= first < len(found):
        number = f"{len(found)} host" + ("" if len(found) == 1 else "s")
        raise UsageError(f"the pattern '{name}': '{slice_['name']}' has only {number}")
    return found[first : first + 1 or None]


def _is_empty_group(part: str, groups: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a part that matches no host names a group, which is empty then."""
    name = slice_["name"] if (slice_ := _SLICE.fullmatch(part)) else part
    if name.startswith("~"):
        return any(map(_expression(name), groups))
    return any(fnmatch.fnmatchcase(each, name) for each in groups)


def _by_name(
    matches: Callable[[str], object],
    hosts: Collection[str],
    groups: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...]:
    """The hosts of all groups whose name matches, then all hosts whose name does."""
    found = {host: None for group in groups if matches(group) for host in groups[group]}
    found.update((host, None) for host in hosts if matches(host))
    return tuple(found)


def _unknown(
    name: str, hosts: Collection[str], groups: Mapping[str, tuple[str, ...]]
) -> UsageError:
    return UsageError(
        f"the inventory has no host or group '{name}'",
        hint=nearest(name, (*groups, *hosts)) or f"groups: {', '.join(groups)}",
    )
