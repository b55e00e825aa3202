"""How long a route waits, idle and for an answer: as long as its `idle_timeout`, no less."""

from __future__ import annotations

import pytest

from tests.integration.conformance.waits import PATIENCE_S, Waits
from tests.integration.conformance.world import Front, World
from tests.support.waiting import at_most

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

#: What `site.yml` gives to /brief, /later and /ws, and how exactly it is to be kept.
_BRIEF_S, _LATER_S, _LONG_S, _WITHIN_S = 3, 66, 400, 1


def _lasted(seconds: float, limit_s: float) -> bool:
    """Whether that was the limit, as exactly as this machine can see it now."""
    return limit_s - _WITHIN_S <= seconds <= limit_s + at_most(_WITHIN_S)


@pytest.fixture
def mine(world: World, waits: dict[Front, Waits]) -> Waits:
    return waits[world.front]


@pytest.mark.parametrize("which", ["silent", "client_spoke", "service_spoke", "pinged"])
def test_a_brief_silence(mine: Waits, which: str) -> None:
    found = getattr(mine, which).result()
    assert not found.still_answers
    assert _lasted(found.seconds, _BRIEF_S)


def test_a_brief_wait_for_an_answer(mine: Waits) -> None:
    assert mine.in_time.result().answer.echoed.target == "/brief?wait=1"
    late = mine.too_late.result()
    assert late.answer.status in (502, 504)
    assert _lasted(late.seconds, _BRIEF_S)
    assert late.answer["strict-transport-security"] == "max-age=600"


def test_a_silence_longer_than_a_minute(mine: Waits) -> None:
    found = mine.later.result()
    assert not found.still_answers
    assert _lasted(found.seconds, _LATER_S)


def test_a_long_silence(mine: Waits) -> None:
    found = mine.long.result()
    if PATIENCE_S > _LONG_S + _WITHIN_S:
        assert not found.still_answers
        assert _lasted(found.seconds, _LONG_S)
    else:
        assert found.still_answers
    assert mine.much_later.result().answer.status == 200
