"""The reader of nginx's configuration: how it handles a request, and its faults."""

from __future__ import annotations

from typing import Literal

from deployer.proxies.inspect.model import Fault, ProxyState, Served
from deployer.proxies.nginx.config import Directive, tree_of
from deployer.proxies.nginx.faults import faults_of
from deployer.proxies.nginx.match import Match, modifier_of
from deployer.proxies.nginx.path import Trace, trace_of


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """How nginx handles requests for `path` at `name` and `port`; `None` if nothing listens."""
    trace = trace_of(state, name=name, port=port, path=path, tls=tls)
    return _served(trace, path) if trace is not None else None


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """The faults on the path of such requests, the most certain first."""
    trace = trace_of(state, name=name, port=port, path=path, tls=tls)
    return faults_of(state, tree_of(state.config), trace, name=name, port=port, path=path, tls=tls)


def _served(trace: Trace, path: str) -> Served:
    match, target = trace.match, trace.target
    block = match.location or match.server
    timeout_s, timeout = trace.read_timeout
    place = f"{timeout}, {timeout.where}" if timeout else f"proxy_read_timeout {timeout_s:g}s"
    names = tuple(word for each in match.server.all("server_name") for word in each.words)
    return Served(
        proxy="nginx",
        names=names,
        port=trace.port,
        path=_path_of(match),
        match=_match_of(match),
        file=block.file,
        line=block.line,
        upstreams=target.upstreams if target is not None else (),
        path_at_service=trace.path_at_service if target is not None else path,
        idle_timeout_s=timeout_s,
        idle_directive=place if timeout else f"{place} (default)",
        tls=match.is_tls,
        note=_note(trace),
        wants_proxy_line=any(
            "proxy_protocol" in each.words and each.words[0].rpartition(":")[2] == str(trace.port)
            for each in match.server.all("listen")
        ),
    )


def _location(match: Match) -> Directive | None:
    return next((block for block in reversed(match.blocks) if block.name == "location"), None)


def _path_of(match: Match) -> str:
    location = _location(match)
    return modifier_of(location)[1] if location is not None else "/"


def _match_of(match: Match) -> Literal["prefix", "exact", "regex"]:
    location = _location(match)
    sign = modifier_of(location)[0] if location is not None else ""
    if sign in ("~", "~*"):
        return "regex"
    return "exact" if sign == "=" else "prefix"


def _note(trace: Trace) -> str:
    """What answers instead of a service, or what was not understood."""
    match = trace.match
    if match.slash_from is not None:
        return f"{match.slash_from.where} redirects to the path with a trailing slash"
    answering = trace.answering
    if answering is not None:
        return f"{answering} ({answering.where})"
    target = trace.target
    if target is not None:
        return target.note
    passing = trace.passing
    if passing is not None:
        return f"{passing} ({passing.where})"
    return "files are served"
