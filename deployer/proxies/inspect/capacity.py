"""Which limit of a proxy is reached: processes, threads, connections, open files."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.proxies import PROXIES
from deployer.proxies.inspect.logs import Line, latest
from deployer.proxies.inspect.model import Fault, ProxyState, fault

#: The symptoms of a proxy that accepts no more clients.
OF_FULL = frozenset(
    {
        *("timeout", "service-hangs", "connection-dropped", "proxy-down", "tls-stalled"),
        *("tls-failed", "bad-gateway", "unreachable-from-here", "not-http"),
    }
)
#: Use of a limit from which on it is reported.
NEARLY = 0.95
_RECENT_S = 300.0
_SLACK_S = 0.5  # logs have whole seconds


def faults(state: ProxyState) -> Iterator[Fault]:
    """The limits that are reached now, or were in the last minutes, with their numbers."""
    if not state.is_running:
        return
    yield from PROXIES[state.proxy].limits.reached(state)
    yield from _files(state)


def logged(state: ProxyState, pattern: str) -> Line | None:
    """The newest line that a running process wrote in the last minutes.

    Lines from before the last reload do not count: that may have raised the limit.
    """
    since = state.accepted_reload_s_ago
    since = since if since is not None else state.started_s_ago
    recent_s = _RECENT_S if since is None else min(_RECENT_S, since + _SLACK_S)
    return latest(state, pattern, within_s=recent_s, by_running=True)


def _files(state: ProxyState) -> Iterator[Fault]:
    fullest = max(
        (each for each in state.processes if each.files_limit and each.open_files is not None),
        key=lambda each: (each.open_files or 0) / (each.files_limit or 1),
        default=None,
    )
    in_log = logged(state, r"\(24: |Too many open files|AH0\d+:.*EMFILE")
    share = (fullest.open_files or 0) / (fullest.files_limit or 1) if fullest is not None else 0.0
    if in_log is None and share < NEARLY:
        return
    about = (
        f"process {fullest.pid} has {fullest.open_files} of at most {fullest.files_limit} files"
        " open"
        if fullest is not None
        else "its log says so"
    )
    line = PROXIES[state.proxy].words.open_files
    yield fault(
        None,
        code="files-exhausted",
        explains=OF_FULL,
        cause=f"The limit of open files is reached: {about}; a WebSocket takes two.",
        fix=f"Raise the limit: {line}.",
        directive=line,
        severity="error" if in_log is not None else "warning",
        stands_alone=True,
    )
