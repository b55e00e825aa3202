"""How many WebSockets each limit of a proxy allows, from its configuration and its processes. Pure.

Source: ngx_core_module (worker_connections counts services and listeners too), Apache's MPM event,
HAProxy's configuration manual (maxconn).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployer.proxies.inspect.model import Process, ProxyState

#: Files that a worker has open beside its connections.
_OWN_FILES = 12
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit: at `websockets` open ones in all the proxy can take no more.

    `code` is the finding where it is hit, `name` what the vendor calls it, `reckoning` how one
    comes from its value to that number; `file` has the line, and is empty for a default.
    """

    code: str
    name: str
    websockets: int
    reckoning: str
    fix: str
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number in a configuration, and where it stands."""

    number: int
    file: str = ""


def limits(state: ProxyState) -> tuple[Limit, ...]:
    """Every limit of the proxy that can be read, the tightest first."""
    found = {"nginx": _nginx, "apache": _apache, "haproxy": _haproxy}[state.proxy](state)
    return tuple(sorted(found, key=lambda limit: limit.websockets))


def workers(state: ProxyState) -> tuple[Process, ...]:
    """The processes that take new connections."""
    mains = {each.pid for each in state.processes if each.ppid not in _pids(state)}
    serving = [each for each in state.processes if each.pid not in mains and not each.is_leaving]
    if state.proxy == "nginx":
        serving = [each for each in serving if "worker process" in each.title]
    return tuple(serving)


def _pids(state: ProxyState) -> frozenset[int]:
    return frozenset(each.pid for each in state.processes)


def _nginx(state: ProxyState) -> Iterator[Limit]:
    number = max(1, len(workers(state)))
    given = _value(state, r"worker_connections\s+(\d+)\s*;")
    each = given or Value(number=512)
    own = len(state.listeners) + 1
    yield Limit(
        code="connections-exhausted",
        name=f"worker_connections {each.number}",
        websockets=number * max(0, (each.number - own) // 2),
        reckoning=f"two for each WebSocket, in each of {_times(number, 'worker')}",
        fix="Raise worker_connections in events { }, and with it worker_rlimit_nofile.",
        file=each.file,
    )
    yield from _files(
        state,
        fix="Raise worker_rlimit_nofile in nginx.conf, or LimitNOFILE of nginx.service.",
    )


def _apache(state: ProxyState) -> Iterator[Limit]:
    threads = _value(state, r"ThreadsPerChild\s+(\d+)") or Value(number=25)
    asked = _value(state, r"(?:MaxRequestWorkers|MaxClients)\s+(\d+)") or Value(number=400)
    places = _value(state, r"ServerLimit\s+(\d+)") or Value(number=16)
    yield Limit(
        code="threads-exhausted",
        name=f"MaxRequestWorkers {asked.number}",
        websockets=asked.number,
        reckoning="a thread for each WebSocket",
        fix="Raise MaxRequestWorkers, and ServerLimit × ThreadsPerChild with it (a restart).",
        file=asked.file,
    )
    leaving = sum(each.is_leaving for each in state.processes)
    yield Limit(
        code="scoreboard-full",
        name=f"ServerLimit {places.number}",
        websockets=max(0, places.number - leaving) * threads.number,
        reckoning=f"{places.number} processes of {threads.number} threads"
        + (f", of which {leaving} finish connections of before a reload" if leaving else ""),
        fix="Raise ServerLimit (a restart), or end connections of before: `drain` in the playbook.",
        file=places.file,
    )


def _haproxy(state: ProxyState) -> Iterator[Limit]:
    for section, value in _maxconns(state):
        yield Limit(
            code="connections-exhausted",
            name=f"maxconn {value.number} of {section}",
            websockets=value.number,
            reckoning="one for each WebSocket",
            fix=f"Raise maxconn of {section}; the one of global bounds them all.",
            file=value.file,
        )
    yield from _files(
        state, fix="Raise LimitNOFILE of haproxy.service: it takes two for each of maxconn."
    )


def _files(state: ProxyState, *, fix: str) -> Iterator[Limit]:
    """The workers' limit of open files, of which a WebSocket takes two."""
    serving = workers(state)
    known = [each.files_limit for each in serving if each.files_limit is not None]
    if not known:
        return
    least = min(known)
    yield Limit(
        code="files-exhausted",
        name=f"{least:,} open files",
        websockets=sum(max(0, (number - _OWN_FILES) // 2) for number in known),
        reckoning=f"two for each WebSocket, in each of {_times(len(known), 'worker')}",
        fix=fix,
    )


def _maxconns(state: ProxyState) -> Iterator[tuple[str, Value]]:
    """Each maxconn of HAProxy with the section, or the server, that it holds for."""
    for config in state.config:
        section = ""
        for number, raw in enumerate(config.text.splitlines(), start=1):
            line = _COMMENT.sub("", raw)
            words = line.split()
            if not words:
                continue
            if not line[0].isspace() and words[0] in _SECTIONS:
                section = " ".join(words[:2])
                continue
            found = re.search(r"\bmaxconn\s+(\d+)\b", line)
            if found is None or words[0] not in ("maxconn", "server", "bind", "default-server"):
                continue
            whose = section if words[0] == "maxconn" else f"{' '.join(words[:2])} in {section}"
            where = f"{config.path}:{number}"
            yield whose, Value(number=int(found.group(1)), file=where)


_SECTIONS = frozenset(
    {"global", "defaults", "frontend", "backend", "listen", "peers", "userlist", "resolvers"}
)


def _value(state: ProxyState, directive: str) -> Value | None:
    """The last number that a directive is given, comments aside."""
    pattern = re.compile(rf"(?:^|[{{;\s]){directive}", re.IGNORECASE)
    found = None
    for config in state.config:
        for number, raw in enumerate(config.text.splitlines(), start=1):
            match = pattern.search(_COMMENT.sub("", raw))
            if match is not None:
                found = Value(number=int(match.group(1)), file=f"{config.path}:{number}")
    return found


def _times(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
