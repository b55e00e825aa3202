"""Host names of an inventory, with ranges and a port: ``web[01:20].eu:2222``, ``[::1]:22``.

Source: "How to build your inventory" in Ansible's user guide. A text that is neither a host name
nor an address is a name as a whole, with its colons.
"""

from __future__ import annotations

import re
import string

from deployer.playbook.yaml.source import Spot
from deployer.text.numbers import is_number

_MAX = 5000
_BRACKETED = re.compile(r"\[(.+)\]:([0-9]+)")
_WITH_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])*):([0-9]+)")
_RANGE = r"\[(?:[a-zA-Z]:[a-zA-Z]|[0-9]+:[0-9]+)(?::[0-9]+)?\]"
_LABEL = rf"(?:\w|{_RANGE})(?:[\w-]|{_RANGE})*(?<![_-])"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBERS = re.compile(r"\[[0-9]+:[0-9]+(?::[0-9]+)?\]")
_FORBIDDEN = re.compile(r"[\s/'\"`$;&|<>\\{}\x00-\x1f]")
_LETTERS = string.ascii_letters


def expand(text: str, spot: Spot, *, ranges: bool = True) -> tuple[list[str], int | None]:
    """The host names of a pattern, and its port; both ends of a range are included.

    Raises: SourceError, for an invalid or too large range, a wrong port, or an invalid host name.
    """
    name, port = split_port(text, ranges=ranges)
    if port is not None and not 0 < port < 65536:
        raise spot.error(f"{port} is not a port", hint="a port is a number from 1 to 65535")
    names = [name]
    while ranges and "[" in names[0]:
        names = [expanded for each in names for expanded in _first_range(each, spot)]
        if len(names) > _MAX:
            raise spot.error(f"the range '{text}' has more than {_MAX:,} hosts")
    for each in names:
        if not each or each.startswith("-") or _FORBIDDEN.search(each):
            raise spot.error(f"{each!r} is not a host name")
    return names, port


def split_port(text: str, *, ranges: bool) -> tuple[str, int | None]:
    """The name and the port; the whole text without a port if the name is not a valid one."""
    found = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    name = found[1] if found else text
    if not is_address(name) or ("[" in name and not ranges):
        return text, None
    return name, int(found[2]) if found else None


def is_address(name: str) -> bool:
    """Whether it is a host name or an IP address, both with ranges or without."""
    if _NAME.fullmatch(name):
        return True
    if ":" not in name:
        return False
    import socket

    try:
        socket.inet_pton(socket.AF_INET6, _NUMBERS.sub("0", name))
    except (OSError, ValueError):
        return False
    return True


def _first_range(name: str, spot: Spot) -> list[str]:
    """The names for the first range of one."""
    head, _, rest = name.partition("[")
    text, closed, tail = rest.partition("]")
    if not closed:
        raise spot.error(f"'{name}': a bracket is not closed", hint="write [01:20] or [a:f]")
    return [head + value + tail for value in _values(text, spot)]


def _values(text: str, spot: Spot) -> list[str]:
    parts = text.split(":")
    step = parts[2] if len(parts) == 3 else "1"
    first, last = parts[0] or "0", parts[1] if len(parts) > 1 else ""
    if len(parts) > 3 or not _is_number(step) or int(step) == 0:
        raise spot.error(f"'[{text}]' is not a range", hint="write [01:20] or [a:f]")
    if _is_number(first) and _is_number(last) and int(first) <= int(last):
        if int(last) - int(first) > _MAX:
            raise spot.error(f"the range '[{text}]' has more than {_MAX:,} hosts")
        width = len(first) if first.startswith("0") and len(first) > 1 else 0
        if width and len(last) != width:
            raise spot.error(
                f"'[{text}]': both ends of a range with leading zeros need as many digits",
                hint=f"write [{first}:{last.zfill(width)}]",
            )
        return [str(n).zfill(width) for n in range(int(first), int(last) + 1, int(step))]
    if len(first) == len(last) == 1 and first in _LETTERS and last in _LETTERS:
        low, high = _LETTERS.index(first), _LETTERS.index(last)
        if low <= high:
            return list(_LETTERS[low : high + 1 : int(step)])
    raise spot.error(f"'[{text}]' is not a range", hint="write [01:20] or [a:f], lower end first")


def _is_number(text: str) -> bool:
    return text.isascii() and is_number(text) and len(text) < 20
