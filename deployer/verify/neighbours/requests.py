"""Which requests a host gets before and after a change. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from deployer.plan.displaced import DEFAULT
from deployer.proxies.inspect.model import Inspection
from deployer.proxies.inspect.names import (
    Answering,
    OtherServer,
    ServedName,
    belongs_to,
    is_any_address,
    listened,
)
from deployer.sites.model import Site
from deployer.verify.neighbours.model import Kind, NeighbourRequest


def neighbours(
    served: Iterable[Answering], *, own: Collection[str], consented: Collection[str]
) -> tuple[Answering, ...]:
    """Those of `served` that must answer as before.

    Args:
        own: the names of the run's own sites, which have their own checks.
        consented: the names that may be displaced.
    """
    left_out = {name.lower() for name in (*own, *consented)}
    return tuple(each for each in served if not _is_left_out(each, left_out))


def without_request(served: Iterable[Answering]) -> Iterator[str]:
    """Why those of `served` are not checked that no name is known for."""
    for each in served:
        if each.asked is None:
            yield f"no name is known that matches {each.name}, {each.where}"


def _is_left_out(served: Answering, left_out: Collection[str]) -> bool:
    return belongs_to(served, left_out) or (served.is_default and DEFAULT in left_out)


def requests_to(served: Iterable[Answering]) -> tuple[NeighbourRequest, ...]:
    """The requests to each name: its first page, and its WebSockets."""
    return tuple(request for each in served for request in _requests(each))


def pages_instead(requests: Iterable[NeighbourRequest]) -> Iterator[NeighbourRequest]:
    """The same requests without a handshake: a page shows who answers, too."""
    for each in requests:
        yield replace(each, kind="page") if each.kind == "websocket" else each


def first_request(served: Answering) -> NeighbourRequest:
    """The request that shows whether anything is served at all."""
    return next(_requests(served))


def _requests(served: Answering) -> Iterator[NeighbourRequest]:
    if not served.speaks_http:
        yield NeighbourRequest(served=served, kind="connection", path="")
        return
    yield NeighbourRequest(served=served, kind="page")
    # A default server's WebSockets are opened by one of its names, if it has any.
    kind: Kind = "page" if served.is_default and served.of_site else "websocket"
    for path in served.websockets:
        yield NeighbourRequest(served=served, kind=kind, path=path)


def others(
    inspection: Inspection,
    served: Collection[ServedName],
    sites: Iterable[Site],
    *,
    will_load: bool,
    leaving: Collection[str] = (),
) -> Iterator[OtherServer]:
    """Addresses whose names are not known, as plain HTTP and with TLS: what fits shows itself.

    They belong to servers that are not read, or to a proxy that has not loaded its present files,
    unless the plan `will_load` them for that reason. Services of `sites` have checks of their own;
    units and packages that are `leaving` end on purpose.
    """
    services = {
        upstream.port for site in sites for route in site.routes for upstream in route.upstreams
    }
    for each in inspection.others:
        if each["port"] not in services and not {each["process"], each["unit"]} & {*leaving}:
            yield from _other(
                each["process"], each["host"], each["port"], each["pid"], each["unit"]
            )
    ports = {each.port for each in served}
    for state in () if will_load else inspection.proxies:
        pid = min(state.main_pids, default=0)
        for port, hosts in listened(state).items():
            if port not in ports:
                host = next((each for each in sorted(hosts) if not is_any_address(each)), "")
                unit = state.unit.removesuffix(".service")
                yield from _other(state.proxy, host or "127.0.0.1", port, pid, unit)


def _other(process: str, host: str, port: int, pid: int, unit: str) -> Iterator[OtherServer]:
    for tls in (False, True):
        yield OtherServer(
            name=process, asked="", port=port, address=host, tls=tls, pid=pid, unit=unit
        )


def pages_of(sites: Iterable[Site]) -> tuple[NeighbourRequest, ...]:
    """The first pages of own sites: a neighbour that now answers with one has been taken over."""
    return tuple(
        NeighbourRequest(
            served=ServedName(
                proxy=site.proxy,
                name=site.domain,
                asked=site.domain,
                port=site.serving_port,
                address="127.0.0.1",
                tls=site.has_tls,
            ),
            kind="page",
        )
        for site in sites
        if not site.domain.startswith("*.")
    )
