"""What Apache's configuration does with a request, and what is wrong on its way."""

from __future__ import annotations

from deployer.proxies.apache import faults as apache_faults
from deployer.proxies.apache.path import way_of
from deployer.proxies.apache.virtual_hosts import names_of, own_address, speaks_tls
from deployer.proxies.inspect.model import Fault, ProxyState, Served

__all__ = ["faults", "served"]


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """What Apache does with such a request; `None` where nobody can tell."""
    way = way_of(state, name=name, port=port, path=path, tls=tls)
    if way is None:
        return None
    turned = way.rewritten
    if turned is not None and not turned.is_certain and not turned.refusal:
        return None  # where it may be refused, it is asked for who is not
    idle_s, idle_words, _ = way.idle()
    at_service, by, match = way.path, way.site, "prefix"
    rule_path = "/"
    if way.rewritten is not None and (way.rewritten.is_proxied or way.rewritten.redirect):
        by, rule_path, match = way.rewritten.rule, way.rewritten.rule.words[0], "regex"
        at_service = way.members[0].path or "/" if way.members else way.path
    elif way.passed is not None:
        by, rule_path = way.passed.directive, way.passed.path
        match = "regex" if way.passed.is_regex else "prefix"
        if way.members:
            at_service = way.passed.path_at_service(way.path, way.members[0].path)
    notes = [] if way.config.is_whole else ["read from the files: Apache itself printed nothing"]
    if not way.is_named and way.site is not None:
        notes.append(f"no site has that name; the first one of port {port} answers")
    return Served(
        proxy="apache",
        names=names_of(way.site) if way.site is not None else (),
        port=port,
        path=rule_path,
        match="regex" if match == "regex" else "prefix",
        file=by.file if by is not None else "",
        line=by.line if by is not None else 0,
        upstreams=tuple(each.upstream for each in way.members),
        path_at_service=at_service,
        idle_timeout_s=idle_s,
        idle_directive=idle_words,
        tls=speaks_tls(way.config, way.site),
        note="; ".join(notes),
        wants_proxy_line=way.is_on("remoteipproxyprotocol"),
        own_address=own_address(way.site, port) if way.site is not None else "",
    )


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """What is wrong on the way of such a request, the most certain first."""
    way = way_of(state, name=name, port=port, path=path, tls=tls)
    return apache_faults.of_way(way) if way is not None else apache_faults.of_no_port(state, port)
