"""Upstreams that are taken out of rotation, and returned."""

from __future__ import annotations

import pytest

from deployer.errors import UsageError
from deployer.sites.drains import Drain, changed, drained_in, notes, with_drained
from deployer.sites.model import Route, Site, Upstream

ONE, TWO, SOCKET = (
    Upstream(host="10.0.0.1", port=3000),
    Upstream(host="::1", port=3000, tls=True),
    Upstream(socket="/run/app.sock"),
)
SITE = Site(
    domain="a.example",
    routes=(
        Route(path="/ws", websocket=True, upstreams=(ONE, TWO, SOCKET)),
        Route(path="/two", upstreams=(TWO, ONE)),
        Route(path="/alone", upstreams=(ONE,)),
        Route(path="/files", root="/srv"),
    ),
)
PLAIN = Site(domain="b.example", routes=(Route(path="/", upstreams=(TWO,)),))


def drained(*wanted: Drain) -> tuple[Site, ...]:
    sites: tuple[Site, ...] = (SITE, PLAIN)
    for each in wanted:
        sites = with_drained((SITE, PLAIN), changed(sites, each))
    return sites


@pytest.mark.parametrize("text", ["http://10.0.0.1:3000", "10.0.0.1:3000"])
def test_one_of_several_gets_no_new_connections(text: str) -> None:
    sites = drained(Drain(upstream=text))
    assert [route.in_rotation for route in sites[0].routes[:3]] == [(TWO, SOCKET), (TWO,), (ONE,)]
    assert sites[1] == PLAIN
    assert drained_in(sites) == {"a.example": ["http://10.0.0.1:3000"], "b.example": []}
    first, second = notes(sites, command="deployer drain site.yml")
    assert "new connections of a.example (/ws, /two)" in first
    assert first.endswith("until: deployer drain site.yml http://10.0.0.1:3000 --end")
    assert second == "a.example/alone keeps http://10.0.0.1:3000: it has no other upstream"


def test_the_end_returns_it() -> None:
    text = "unix:/run/app.sock"
    sites = drained(Drain(upstream=text), Drain(upstream="[::1]:3000", ends=True))
    assert drained_in(sites)["a.example"] == [text]
    assert drained(Drain(upstream=text), Drain(upstream=text, ends=True)) == (SITE, PLAIN)


def test_the_last_one_stays() -> None:
    with pytest.raises(UsageError, match=r"a\.example/two would have no upstream left"):
        drained(Drain(upstream="https://[::1]:3000"), Drain(upstream="10.0.0.1:3000"))


@pytest.mark.parametrize("text", ["10.0.0.9:3000", "https://10.0.0.1:3000", ""])
def test_an_unknown_one(text: str) -> None:
    with pytest.raises(UsageError, match="no route of this host has") as caught:
        drained(Drain(upstream=text))
    assert "There are: http://10.0.0.1:3000, https://[::1]:3000" in str(caught.value)
    with pytest.raises(UsageError, match="a single upstream"):
        changed((PLAIN,), Drain(upstream="https://[::1]:3000"))


def test_a_playbook_that_no_longer_has_the_others_keeps_it() -> None:
    shrunk = Site(domain="a.example", routes=(Route(path="/ws", upstreams=(ONE,)),))
    listed = {"a.example": ["http://10.0.0.1:3000", "http://10.0.0.7:1"]}
    assert with_drained((shrunk,), listed) == (shrunk,)
