"""Open WebSockets live on after a reload, and for as long as `drain` says."""

from __future__ import annotations

import pytest

from tests.integration.conformance.reloads import COUNT, Reloaded
from tests.support.waiting import at_most

pytestmark = [pytest.mark.lab, pytest.mark.every_release]


def test_an_apply_drops_no_connection(reloaded: Reloaded) -> None:
    assert reloaded.problem == ""
    assert reloaded.after_apply == COUNT
    assert reloaded.serves_what_is_new


def test_an_apply_says_whom_it_leaves_open(reloaded: Reloaded) -> None:
    assert f"this reload leaves {COUNT} open WebSocket connections on" in reloaded.said


def test_connections_of_an_earlier_configuration_may_live_for_a_while(reloaded: Reloaded) -> None:
    assert len(reloaded.cut_after_s) == COUNT
    assert min(reloaded.cut_after_s) > reloaded.drain_s - 0.5
    assert max(reloaded.cut_after_s) < reloaded.drain_s + at_most(2.5)


def test_those_of_the_new_one_stay(reloaded: Reloaded) -> None:
    assert reloaded.later_ones == COUNT
