"""Services of several kinds: on a socket, with TLS, two for one path, and none at all."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.conformance.hosts import stopped
from tests.integration.conformance.world import DOMAIN, World, echoed
from tests.support.waiting import at_most, until

pytestmark = pytest.mark.lab


@pytest.mark.every_release
def test_a_service_with_tls_gets_the_name_of_the_site(world: World) -> None:
    assert world.ask("/secure").echoed.document["server_name"] == DOMAIN
    with world.open("/secure") as connection:
        assert echoed(connection).document["server_name"] == DOMAIN


@pytest.mark.every_release
def test_a_client_stays_on_its_service_while_that_one_answers(world: World) -> None:
    (own,) = {world.ask("/pair").echoed.service for _ in range(6)}
    with world.open("/pair") as connection:
        assert echoed(connection).service == own
    (other,) = {"first", "second"} - {own}
    with stopped(world.host, own):
        # Each of them, including the first: clients do not notice the change, bodies arrive.
        for _ in range(3):
            answer = world.ask("/pair", "Content-Length: 4", method="PUT", body=b"body")
            assert (answer.echoed.service, answer.echoed.document["body_bytes"]) == (other, 4)
        with world.open("/pair") as connection:
            assert echoed(connection).service == other
    # Soon it is its client's again: the other one may be next to be restarted.
    until(lambda: world.ask("/pair").echoed.service == own, within_s=at_most(3))
    with stopped(world.host, other):
        assert world.ask("/pair").echoed.service == own


@pytest.fixture
def dead(world: World) -> Iterator[World]:
    with stopped(world.host, "gone"):
        yield world


@pytest.mark.every_release
def test_a_service_that_is_down(dead: World) -> None:
    for answer in (dead.ask("/gone"), dead.upgrade("/gone")):
        assert answer.status in (502, 503)
        assert answer["strict-transport-security"] == "max-age=600"


@pytest.mark.every_release
def test_a_service_that_comes_back_is_found_at_once(world: World) -> None:
    with stopped(world.host, "gone"):
        for _ in range(3):
            assert world.ask("/gone").status in (502, 503)
    started_at = time.monotonic()
    assert world.ask("/gone").echoed.service == "gone"
    assert time.monotonic() - started_at < at_most(1)
    with world.open("/gone") as connection:
        assert echoed(connection).service == "gone"


def test_a_service_that_starts_anew_is_served_without_a_hitch(world: World) -> None:
    # Connections that a proxy keeps for the next request are dead now, and it has to notice.
    for _ in range(4):
        assert world.ask("/gone").status == 200
    with stopped(world.host, "gone"):
        pass
    assert [world.ask("/gone").status for _ in range(4)] == [200] * 4
