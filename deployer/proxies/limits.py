"""How many WebSockets each limit of a proxy allows, by its configuration and processes. Pure.

The `limits` module of each proxy knows its directives; what they share is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from deployer.proxies import PROXIES
from deployer.proxies.inspect.model import Fault, Process, ProxyState

#: Files that a worker has open besides its connections.
_OWN_FILES = 12
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit: with `websockets` open in all, the proxy accepts no more.

    `code` is the finding if it is reached, `name` the vendor's name for it, `reckoning` how that
    number follows from its value; `file` has the line, and is empty for a default.
    """

    code: str
    name: str
    websockets: int
    reckoning: str
    fix: str
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number in a configuration, with its file and line."""

    number: int
    file: str = ""


class Limits(Protocol):
    """What the `limits` module of each proxy offers."""

    def limits(self, state: ProxyState) -> Iterator[Limit]:
        """Each limit with the number of WebSockets that it allows."""

    def reached(self, state: ProxyState) -> Iterator[Fault]:
        """The limits, other than of open files, that are used up or nearly so."""


def limits(state: ProxyState) -> tuple[Limit, ...]:
    """Every limit of the proxy that can be read, the lowest first."""
    found = PROXIES[state.proxy].limits.limits(state)
    return tuple(sorted(found, key=lambda limit: limit.websockets))


def workers(state: ProxyState) -> tuple[Process, ...]:
    """The processes that accept new connections."""
    pids = {each.pid for each in state.processes}
    mains = {each.pid for each in state.processes if each.ppid not in pids}
    title = PROXIES[state.proxy].traits.worker_title
    return tuple(
        each
        for each in state.processes
        if each.pid not in mains and not each.is_leaving and title in each.title
    )


def files_limit(state: ProxyState, *, fix: str) -> Iterator[Limit]:
    """The workers' limit of open files; a WebSocket takes two."""
    known = [each.files_limit for each in workers(state) if each.files_limit is not None]
    if not known:
        return
    yield Limit(
        code="files-exhausted",
        name=f"{min(known):,} open files",
        websockets=sum(max(0, (number - _OWN_FILES) // 2) for number in known),
        reckoning=f"two for each WebSocket, in each of {times(len(known), 'worker')}",
        fix=fix,
    )


def number_of(state: ProxyState, directive: str) -> Value | None:
    """The last number that a directive (a pattern with one group) is set to."""
    pattern = re.compile(rf"(?:^|[{{;\s]){directive}", re.IGNORECASE)
    found = None
    for config in state.config:
        for number, line in enumerate(config.text.splitlines(), start=1):
            match = pattern.search(without_comment(line))
            if match is not None:
                found = Value(number=int(match.group(1)), file=f"{config.path}:{number}")
    return found


def without_comment(line: str) -> str:
    """The line up to a ``#``."""
    return _COMMENT.sub("", line)


def times(number: int, word: str) -> str:
    """``1 worker``, ``4 workers``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
