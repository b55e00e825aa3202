"""Ansible host patterns: groups, hosts, wildcards, slices, ``web:!old``, ``web:&prod``."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping

from deployer.errors import UsageError
from deployer.playbook.yaml.source import nearest

_SLICE = re.compile(r"(?P<name>.+?)\[(?P<first>-?\d+)?(?P<range>[:-](?P<last>-?\d+)?)?\]")


def select(
    pattern: str, *, hosts: tuple[str, ...], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The hosts that a pattern matches, in the inventory's order.

    Additions are evaluated first, then intersections (``&``), then exclusions (``!``), regardless
    of their order.

    Raises: UsageError, for a name that is neither a host nor a group.
    Source: "Patterns: targeting hosts and groups" in Ansible's inventory guide.
    """
    parts = [part.strip() for part in _split(pattern, hosts)]
    if not any(parts):
        raise UsageError("an empty host pattern", hint="write a group, a host, or all")
    added: dict[str, None] = {}
    plain = [part for part in parts if part and part[0] not in "&!"]
    for part in plain or ["all"]:
        added.update(dict.fromkeys(_matches(part, hosts, groups)))
    for part in parts:
        if part.startswith("&"):
            kept = set(_matches(part[1:], hosts, groups))
            added = {host: None for host in added if host in kept}
    for part in parts:
        if part.startswith("!"):
            gone = set(_matches(part[1:], hosts, groups))
            added = {host: None for host in added if host not in gone}
    return tuple(host for host in hosts if host in added)


def _split(pattern: str, hosts: tuple[str, ...]) -> list[str]:
    if pattern in hosts:
        return [pattern]
    if "," in pattern:
        return pattern.split(",")
    # A colon inside brackets belongs to a slice or an IPv6 address.
    return re.split(r":(?![^\[]*\])", pattern)


def _matches(
    name: str, hosts: tuple[str, ...], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    if name in ("all", "*"):
        return hosts
    if name in groups:
        return groups[name]
    if name in hosts:
        return (name,)
    if name.startswith("@"):
        raise UsageError(f"'{name}': files of hosts are not supported; list the hosts")
    if name.startswith("~"):
        try:
            expression = re.compile(name[1:])
        except re.error as error:
            raise UsageError(f"the pattern '{name}' is not a regular expression: {error}") from None
        return _by_name(expression.match, hosts, groups)
    slice_ = _SLICE.fullmatch(name)
    if slice_ is not None:
        found = _matches(slice_["name"], hosts, groups)
        first = int(slice_["first"] or 0)
        if slice_["range"] is None:
            return found[first : first + 1 or None]
        # Unlike in Python, both ends are included.
        last = int(slice_["last"]) if slice_["last"] else -1
        return found[first : last + 1 or None]
    if any(character in name for character in "*?["):
        return _by_name(lambda each: fnmatch.fnmatchcase(each, name), hosts, groups)
    raise UsageError(
        f"the inventory has no host or group '{name}'",
        hint=nearest(name, (*groups, *hosts)) or f"groups: {', '.join(groups)}",
    )


def _by_name(
    matches: Callable[[str], object], hosts: tuple[str, ...], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    found = {host: None for host in hosts if matches(host)}
    for group, members in groups.items():
        if group not in ("all", "ungrouped") and matches(group):
            found.update(dict.fromkeys(members))
    return tuple(found)
