"""What nginx's configuration does with a request, and what is wrong with it."""

from __future__ import annotations

from typing import Literal

from deployer.proxies.inspect.model import Fault, ProxyState, Served
from deployer.proxies.nginx.choice import Way, modifier_of
from deployer.proxies.nginx.config import Directive, tree_of
from deployer.proxies.nginx.faults import faults_of
from deployer.proxies.nginx.passage import Passage, passage_of


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """What becomes of requests for `path` at `name` and `port`; `None` where nothing listens."""
    passage = passage_of(state, name=name, port=port, path=path, tls=tls)
    return _served(passage, path) if passage is not None else None


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """What is wrong on the way of such requests, the most certain first."""
    passage = passage_of(state, name=name, port=port, path=path, tls=tls)
    return faults_of(
        state, tree_of(state.config), passage, name=name, port=port, path=path, tls=tls
    )


def _served(passage: Passage, path: str) -> Served:
    way, target = passage.way, passage.target
    block = way.location or way.server
    timeout_s, timeout = passage.read_timeout
    place = f"{timeout}, {timeout.where}" if timeout else f"proxy_read_timeout {timeout_s:g}s"
    names = tuple(word for each in way.server.all("server_name") for word in each.words)
    return Served(
        proxy="nginx",
        names=names,
        port=passage.port,
        path=_path_of(way),
        match=_match_of(way),
        file=block.file,
        line=block.line,
        upstreams=target.upstreams if target is not None else (),
        path_at_service=passage.path_at_service if target is not None else path,
        idle_timeout_s=timeout_s,
        idle_directive=place if timeout else f"{place} (default)",
        tls=way.is_tls,
        note=_note(passage),
        wants_proxy_line=any(
            "proxy_protocol" in each.words and each.words[0].rpartition(":")[2] == str(passage.port)
            for each in way.server.all("listen")
        ),
    )


def _location(way: Way) -> Directive | None:
    return next((block for block in reversed(way.blocks) if block.name == "location"), None)


def _path_of(way: Way) -> str:
    location = _location(way)
    return modifier_of(location)[1] if location is not None else "/"


def _match_of(way: Way) -> Literal["prefix", "exact", "regex"]:
    location = _location(way)
    sign = modifier_of(location)[0] if location is not None else ""
    if sign in ("~", "~*"):
        return "regex"
    return "exact" if sign == "=" else "prefix"


def _note(passage: Passage) -> str:
    """What answers in place of a service, or what could not be understood."""
    way = passage.way
    if way.slash_from is not None:
        return f"{way.slash_from.where} redirects to the path with a slash at its end"
    answering = passage.answering
    if answering is not None:
        return f"{answering} ({answering.where})"
    target = passage.target
    if target is not None:
        return target.note
    passing = passage.passing
    if passing is not None:
        return f"{passing} ({passing.where})"
    return "files are served"
