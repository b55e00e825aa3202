"""The reader of Apache's configuration: how it handles a request, and its faults."""

from __future__ import annotations

from deployer.proxies.apache import faults as apache_faults
from deployer.proxies.apache.path import trace_of
from deployer.proxies.apache.virtual_hosts import names_of, own_address, speaks_tls
from deployer.proxies.inspect.model import Fault, ProxyState, Served

__all__ = ["faults", "served"]


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """How Apache handles such a request; `None` if that is unknown."""
    trace = trace_of(state, name=name, port=port, path=path, tls=tls)
    if trace is None:
        return None
    turned = trace.rewritten
    if turned is not None and not turned.is_certain and not turned.refusal:
        return None  # if it may be refused, assume a client that is not
    idle_s, idle_words, _ = trace.idle()
    at_service, by, match = trace.path, trace.site, "prefix"
    rule_path = "/"
    if trace.rewritten is not None and (trace.rewritten.is_proxied or trace.rewritten.redirect):
        by, rule_path, match = trace.rewritten.rule, trace.rewritten.rule.words[0], "regex"
        at_service = trace.members[0].path or "/" if trace.members else trace.path
    elif trace.passed is not None:
        by, rule_path = trace.passed.directive, trace.passed.path
        match = "regex" if trace.passed.is_regex else "prefix"
        if trace.members:
            at_service = trace.passed.path_at_service(trace.path, trace.members[0].path)
    notes = [] if trace.config.is_whole else ["read from the files, without Apache's own output"]
    if not trace.is_named and trace.site is not None:
        notes.append(f"no site has that name; the first one on port {port} answers")
    return Served(
        proxy="apache",
        names=names_of(trace.site) if trace.site is not None else (),
        port=port,
        path=rule_path,
        match="regex" if match == "regex" else "prefix",
        file=by.file if by is not None else "",
        line=by.line if by is not None else 0,
        upstreams=tuple(each.upstream for each in trace.members),
        path_at_service=at_service,
        idle_timeout_s=idle_s,
        idle_directive=idle_words,
        tls=speaks_tls(trace.config, trace.site),
        note="; ".join(notes),
        wants_proxy_line=trace.is_on("remoteipproxyprotocol"),
        own_address=own_address(trace.site, port) if trace.site is not None else "",
    )


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """The faults on the path of such a request, the most certain first."""
    trace = trace_of(state, name=name, port=port, path=path, tls=tls)
    return (
        apache_faults.faults_of(trace)
        if trace is not None
        else apache_faults.of_no_port(state, port)
    )
