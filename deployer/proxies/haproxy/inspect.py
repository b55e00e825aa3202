"""The reader of HAProxy's configuration: how it handles a request, and its faults."""

from __future__ import annotations

from deployer.proxies.haproxy import faults as haproxy_faults
from deployer.proxies.haproxy.path import Trace, bind_of, trace_of
from deployer.proxies.inspect.model import Fault, ProxyState, Served

__all__ = ["faults", "served"]


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """How HAProxy handles such a request; `None` if that is unknown."""
    trace = trace_of(state, name=name, port=port, path=path, tls=tls)
    if trace is None or not trace.is_certain:
        return None
    idle_s, idle_words, _ = trace.idle()
    by = trace.end or trace.chosen_by
    pattern = trace.matched.pattern if trace.matched is not None else ""
    method = trace.matched.method if trace.matched is not None else ""
    bind = bind_of(trace.frontend, port)
    return Served(
        proxy="haproxy",
        names=(name,) if trace.matched is not None else (),
        port=port,
        path=pattern or "/",
        match="exact" if method == "str" else "prefix" if method in ("", "beg", "dir") else "regex",
        file=by.file if by is not None else trace.frontend.file,
        line=by.line if by is not None else trace.frontend.line,
        upstreams=() if trace.end is not None else tuple(each.upstream for each in trace.servers),
        path_at_service=trace.request.path,
        idle_timeout_s=idle_s,
        idle_directive=idle_words,
        tls=bind is not None and ("ssl" in bind.words or (trace.is_tcp and tls)),
        note=_note(trace),
        wants_proxy_line=bind is not None and "accept-proxy" in bind.words,
        sends_proxy_line=bool(trace.servers)
        and not {"send-proxy", "send-proxy-v2"}.isdisjoint(trace.servers[0].options),
        server_where=trace.servers[0].directive.where if trace.servers else "",
    )


def _note(trace: Trace) -> str:
    if not trace.unsure:
        return ""
    places = ", ".join(each.where for each in trace.unsure[:3])
    return f"the effect of these rules depends on the client: {places}"


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """The faults on the path of such a request, the most certain first."""
    trace = trace_of(state, name=name, port=port, path=path, tls=tls)
    if trace is None:
        return haproxy_faults.of_no_frontend(state, port)
    return haproxy_faults.faults_of(trace, asked=path.partition("?")[0])
