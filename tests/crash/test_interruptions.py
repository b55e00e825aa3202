"""Commits on real hosts, interrupted at random; `interrupt.py` does the same at length."""

from __future__ import annotations

import os
import random

import pytest

from tests.crash.faults import EVERY_PLACE
from tests.crash.interrupt import alone, failure, play, stages, totals
from tests.crash.rounds import KINDS, Outcome, carry_out, draw
from tests.crash.stage import Stage

pytestmark = pytest.mark.lab

#: As many as there are kinds, and more with `make crash`.
ROUNDS = 60 if os.environ.get(EVERY_PLACE) else len(KINDS)


@pytest.mark.usefixtures("machine")
def test_whatever_interrupts_a_commit(capsys: pytest.CaptureFixture[str]) -> None:
    """At least one interruption of each kind; never does a host end in between."""
    seed = random.SystemRandom().randrange(10**6)
    kinds = list(KINDS)

    def act(stage: Stage, number: int) -> Outcome:
        some = (kinds[number],) if number < len(kinds) else tuple(kinds)
        return carry_out(stage, draw(seed, number, kinds=some))

    with stages(4, name=f"crash-{os.getpid()}") as hosts:
        outcomes = list(play(hosts, list(range(ROUNDS)), act))
    with capsys.disabled():
        print(f"\nseed {seed}: {totals(outcomes)}")
    wrong = [failure(o, again=alone(o, seed=seed)) for o in outcomes if o.problem]
    assert not wrong, "\n".join(wrong)
    assert len(outcomes) == ROUNDS
