"""What a reload leaves behind: processes of earlier configurations, and how long they may live."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.proxies.inspect.model import Fault, ProxyState

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CAPS = {
    "nginx": (r"^[^#\n]*?\bworker_shutdown_timeout\s+(\d+)(ms|s|m|h|d)?\s*;", "s"),
    "haproxy": (r"^\s*hard-stop-after\s+(\d+)(ms|s|m|h|d)?[ \t]*(?:#.*)?$", "ms"),
}
_WORDS = {
    "nginx": ("worker_shutdown_timeout", "worker_shutdown_timeout 1h;"),
    "haproxy": ("hard-stop-after", "hard-stop-after 1h"),
}
_MANY = 3
_SHORT_S = 600.0
_SOON_S = 60.0


def faults(state: ProxyState) -> Iterator[Fault]:
    """Too short a limit for what a reload leaves behind, or none and much left behind."""
    if state.proxy not in _CAPS:
        return
    name, mend = _WORDS[state.proxy]
    cap_s, file, line = _cap(state)
    leaving = [each for each in state.processes if each.is_leaving]
    if cap_s is None:
        if len(leaving) >= _MANY:
            megabytes = sum(each.rss_bytes for each in leaving) / 1e6
            oldest = max(each.age_s for each in leaving)
            yield Fault(
                code="drain-uncapped",
                explains=frozenset({"drain-uncapped", "files-exhausted"}),
                cause=f"{len(leaving)} processes of earlier configurations live on for the sake of"
                f" their connections, the oldest for {oldest / 3600:.1f} h, with {megabytes:.0f} MB"
                f" in all; nothing limits that ({name} is not set).",
                fix=f"Set {name}, and reload less often.",
                directive=mend,
                file=state.config[0].path if state.config else "",
                severity="warning",
                stands_alone=True,
            )
        return
    if cap_s >= _SHORT_S:
        return
    since = state.accepted_reload_s_ago
    was_just_now = since is not None and cap_s - 1 <= since <= cap_s + _SOON_S
    yield Fault(
        code="drain-cut",
        explains=frozenset({"drain-cut", "canary-lost"})
        | (frozenset({"connection-dropped", "idle-cut"}) if was_just_now else frozenset()),
        cause=f"{name} is {cap_s:g} s: that long after each reload, every connection of the earlier"
        " configuration is cut"
        + (f", and the last reload was {since:.0f} s ago." if was_just_now else "."),
        fix=f"Raise {name}, and reload less often.",
        directive=mend,
        file=file,
        line=line,
        severity="warning",
    )


def _cap(state: ProxyState) -> tuple[float | None, str, int]:
    pattern, usual = _CAPS[state.proxy]
    for each in state.config:
        found = re.search(pattern, each.text, re.MULTILINE)
        if found:
            seconds = int(found.group(1)) * _SECONDS[found.group(2) or usual]
            return seconds, each.path, each.text.count("\n", 0, found.end()) + 1
    return None, "", 0
