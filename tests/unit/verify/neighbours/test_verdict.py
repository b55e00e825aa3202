"""Whether the answer of a neighbour got worse."""

from __future__ import annotations

import pytest

from deployer.proxies.inspect.names import ServedName
from deployer.verify.neighbours.model import Kind, NeighbourAnswer, NeighbourRequest
from deployer.verify.neighbours.requests import neighbours, requests_to
from deployer.verify.neighbours.verdict import (
    Comparison,
    difference,
    results,
    serves_nothing,
    worse,
)

Answer = NeighbourAnswer


def served(name: str = "a.com", **more: object) -> ServedName:
    fields = {"asked": name, "port": 443, "address": "127.0.0.1", "tls": True, **more}
    return ServedName(proxy="nginx", name=name, **fields)  # type: ignore[arg-type]


def request(name: str = "a.com", kind: Kind = "page") -> NeighbourRequest:
    return NeighbourRequest(served=served(name), kind=kind)


def page(status: int, **more: object) -> Answer:
    fields = {"certificate": ("a.com",), "is_for_name": True, **more}
    return Answer(status=status, **fields)  # type: ignore[arg-type]


GONE = Answer(failure="refuses connections: nothing listens there")
WRONG_NAME = page(200, certificate=("b.com",), is_for_name=False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (page(200), GONE),
        (page(200), page(404)),
        (page(200), page(502)),
        (page(200), page(301, redirect="https://b.com/")),
        (page(404), page(503)),
        (page(301, redirect="https://a.com/"), page(301, redirect="https://b.com/")),
        (page(302, redirect="/login"), page(200)),
        (page(301, redirect="https://a.com/"), page(404)),
        (page(101), page(200)),
        (page(101), page(400)),
        (page(401), page(200)),
        (page(403), page(101)),
        (page(404, body="{}"), page(404, body="<h1>", is_proxys=True)),
        (page(200), WRONG_NAME),
        (WRONG_NAME, page(200, certificate=("c.com",), is_for_name=False)),
        (page(404), WRONG_NAME),
        (Answer(), GONE),
    ],
)
def test_worse(before: Answer, after: Answer) -> None:
    assert difference(request(), (before, before), after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (page(200), page(204)),
        (page(200), page(200, body="new")),
        (page(502), page(502)),
        (page(502), page(200)),
        (page(200), page(429)),
        (page(404), page(200)),
        (page(404, body="<h1>v2", is_proxys=True), page(404, body="<h1>", is_proxys=True)),
        (page(404), page(401)),
        (page(401), page(302, redirect="/login")),
        (page(301, redirect="https://a.com/"), page(308, redirect="https://a.com/")),
        (GONE, page(502)),
        (GONE, GONE),
        (page(200, certificate=("a.com",)), page(200, certificate=("a.com", "b.com"))),
        (WRONG_NAME, WRONG_NAME),
        (Answer(), Answer()),
    ],
)
def test_not_worse(before: Answer, after: Answer) -> None:
    assert difference(request(), (before, before), after) == ""


def test_an_answer_that_was_seen_before_is_accepted() -> None:
    assert difference(request(), (page(200), page(502)), page(502)) == ""
    assert difference(request(), (page(200), GONE), GONE) == ""
    assert difference(request(), (page(200), page(502)), page(502, is_for_name=False))


def test_of_redirects_that_differ_by_themselves_only_the_host_counts() -> None:
    before = [page(302, redirect=f"https://a.com/s/{number}") for number in range(4)]
    assert difference(request(), before, page(302, redirect="https://a.com/s/9")) == ""
    assert difference(request(), before, page(302, redirect="https://b.com/s/9"))
    assert difference(request(), before, page(200))
    relative = [page(302, redirect="/s/1"), page(302, redirect="/s/2"), page(200)]
    assert difference(request(), relative, page(303, redirect="/s/3")) == ""


def compared(name: str, before: str, after: str, status: int = 200) -> Comparison:
    was = page(status, body=before)
    return Comparison(request=request(name), before=(was, was), after=page(status, body=after))


def test_the_page_of_a_different_site_is_worse() -> None:
    found = worse([compared("a.com", "A", "B"), compared("b.com", "B", "B")])
    assert found == {
        0: "answered 200 before this change, and with the page of https://b.com after it"
    }


def test_the_page_of_an_own_site_is_worse() -> None:
    found = worse([compared("a.com", "A", "OWN")], [page(200, body="OWN")])
    assert "a site of this run" in found[0]


@pytest.mark.parametrize(
    "pair",
    [
        [compared("a.com", "A", "NEW"), compared("b.com", "B", "B")],  # a new page of its own
        [compared("a.com", "SAME", "NEW"), compared("b.com", "SAME", "NEW")],  # one service
        [compared("a.com", "", "B"), compared("b.com", "B", "B")],
        # Apache's page for a redirect, which no longer has its version
        [compared("a.com", "A", "301", status=301), compared("b.com", "B", "301", status=301)],
        [compared("a.com", "A", "404", status=404), compared("b.com", "B", "404", status=404)],
        [
            Comparison(  # it changes by itself
                request=request(),
                before=(page(200, body="1"), page(200, body="2")),
                after=page(200, body="B"),
            ),
            compared("b.com", "B", "B"),
        ],
    ],
)
def test_a_page_that_is_new(pair: list[Comparison]) -> None:
    assert worse(pair) == {}


def test_the_results_name_the_neighbour_and_both_answers() -> None:
    pair = [
        compared("a.com", "A", "A"),
        Comparison(request=request("b.com"), before=(page(200),), after=page(404)),
    ]
    bad, good = results(pair, worse(pair))
    assert (bad.ok, bad.site) == (False, "b.com")
    assert bad.finding is not None
    assert bad.finding.code == "neighbour-broken"
    assert bad.finding.symptom == (
        "https://b.com/ answered 200 before this change, and answered 404 after it"
    )
    assert "--displace b.com" in bad.finding.fix
    assert good.ok
    assert good.detail == "1 address of other sites answers as before"


def test_own_and_consented_names_are_not_requested() -> None:
    every = [
        served("own.com"),
        served("a.com"),
        served("b.com"),
        served("~^x", asked=None),
        served("", asked="", of_site=("own.com",)),
        served("", asked="", of_site=("a.com",)),
    ]
    kept = neighbours(every, own={"own.com"}, consented={"b.com"})
    assert [each.name for each in kept] == ["a.com", "~^x", ""]
    assert [each.name for each in neighbours(every, own=(), consented={"default"})] == [
        "own.com",
        "a.com",
        "b.com",
        "~^x",
    ]


def test_one_request_for_the_page_and_one_for_each_websocket() -> None:
    made = requests_to([served(websockets=("/ws", "/live")), served("db", speaks_http=False)])
    assert [each.url for each in made] == [
        "https://a.com/",
        "wss://a.com/ws",
        "wss://a.com/live",
        "tcp://db:443",
    ]


def test_a_default_server_is_not_reported_next_to_its_own_name() -> None:
    bare = NeighbourRequest(served=served("", asked="", of_site=("a.com",)), kind="page")
    pair = [
        Comparison(request=request(), before=(page(200),), after=page(404)),
        Comparison(request=bare, before=(page(200),), after=page(404)),
    ]
    assert [each.site for each in results(pair, worse(pair)) if not each.ok] == ["a.com"]


def test_a_default_server_that_only_refuses_serves_nothing() -> None:
    bare = NeighbourRequest(served=served("", asked=""), kind="page")
    refusal = page(404, is_proxys=True)
    assert serves_nothing(bare, (refusal, page(421, is_proxys=True)))
    assert not serves_nothing(bare, (refusal, page(200)))
    assert not serves_nothing(bare, (page(404),)), "a service's own refusal"
    assert not serves_nothing(bare, (page(401, is_proxys=True),)), "a login protects something"
    assert not serves_nothing(request(), (refusal,))


def test_a_handshake_that_no_service_answered_may_hang_as_well() -> None:
    handshake = request(kind="websocket")
    assert not difference(handshake, [page(502)], Answer(failure="did not answer in time"))
    assert difference(handshake, [page(404)], Answer(failure="did not answer in time"))
    assert difference(request(), [page(502)], GONE)
