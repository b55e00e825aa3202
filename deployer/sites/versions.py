"""The version of a program that a host has or would install, to select its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def upstream(
    packages: Mapping[str, Mapping[str, str | None]], names: Sequence[str], *, otherwise: str
) -> str:
    """The upstream version of the first package that is installed, or else available: ``1.22.1``.

    `otherwise` is the result if none is known.
    """
    for state in ("installed", "candidate"):
        for name in names:
            found = upstream_of(packages.get(name, {}).get(state) or "")
            if found:
                return found
    return otherwise


def upstream_of(version: str) -> str:
    """The digits of the upstream part of a package's version; empty if there are none.

    Source: deb-version(7), ``[epoch:]upstream-version[-debian-revision]``.
    """
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return found[1] if found else ""


def is_before(version: str, other: str) -> bool:
    """Whether an upstream version is older than `other`."""
    return _numbers(version) < _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
