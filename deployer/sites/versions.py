"""The version of a program that a host has or would install, to select its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def upstream(
    packages: Mapping[str, Mapping[str, str | None]], names: Sequence[str], *, oldest: str
) -> str:
    """The upstream version of the first package that is installed, or else available: ``1.22.1``.

    `oldest` is assumed if none is known: later versions accept the same configuration.

    Source: deb-version(7), ``[epoch:]upstream-version[-debian-revision]``.
    """
    for state in ("installed", "candidate"):
        for name in names:
            found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", packages.get(name, {}).get(state) or "")
            if found:
                return found[1]
    return oldest
