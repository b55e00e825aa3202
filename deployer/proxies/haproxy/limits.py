"""How many WebSockets HAProxy's limits allow, and which are reached.

Source: HAProxy's configuration manual, maxconn.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import lru_cache

from deployer.proxies.inspect.capacity import OF_FULL
from deployer.proxies.inspect.model import ConfigFile, Fault, Place, ProxyState, fault
from deployer.proxies.limits import Limit, Value, files_limit, without_comment
from deployer.text.numbers import is_number

_SECTIONS = frozenset(
    {"global", "defaults", "frontend", "backend", "listen", "peers", "userlist", "resolvers"}
)
_HEADING = re.compile(r"^(global|defaults|frontend|backend|listen|\w[\w-]*)\b\s*(\S*)")


def limits(state: ProxyState) -> Iterator[Limit]:
    """Each limit with the number of WebSockets that it allows."""
    for section, value in _maxconns(state):
        yield Limit(
            code="connections-exhausted",
            name=f"maxconn {value.number} of {section}",
            websockets=value.number,
            reckoning="one for each WebSocket",
            fix=f"Raise maxconn of {section}; the one of global limits all of them.",
            file=value.file,
        )
    yield from files_limit(
        state, fix="Raise LimitNOFILE of haproxy.service: each of maxconn takes two."
    )


def _maxconns(state: ProxyState) -> Iterator[tuple[str, Value]]:
    """Each maxconn with the section, or the server, that it applies to."""
    for config in state.config:
        section = ""
        for number, raw in enumerate(config.text.splitlines(), start=1):
            line = without_comment(raw)
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


def reached(state: ProxyState) -> Iterator[Fault]:
    """Each maxconn that is used up: of the whole process, a frontend or a server."""
    info = _info(state)
    current, most = info.get("CurrConns", ""), info.get("Maxconn", "")
    if is_number(current) and is_number(most) and int(current) >= max(1, int(most)):
        yield fault(
            _place(state, r"^\s*maxconn\s+\d+", "global"),
            code="connections-exhausted",
            explains=OF_FULL,
            cause=f"HAProxy accepts {most} connections in all (maxconn of the section global), and"
            f" has {current}: new clients wait, and no log mentions them.",
            fix="Raise maxconn in the section global, and the limit of open files: each connection"
            " takes two.",
            directive=f"maxconn {int(most) * 4}",
            stands_alone=True,
        )
    for row in statistics(state):
        limit, now = row.get("slim", ""), row.get("scur", "")
        is_full = is_number(limit) and is_number(now) and int(now) >= int(limit) > 0
        is_frontend = row.get("svname") == "FRONTEND"
        is_global = is_frontend and most == limit  # reported above
        if is_full and row.get("svname") != "BACKEND" and not is_global:
            yield _full(state, row, is_frontend=is_frontend)


def _full(state: ProxyState, row: dict[str, str], *, is_frontend: bool) -> Fault:
    limit, name, server = row["slim"], row["pxname"], row["svname"]
    what = f"frontend {name}" if is_frontend else f"{name}/{server}"
    pattern = r"^\s*maxconn\s+\d+" if is_frontend else rf"^\s*server\s+{re.escape(server)}\s"
    return fault(
        _place(state, pattern, name),
        code="connections-exhausted",
        explains=OF_FULL,
        cause=f"{what} accepts {limit} connections at once (maxconn), and has {row['scur']};"
        f" {row.get('qcur') or '0'} requests wait in its queue, and get 503 when they time out.",
        fix="Raise or remove that maxconn: a WebSocket keeps its place for as long as it is open.",
        directive=f"maxconn {int(limit) * 10}",
        stands_alone=True,
    )


def _info(state: ProxyState) -> dict[str, str]:
    """``show info`` as names and values; empty if HAProxy was not asked."""
    text = state.dump.partition("# show info\n")[2].partition("\n# show stat")[0]
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs if value}


def statistics(state: ProxyState) -> list[dict[str, str]]:
    """``show stat``: a row for each frontend, server and backend."""
    text = state.dump.partition("# show stat -1 7 -1\n")[2].lstrip()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return [row for row in rows if row.get("svname") and None not in row.values()]


def _place(state: ProxyState, pattern: str, section: str) -> Place:
    """The first line with `pattern` in a section, ``global`` or a proxy's name."""
    for place, line in _lines_of(state.config).get(section, ()):
        if re.search(pattern, line):
            return place
    return Place()


@lru_cache(maxsize=4)
def _lines_of(files: tuple[ConfigFile, ...]) -> dict[str, list[tuple[Place, str]]]:
    """The lines below the headings of each section."""
    found: dict[str, list[tuple[Place, str]]] = {}
    for each in files:
        inside = ""
        for number, line in enumerate(each.text.splitlines(), 1):
            heading = _HEADING.match(line)
            if heading:
                inside = "global" if heading.group(1) == "global" else heading.group(2)
            else:
                found.setdefault(inside, []).append((Place(each.path, number), line))
    return found
