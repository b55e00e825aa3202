"""Checks of upstreams that are one of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deployer.model import Value
from deployer.playbook.schema.values import InvalidValue, upstream
from deployer.playbook.yaml.source import nearest
from deployer.sites.model import Upstream

_OF_MEMBERS = ("url", "weight", "backup", "max_conns")


def member(value: Value) -> Upstream:
    """An upstream: its URL, or a mapping with it and what it gets of several."""
    if not isinstance(value, Mapping):
        return upstream(value)
    what = "an upstream"
    for key in value:
        if key not in _OF_MEMBERS:
            near = nearest(str(key), _OF_MEMBERS) or f"known keys: {', '.join(_OF_MEMBERS)}"
            raise InvalidValue(value, f"{what}, because of {key!r}", near)
    if "url" not in value:
        raise InvalidValue(value, what, "it has no 'url'")
    if not isinstance(value.get("backup", False), bool):
        raise InvalidValue(value, what, "its 'backup' must be true or false")
    return replace(
        upstream(value["url"]),
        weight=_count(value, "weight", 256) or 1,
        backup=value.get("backup", False),
        max_conns=_count(value, "max_conns", 1_000_000),
    )


def _count(value: Mapping[str, Value], key: str, most: int) -> int | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        why = f"its {key} must be a number from 1 to {most}"
        raise InvalidValue(dict(value), "an upstream", why)
    return number
