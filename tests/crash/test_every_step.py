"""A commit on a real host that is killed, or whose disk fails, at every single step.

The steps are counted by a run that nothing disturbs. A run tries a third of them, a different one
each time; `make crash` tries all. Of the hundreds of writes of former contents into their pack, a
few are tried. Steps that change nothing are left out, such as a look at a unit; so is a kill right
after an fsync, which leaves the same as a kill before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.crash.faults import Operation, distinct, fits, share, thinned
from tests.crash.interrupt import failure, play, stages
from tests.crash.rounds import Outcome, at_place, carry_out
from tests.crash.stage import Stage

pytestmark = pytest.mark.lab

#: Of all operations that can fail, those whose failing a disk is known for.
FAILING = ("write", "pwrite", "fsync", "rename")


@pytest.fixture(scope="module")
def hosts(machine: None) -> Iterator[list[Stage]]:
    with stages(4, name=f"steps-{os.getpid()}", states="ADA") as made:
        yield made


def problems(hosts: list[Stage], phase: str, do: str) -> list[str]:
    """What is wrong after `do` at each place of `phase`, on the way from one state to the other."""
    for stage in hosts:
        if stage.state != "A":
            stage.go("A")
    all_places = hosts[0].places_of(phase, "D")
    places = [p for p in thinned(all_places) if fits(p, do)]
    if do == "kill":
        worthwhile = [place for place in distinct(all_places) if changes_something(place)]
    else:
        worthwhile = [place for place in all_places if is_failing(place)]
    worthwhile = [place for place in worthwhile if place in places]
    assert len(worthwhile) > 5
    tried = share(worthwhile)
    numbers = [number for number, place in enumerate(places) if place in tried]

    def act(stage: Stage, number: int) -> Outcome:
        if stage.state != "A":
            stage.go("A")
        at = (number + 0.5) / len(places)
        return carry_out(stage, at_place(number, phase, do, at=at, target="D"))

    outcomes = list(play(hosts, numbers, act))
    found = [failure(o, again="") for o in outcomes if o.problem]
    if not found:
        assert len(outcomes) == len(numbers)
    return found


def changes_something(place: Operation) -> bool:
    if place.name == "posix_spawnp":
        return not place.path.startswith(("systemctl show", "systemctl list-units"))
    return not (place.name == "open" and place.path.startswith("/run/"))


def is_failing(place: Operation) -> bool:
    return place.name in FAILING and not place.path.startswith("/run/")


@pytest.mark.parametrize("phase", ["apply", "revert", "confirm"])
def test_killed_at_every_step(hosts: list[Stage], phase: str) -> None:
    found = problems(hosts, phase, "kill")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("phase", ["apply", "revert", "confirm"])
def test_every_step_of_the_disk_fails_once(hosts: list[Stage], phase: str) -> None:
    found = problems(hosts, phase, "eio")
    assert not found, "\n".join(found)
