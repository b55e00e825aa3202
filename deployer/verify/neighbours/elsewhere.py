"""The same names at the host's own addresses. Pure.

A proxy that listens on all addresses is asked over the loopback address. Clients come by a
different one: a server that listens on that alone, or a site for it, takes all of its requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from deployer.model import CheckResult, Finding
from deployer.proxies.inspect.model import ProxyState
from deployer.proxies.inspect.names import Answering, listened
from deployer.sites.model import Site
from deployer.verify.neighbours.model import NeighbourAnswer, NeighbourRequest
from deployer.verify.neighbours.requests import pages_of
from deployer.verify.planned.routing import probe_of

#: The most addresses of a host, and names at each, that are asked in addition to the loopback's.
_MOST_ADDRESSES, _MOST_NAMES = 4, 200
_MOST_PATHS = 3
_FORBIDDEN, _TOO_MANY = 403, 429


def elsewhere(
    served: Sequence[Answering], states: Iterable[ProxyState], addresses: Sequence[str]
) -> tuple[Answering, ...]:
    """Those of `served` that listen on all addresses, at each of the host's."""
    alone = {
        (host, port)
        for state in states
        for port, hosts in listened(state).items()
        for host in hosts
    }
    everywhere = [
        each
        for each in served
        if _is_loopback(each.address) and (each.address, each.port) not in alone
    ]
    return tuple(
        replace(each, address=address)
        for address in addresses[:_MOST_ADDRESSES]
        for each in _of_family(everywhere, address)[:_MOST_NAMES]
    )


def _of_family(served: Iterable[Answering], address: str) -> list[Answering]:
    return [each for each in served if (":" in each.address) == (":" in address)]


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


# --- the run's own sites --------------------------------------------------------------------------


def requests_of(site: Site, addresses: Sequence[str]) -> dict[str, tuple[NeighbourRequest, ...]]:
    """The same requests to a site at the loopback address and at each IPv4 address, by address.

    They open no WebSocket: a service may count connections, and a page shows who answers.
    """
    probed = [
        probe_of(site, route).path for route in site.routes if route.websocket and route.is_probed
    ]
    paths = dict.fromkeys(("/", *probed[:_MOST_PATHS]))
    requests = [replace(page, path=path) for page in pages_of([site]) for path in paths]
    own = [each for each in addresses if ":" not in each][:_MOST_ADDRESSES]
    return {
        address: tuple(_at(each, address) for each in requests)
        for address in (["127.0.0.1", *own] if own and requests else ())
    }


def _at(request: NeighbourRequest, address: str) -> NeighbourRequest:
    return replace(request, served=replace(request.served, address=address))


def unreachable(
    site: Site, answers: Mapping[str, Sequence[NeighbourAnswer | None]]
) -> Iterator[CheckResult]:
    """A failed check, if what answers at each of the host's addresses is not the site."""
    loopback, *own = answers
    wanted = answers[loopback]
    if not own or any(each is None or each.failure for each in wanted):
        return  # the checks of the site itself report it
    # The loopback address is always one of the clients that `allow` lets in, the others may not be.
    refused = {_TOO_MANY, _FORBIDDEN} if _has_clients(site) else {_TOO_MANY}
    for address in own:
        if all(_is_same(*pair, refused) for pair in zip(wanted, answers[address], strict=True)):
            return
    pairs = zip(wanted, answers[own[0]], strict=True)
    was, now = next(pair for pair in pairs if not _is_same(*pair, refused))
    yield _failed(site, own[0], was, now)


def _has_clients(site: Site) -> bool:
    return any(route.allow or route.deny for route in site.routes)


def _is_same(
    one: NeighbourAnswer | None, other: NeighbourAnswer | None, refused: Collection[int]
) -> bool:
    """Whether two answers are of one site; statuses in `refused` depend on the client's address."""
    if one is None or other is None:
        return other is None  # no time to ask it
    if other.failure or one.certificate != other.certificate:
        return False
    if {one.status, other.status} & {*refused}:
        return True
    facts = ("status", "redirect_host", "is_proxys")
    return all(getattr(one, fact) == getattr(other, fact) for fact in facts)


def _failed(
    site: Site, address: str, was: NeighbourAnswer | None, now: NeighbourAnswer | None
) -> CheckResult:
    seen = now.words if now is not None else "was not asked"
    if was is not None and now is not None and was.words == now.words:
        seen = f"presented {now.certificate_words}" if now.certificate else f"{seen}, differently"
    expected = was.words if was is not None else ""
    words = f"{address} does not lead to the site: it {seen}; over loopback the site {expected}"
    return CheckResult(
        site=site.domain,
        name="reached at the host's address",
        target=address,
        hop="proxy",
        ok=False,
        detail=words,
        finding=Finding(
            code="address-taken",
            hop="proxy",
            symptom=f"{site.domain}: {words}",
            cause="Something else listens on that address alone, or is configured for it.",
            fix="Let it listen on all addresses, or have the site's names there, too.",
        ),
    )
