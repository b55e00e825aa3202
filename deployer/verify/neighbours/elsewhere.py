"""The same names at the host's own addresses. Pure.

A proxy that listens on all addresses is asked over the loopback address. Clients come by a
different one: a server that listens on that alone, or a site for it, takes all of its requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from deployer.model import CheckResult, Finding
from deployer.proxies.inspect.model import ProxyState
from deployer.proxies.inspect.names import Answering, listened
from deployer.sites.model import Site
from deployer.verify.neighbours.model import NeighbourAnswer, NeighbourRequest
from deployer.verify.neighbours.requests import pages_of
from deployer.verify.planned.routing import probe_of, whole_sites

#: The most addresses of a host, and names at each, that are asked in addition to the loopback's.
_MOST_ADDRESSES, _MOST_NAMES = 4, 200
_MOST_PATHS = 3


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
    """The same requests to a site at the loopback address and at each IPv4 address, by address."""
    pages = pages_of([site])
    # A whole site may hang on a handshake at its own path, and is asked for its page.
    left_out = list(whole_sites(site))
    paths = [
        probe_of(site, route).path
        for route in site.routes
        if route.websocket and route.is_probed and route not in left_out
    ][:_MOST_PATHS]
    requests = [
        *pages,
        *(replace(page, kind="websocket", path=path) for page in pages for path in paths),
    ]
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
    for address in own:
        if all(map(_is_same, wanted, answers[address])):
            return
    pairs = zip(wanted, answers[own[0]], strict=True)
    was, now = next(pair for pair in pairs if not _is_same(*pair))
    yield _failed(site, own[0], was, now)


def _is_same(one: NeighbourAnswer | None, other: NeighbourAnswer | None) -> bool:
    if one is None or other is None:
        return other is None  # no time to ask it
    facts = ("status", "redirect", "certificate", "is_proxys")
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
