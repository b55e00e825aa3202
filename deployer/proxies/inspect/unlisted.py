"""Why the names that a running proxy serves cannot be listed. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from deployer.proxies import PROXIES
from deployer.proxies.inspect.model import Inspection, ProxyState

_TELLING = re.compile(r"emerg|alert|syntax error|error|fail|fatal|denied", re.IGNORECASE)
#: When a process with which number wrote a line.
_STAMP = re.compile(r"^\d{4}/\d\d/\d\d [\d:]+ (?=\[)|(?<=\] )\d+#\d+: ")
_LONGEST = 300


def unlisted(inspection: Inspection, *, written: Collection[str]) -> tuple[str, ...]:
    """One reason for each proxy with an unknown configuration, in words; empty if all are known.

    A proxy that listens nowhere serves nothing. Files that its own test rejects may be what a
    commit is about to fix, if it is among the `written` paths.
    """
    found = [
        f"{PROXIES[state.proxy].title}{_which(state)}: {problem}"
        for state in inspection.proxies
        if state.listeners and (problem := _problem(state, written))
    ]
    return (*found, *inspection.unread)


def rejected(inspection: Inspection) -> tuple[str, ...]:
    """One sentence for each running proxy whose own test rejects its files."""
    return tuple(
        f"{PROXIES[state.proxy].title} rejects its own files: {_shown(state.test_output)}"
        for state in inspection.proxies
        if state.test_ok is False and state.listeners
    )


def _which(state: ProxyState) -> str:
    pid = min(state.main_pids, default=0)
    return f" (process {pid})" if pid else ""


def _problem(state: ProxyState, written: Collection[str]) -> str:
    if state.test_ok is None:
        said = f": {_shown(state.test_output)}" if state.test_output else ""
        return f"its configuration test could not be run{said}"
    if not state.config:
        return "none of its configuration files could be read"
    if not state.test_ok:
        if _is_fixed(state, written):
            return ""
        return (
            f"its own test rejects its files, so it runs with earlier ones: "
            f"{_shown(state.test_output)}"
        )
    place = PROXIES[state.proxy].names.not_understood(state)
    return f"its configuration is not understood: {place}" if place else ""


def _is_fixed(state: ProxyState, written: Collection[str]) -> bool:
    """Whether a path that the test complains about is written."""
    paths = {each.path: each.real_path or each.path for each in state.config}
    places = {path for path, real in paths.items() if {path, real} & set(written)} | set(written)
    return any(re.search(rf"{re.escape(path)}(?![\w./-]*\w)", state.test_output) for path in places)


def _shown(output: str) -> str:
    """The line of a program's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)]
    return _STAMP.sub("", (telling or lines or ["no reason given"])[0])[:_LONGEST]
