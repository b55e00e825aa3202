"""How long a route waits, in silence and for an answer: as long as its `idle_timeout`, no less."""

from __future__ import annotations

import pytest

from tests.integration.conformance.waits import PATIENCE_S, Waits
from tests.integration.conformance.world import Front, World

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

#: What `site.yml` gives to /brief, /later and /ws, and how exactly it is to be kept.
_BRIEF_S, _LATER_S, _LONG_S, _WITHIN_S = 3, 66, 400, 1


@pytest.fixture
def mine(world: World, waits: dict[Front, Waits]) -> Waits:
    return waits[world.front]


@pytest.mark.parametrize("which", ["silent", "client_spoke", "service_spoke", "pinged"])
def test_a_brief_silence(mine: Waits, which: str) -> None:
    found = getattr(mine, which).result()
    assert not found.still_answers
    assert found.seconds == pytest.approx(_BRIEF_S, abs=_WITHIN_S)


def test_a_brief_wait_for_an_answer(mine: Waits) -> None:
    assert mine.in_time.result().answer.told.target == "/brief?wait=2"
    late = mine.too_late.result()
    assert late.answer.status in (502, 504)
    assert late.seconds == pytest.approx(_BRIEF_S, abs=_WITHIN_S)
    assert late.answer["strict-transport-security"] == "max-age=600"


def test_a_silence_longer_than_a_minute(mine: Waits) -> None:
    found = mine.later.result()
    assert not found.still_answers
    assert found.seconds == pytest.approx(_LATER_S, abs=_WITHIN_S)


def test_a_long_silence(mine: Waits) -> None:
    found = mine.long.result()
    if PATIENCE_S > _LONG_S + _WITHIN_S:
        assert not found.still_answers
        assert found.seconds == pytest.approx(_LONG_S, abs=_WITHIN_S)
    else:
        assert found.still_answers
    assert mine.much_later.result().answer.status == 200
