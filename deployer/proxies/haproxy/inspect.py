"""What HAProxy's configuration does with a request, and what is wrong on its way."""

from __future__ import annotations

from deployer.proxies.haproxy import faults as haproxy_faults
from deployer.proxies.haproxy.path import Way, bind_of, way_of
from deployer.proxies.inspect.model import Fault, ProxyState, Served

__all__ = ["faults", "served"]


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """What HAProxy does with such a request; `None` where nobody can tell."""
    way = way_of(state, name=name, port=port, path=path, tls=tls)
    if way is None or not way.is_certain:
        return None
    idle_s, idle_words, _ = way.idle()
    by = way.end or way.chosen_by
    pattern = way.matched.pattern if way.matched is not None else ""
    method = way.matched.method if way.matched is not None else ""
    bind = bind_of(way.frontend, port)
    return Served(
        proxy="haproxy",
        names=(name,) if way.matched is not None else (),
        port=port,
        path=pattern or "/",
        match="exact" if method == "str" else "prefix" if method in ("", "beg", "dir") else "regex",
        file=by.file if by is not None else way.frontend.file,
        line=by.line if by is not None else way.frontend.line,
        upstreams=() if way.end is not None else tuple(each.upstream for each in way.servers),
        path_at_service=way.request.path,
        idle_timeout_s=idle_s,
        idle_directive=idle_words,
        tls=bind is not None and ("ssl" in bind.words or (way.is_tcp and tls)),
        note=_note(way),
        wants_proxy_line=bind is not None and "accept-proxy" in bind.words,
        sends_proxy_line=bool(way.servers)
        and not {"send-proxy", "send-proxy-v2"}.isdisjoint(way.servers[0].options),
        server_where=way.servers[0].directive.where if way.servers else "",
    )


def _note(way: Way) -> str:
    if not way.unsure:
        return ""
    places = ", ".join(each.where for each in way.unsure[:3])
    return f"what these rules do depends on the client: {places}"


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """What is wrong on the way of such a request, the most certain first."""
    way = way_of(state, name=name, port=port, path=path, tls=tls)
    if way is None:
        return haproxy_faults.of_no_frontend(state, port)
    return haproxy_faults.of_way(way, asked=path.partition("?")[0])
