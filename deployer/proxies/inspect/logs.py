"""Lines of a proxy's log with their age: of nginx, Apache and systemd's journal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from deployer.proxies.inspect.model import ProxyState

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WITH_SLASHES = re.compile(r"(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) ")
_IN_BRACKETS = re.compile(r"\[\w{3} (\w{3}) +(\d+) (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d{4})\] ")
_WITH_HYPHENS = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)")
#: The process that wrote a line: ``2445#2445:``, ``[pid 770:``, ``haproxy[1915]:``.
_WRITER = re.compile(r"\] (\d+)#\d+:|\[pid (\d+)|\b[\w-]+\[(\d+)\]:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; `age_s` is `None` if neither it nor a line before it has a time."""

    text: str
    age_s: float | None
    pid: int | None


def lines(state: ProxyState) -> Iterator[Line]:
    """The log's lines; one without a time has that of the line before it."""
    now = _at(state.local_time)
    then: datetime | None = None
    for text in state.log:
        then = _at(text) or then
        age_s = (now - then).total_seconds() if now is not None and then is not None else None
        found = _WRITER.search(text)
        pid = next((int(number) for number in found.groups() if number), None) if found else None
        yield Line(text=text, age_s=age_s, pid=pid)


def latest(
    state: ProxyState, pattern: str, *, within_s: float | None = None, by_running: bool = False
) -> Line | None:
    """The newest line with `pattern`, no older than `within_s`.

    With `by_running`, lines of processes that no longer exist do not count.
    """
    wanted, found = re.compile(pattern), None
    running = {None, *(each.pid for each in state.processes)}
    for line in lines(state):
        is_meant = wanted.search(line.text) is not None and _is_new(line, within_s)
        is_meant = is_meant and (not by_running or line.pid in running)
        if is_meant and (found is None or (line.age_s or 0.0) <= (found.age_s or 0.0)):
            found = line
    return found


def _is_new(line: Line, within_s: float | None) -> bool:
    return within_s is None or (line.age_s is not None and line.age_s <= within_s)


def _at(text: str) -> datetime | None:
    for pattern in (_WITH_SLASHES, _WITH_HYPHENS):
        found = pattern.match(text)
        if found:
            return _moment(*(int(number) for number in found.groups()))
    found = _IN_BRACKETS.match(text)
    if found is None or found.group(1) not in _MONTHS:
        return None
    month, day, hour, minute, second, year = found.groups()
    return _moment(
        int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)
    )


def _moment(
    year: int, month: int, day: int, hour: int, minute: int, second: int
) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the host's own
    except (ValueError, OverflowError):
        return None
