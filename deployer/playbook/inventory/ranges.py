"""Ranges in host names: ``web[01:20].example.com``, ``db-[a:f]``, ``n[0:10:2]``."""

from __future__ import annotations

import re

from deployer.playbook.yaml.source import Spot

_RANGE = re.compile(r"\[([^\[\]]*:[^\[\]]*)\]")
_MAX = 5000


def expand(pattern: str, spot: Spot) -> list[str]:
    """The host names of a pattern; both ends of a range are included.

    Raises: SourceError, for an invalid or too large range, or an invalid host name.
    """
    names = [pattern]
    while True:
        match = _RANGE.search(names[0])
        if match is None or (
            re.fullmatch(r"[0-9a-fA-F:.]*::?[0-9a-fA-F:.]*", match[1]) and (match[1].count(":") > 2)
        ):
            break
        names = [
            name[: match.start()] + value + name[match.end() :]
            for name in names
            for value in _values(match[1], spot)
            if (match := _RANGE.search(name)) is not None
        ]
        if len(names) > _MAX:
            raise spot.error(f"the range '{pattern}' has more than {_MAX:,} hosts")
    for name in names:
        if not name or name.startswith("-") or re.search(r"[\s/'\"`$;&|<>\\{}\x00-\x1f]", name):
            raise spot.error(f"{name!r} is not a host name")
    return names


def _values(text: str, spot: Spot) -> list[str]:
    parts = text.split(":")
    step = parts[2] if len(parts) == 3 else "1"
    first, last = parts[0] or "0", parts[1] if len(parts) > 1 else ""
    if len(parts) > 3 or not step.isdigit() or int(step) == 0:
        raise spot.error(f"'[{text}]' is not a range", hint="write [01:20] or [a:f]")
    if first.isdigit() and last.isdigit() and int(first) <= int(last):
        if int(last) - int(first) > _MAX:
            raise spot.error(f"the range '[{text}]' has more than {_MAX:,} hosts")
        width = len(first) if first.startswith("0") else 0
        return [str(n).zfill(width) for n in range(int(first), int(last) + 1, int(step))]
    if len(first) == len(last) == 1 and first.isalpha() and last.isalpha() and first <= last:
        return [chr(n) for n in range(ord(first), ord(last) + 1, int(step))]
    raise spot.error(f"'[{text}]' is not a range", hint="write [01:20] or [a:f], lower end first")
