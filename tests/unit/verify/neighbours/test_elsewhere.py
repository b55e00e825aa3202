"""Names and sites at the host's own addresses, where clients come from."""

from __future__ import annotations

import pytest

from deployer.proxies.inspect.model import ProxyState
from deployer.proxies.inspect.names import ServedName
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


def test_a_site_that_does_not_answer_at_all_is_left_to_its_own_checks() -> None:
    answers = {"127.0.0.1": (REFUSED, REFUSED), "10.0.0.5": (ANOTHER, PAGE)}
    assert list(unreachable(site(domain="a.com", proxy="nginx"), answers)) == []
    assert requests_of(site(domain="a.com", proxy="nginx"), ["2001:db8::1"]) == {}
