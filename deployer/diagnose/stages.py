"""Find the proxies of a host that a request goes through, from their configurations. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deployer.model import Proxy
from deployer.proxies import PROXIES
from deployer.proxies.inspect import Inspection, ProxyState, Served, served
from deployer.proxies.inspect.state import certain, possible
from deployer.sites.model import Route, Site, Tls
from deployer.verify.net.address import Address
from deployer.verify.probe.spec import Endpoint

_MOST_STAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One proxy on the path of a request: its state, and how it serves `asked` at `endpoint`.

    `asked` has the client's own name and port, which Host and Origin keep at every stage.
    """

    state: ProxyState
    asked: Address
    served: Served
    endpoint: Endpoint

    @property
    def uri(self) -> str:
        """The URI at this stage, with the client's name and the port of this stage."""
        if self.endpoint.port == self.asked.port:
            return self.asked.websocket_uri
        scheme = "wss" if self.endpoint.tls else "ws"
        return f"{scheme}://{self.asked.bare_host}:{self.endpoint.port}{self.asked.target}"


def stages_of(inspection: Inspection, address: Address) -> tuple[Stage, ...]:
    """Return this host's proxies that a request for `address` goes through, outermost first."""
    found: list[Stage] = []
    asked, port, tls = address, address.port, address.is_secure
    while len(found) < _MOST_STAGES:
        stage = _stage(inspection, asked, port=port, tls=tls, is_first=not found)
        if stage is None or any(each.endpoint == stage.endpoint for each in found):
            break
        found.append(stage)
        upstream = stage.served.upstreams[0] if stage.served.upstreams else None
        if upstream is None or upstream.socket or not _is_loopback(upstream.host):
            break
        asked = asked.at(with_query(stage.served.path_at_service, asked))
        port, tls = upstream.port, upstream.tls
    return tuple(found)


def with_query(path: str, asked: Address) -> str:
    """Return `path` with the query of `asked`."""
    _, mark, query = asked.target.partition("?")
    return f"{path}{mark}{query}"


def site_of_stage(stage: Stage) -> Site:
    """Return the address as a site of the stage's proxy, for the code that explains findings."""
    route = Route(
        path=stage.asked.path,
        match="exact",
        websocket=True,
        upstreams=stage.served.upstreams,
        origins=("any",),
    )
    tls = Tls(issuer="provided" if stage.endpoint.tls else "none")
    return Site(domain=stage.asked.name, proxy=stage.state.proxy, tls=tls, routes=(route,))


def _stage(
    inspection: Inspection, asked: Address, *, port: int, tls: bool, is_first: bool
) -> Stage | None:
    """Return the proxy that accepts connections at `port`; for the first, also a stopped one."""
    for state in inspection.proxies:
        own = [text for text in state.listeners if text.rpartition(":")[2] == str(port)]
        # Only root sees listening processes; without it, the configuration alone decides.
        is_listening = state.is_running and (bool(own) or (is_first and not state.listeners))
        found = served(state, name=asked.name, port=port, path=asked.path, tls=tls)
        if is_listening and found is not None:
            host = found.own_address or _reachable(own, state.proxy)
            endpoint = Endpoint(host=host, port=port, tls=tls)
            if not is_first:  # as the stage before connects to it, or should
                endpoint = replace(endpoint, proxy_line=found.wants_proxy_line)
            return Stage(state=state, asked=asked, served=found, endpoint=endpoint)
    if not is_first:
        return None
    for state in inspection.proxies:
        # Files configure the port, but the proxy does not run or has not loaded them.
        found = served(state, name=asked.name, port=port, path=asked.path, tls=tls)
        is_meant = found is not None and (state.is_running or asked.name in found.names)
        if found is not None and is_meant and (not state.is_running or _is_stale(state)):
            endpoint = Endpoint(host="127.0.0.1", port=port, tls=tls)
            return Stage(state=state, asked=asked, served=found, endpoint=endpoint)
    return None


def _is_stale(state: ProxyState) -> bool:
    """Whether it runs with older files than it has now, as after a rejected reload."""
    codes = {fault.code for fault in (*certain(state), *possible(state))}
    return bool(codes & {"reload-not-taken", "config-invalid"})


def _reachable(listeners: Sequence[str], proxy: Proxy) -> str:
    """Return the address at which the host itself reaches a listener, preferably its loopback.

    A proxy's socket for all IPv6 addresses may also accept IPv4, which most clients use.
    """
    hosts = [text.rpartition(":")[0].strip("[]") for text in listeners]
    if PROXIES[proxy].traits.has_dual_stack and "::" in hosts:
        return "127.0.0.1"
    if not hosts or {"0.0.0.0", "127.0.0.1"} & set(hosts):  # noqa: S104 - compared
        return "127.0.0.1"
    return "::1" if {"::", "::1"} & set(hosts) else hosts[0]


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
