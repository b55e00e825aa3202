"""Names and sites at the host's own addresses, where clients come from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.proxies.inspect.model import ProxyState
from deployer.proxies.inspect.names import ServedName
from deployer.sites.model import Route
from deployer.verify.neighbours.elsewhere import elsewhere, requests_of, unreachable
from deployer.verify.neighbours.model import NeighbourAnswer
from tests.support.sites.site_case import site

OWN = ["10.0.0.5", "10.0.0.6", "2001:db8::1"]


def served(address: str, port: int = 80, name: str = "a.com") -> ServedName:
    return ServedName(proxy="nginx", name=name, asked=name, port=port, address=address)


def test_names_on_all_addresses_are_asked_at_each() -> None:
    state = ProxyState(proxy="nginx", listeners=("0.0.0.0:80", "[::]:80", "127.0.0.1:8080"))
    found = elsewhere(
        [served("127.0.0.1"), served("::1"), served("127.0.0.1", 8080), served("10.0.0.5", 81)],
        [state],
        OWN,
    )
    assert [(each.address, each.port) for each in found] == [(each, 80) for each in OWN]


PAGE = NeighbourAnswer(status=404, is_proxys=True)
OPENED = NeighbourAnswer(status=101)
ANOTHER = NeighbourAnswer(status=200)
REFUSED = NeighbourAnswer(failure="refuses connections: nothing listens there")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((PAGE, OPENED), (ANOTHER, PAGE), ""),  # a second address may be someone else's
        ((PAGE, OPENED), (REFUSED, REFUSED), ""),
        ((PAGE, None), (REFUSED, REFUSED), ""),  # there was no time to ask
        ((PAGE, PAGE), (ANOTHER, PAGE), "it answered 404; over loopback the site opened a WebSo"),
        ((ANOTHER, PAGE), (REFUSED, REFUSED), "it answered 200; over loopback the site answered"),
    ],
)
def test_a_site_is_reached_at_one_of_the_hosts_addresses(
    first: tuple[NeighbourAnswer | None, ...],
    second: tuple[NeighbourAnswer | None, ...],
    words: str,
) -> None:
    answers = {"127.0.0.1": (PAGE, OPENED), "10.0.0.5": first, "10.0.0.6": second}
    found = [check.detail for check in unreachable(site(domain="a.com", proxy="nginx"), answers)]
    assert len(found) == bool(words)
    assert all(words in each and each.startswith("10.0.0.5 does not lead") for each in found)


FORBIDDEN = NeighbourAnswer(status=403, is_proxys=True)


@pytest.mark.parametrize(
    ("answer", "route", "is_reached"),
    [
        (FORBIDDEN, {"allow": ("192.0.2.0/24",)}, True),  # the host itself may not be a client
        (FORBIDDEN, {"deny": ("10.0.0.0/8",)}, True),
        (FORBIDDEN, {}, False),
        (NeighbourAnswer(status=403, certificate=("b.com",)), {"allow": ("192.0.2.0/24",)}, False),
        (NeighbourAnswer(status=429), {}, True),
    ],
)
def test_a_refusal_that_depends_on_the_address_is_no_other_server(
    answer: NeighbourAnswer, route: dict[str, object], is_reached: bool
) -> None:
    own = site(domain="a.com", proxy="nginx", routes=[{"path": "/", **route}])
    answers = {"127.0.0.1": [NeighbourAnswer(status=200)], "10.0.0.5": [answer]}
    assert (not list(unreachable(own, answers))) == is_reached


def test_own_sites_are_asked_for_pages_and_routes_without_a_probe_are_left_alone() -> None:
    routes = (
        Route(path="/ws", websocket=True),
        Route(path="/vnc", websocket=True, is_probed=False),
    )
    requests = requests_of(replace(site(domain="a.com", proxy="nginx"), routes=routes), OWN)
    assert list(requests) == ["127.0.0.1", "10.0.0.5", "10.0.0.6"]
    assert {(r.kind, r.path) for some in requests.values() for r in some} == {
        ("page", "/"),
        ("page", "/ws"),
    }


def test_a_site_that_does_not_answer_at_all_is_left_to_its_own_checks() -> None:
    answers = {"127.0.0.1": (REFUSED, REFUSED), "10.0.0.5": (ANOTHER, PAGE)}
    assert list(unreachable(site(domain="a.com", proxy="nginx"), answers)) == []
    assert requests_of(site(domain="a.com", proxy="nginx"), ["2001:db8::1"]) == {}
