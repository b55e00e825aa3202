"""What a reload leaves behind: processes with an earlier configuration, and how long they live."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.proxies import PROXIES
from deployer.proxies.inspect.model import Fault, Place, ProxyState, fault, place_of
from deployer.proxies.traits import Drain

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MANY = 3
_SHORT_S = 600.0
_SOON_S = 60.0


def faults(state: ProxyState) -> Iterator[Fault]:
    """A limit for old processes that is too short, or none although many are left."""
    proxy = PROXIES[state.proxy]
    if proxy.traits.drain is None:
        return
    name, line = proxy.words.drain, proxy.words.drain_line
    cap_s, place = _cap(state, proxy.traits.drain)
    if cap_s is None:
        yield from _uncapped(state, name, line)
        return
    if cap_s >= _SHORT_S:
        return
    since = state.accepted_reload_s_ago
    was_just_now = since is not None and cap_s - 1 <= since <= cap_s + _SOON_S
    yield fault(
        place,
        code="drain-cut",
        explains=frozenset({"drain-cut", "canary-lost"})
        | (frozenset({"connection-dropped", "idle-cut"}) if was_just_now else frozenset()),
        cause=f"{name} is {cap_s:g} s: that long after each reload, all connections of the earlier"
        " configuration are closed"
        + (f", and the last reload was {since:.0f} s ago." if was_just_now else "."),
        fix=f"Raise {name}, and reload less often.",
        directive=line,
        severity="warning",
    )


def _uncapped(state: ProxyState, name: str, line: str) -> Iterator[Fault]:
    leaving = [each for each in state.processes if each.is_leaving]
    if len(leaving) < _MANY:
        return
    megabytes = sum(each.rss_bytes for each in leaving) / 1e6
    oldest = max(each.age_s for each in leaving)
    yield fault(
        Place(state.config[0].path if state.config else ""),
        code="drain-uncapped",
        explains=frozenset({"drain-uncapped", "files-exhausted"}),
        cause=f"{len(leaving)} processes with earlier configurations still serve their"
        f" connections, the oldest for {oldest / 3600:.1f} h, with {megabytes:.0f} MB in all;"
        f" nothing limits that ({name} is not set).",
        fix=f"Set {name}, and reload less often.",
        directive=line,
        severity="warning",
        stands_alone=True,
    )


def _cap(state: ProxyState, drain: Drain) -> tuple[float | None, Place]:
    for each in state.config:
        found = re.search(drain.pattern, each.text, re.MULTILINE)
        if found:
            seconds = int(found.group(1)) * _SECONDS[found.group(2) or drain.unit]
            return seconds, place_of(each, found)
    return None, Place()
