"""Which requests a host gets before and after a change. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from deployer.plan.displaced import DEFAULT
from deployer.proxies.inspect.names import ServedName, belongs_to
from deployer.sites.model import Site
from deployer.verify.neighbours.model import NeighbourRequest


def neighbours(
    served: Iterable[ServedName], *, own: Collection[str], consented: Collection[str]
) -> tuple[ServedName, ...]:
    """Those of `served` that must answer as before.

    Args:
        own: the names of the run's own sites, which have their own checks.
        consented: the names that may be displaced.
    """
    left_out = {name.lower() for name in (*own, *consented)}
    return tuple(
        each for each in served if each.asked is not None and not _is_left_out(each, left_out)
    )


def _is_left_out(served: ServedName, left_out: Collection[str]) -> bool:
    return belongs_to(served, left_out) or (served.is_default and DEFAULT in left_out)


def requests_to(served: Iterable[ServedName]) -> tuple[NeighbourRequest, ...]:
    """The requests to each name: its first page, and its WebSockets."""
    return tuple(request for each in served for request in _requests(each))


def first_request(served: ServedName) -> NeighbourRequest:
    """The request that shows whether anything is served at all."""
    return next(_requests(served))


def _requests(served: ServedName) -> Iterator[NeighbourRequest]:
    if not served.speaks_http:
        yield NeighbourRequest(served=served, kind="connection", path="")
        return
    yield NeighbourRequest(served=served, kind="page")
    for path in served.websockets:
        yield NeighbourRequest(served=served, kind="websocket", path=path)


def pages_of(sites: Iterable[Site]) -> tuple[NeighbourRequest, ...]:
    """The first pages of own sites: a neighbour that now answers with one has been taken over."""
    return tuple(
        NeighbourRequest(
            served=ServedName(
                proxy=site.proxy,
                name=site.domain,
                asked=site.domain,
                port=443 if site.has_tls else 80,
                address="127.0.0.1",
                tls=site.has_tls,
            ),
            kind="page",
        )
        for site in sites
        if not site.domain.startswith("*.")
    )
