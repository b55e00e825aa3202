"""Rounds: one commit, one interruption, one recovery, and where the host has ended.

What is drawn for a round depends on nothing but the seed and the number of the round. The moment of
an interruption is drawn as a fraction, and becomes an operation, or a time, on the host.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from deployer.errors import LabError
from tests.crash.controller import cut_off
from tests.crash.faults import Fault, fits, thinned
from tests.crash.inside import facts_of, journal_of
from tests.crash.look import differences, look_at
from tests.crash.stage import Stage
from tests.crash.two_states import NEXT

DAY_S = 86400.0

#: Each kind of interruption, and how often it is drawn.
KINDS = {
    "kill-apply": 20,
    "kill-failing": 8,
    "kill-revert": 16,
    "kill-confirm": 14,
    "error-apply": 8,
    "error-failing": 3,
    "error-revert": 6,
    "error-confirm": 5,
    "full-apply": 4,
    "full-revert": 3,
    "full-confirm": 2,
    "clock-apply": 2,
    "clock-confirm": 2,
    "host-apply": 4,
    "host-revert": 2,
    "host-confirm": 2,
    "controller": 4,
    "link": 3,
}
_DOES = {
    "kill": ("kill", "kill-after", "torn"),
    "error": ("eio", "enospc"),
    "full": ("enospc",),
    "clock": ("clock",),
    "host": ("hold",),
}
#: How a commit that is left behind ends: at its deadline, at the next boot, by a person's word, or
#: by a person's word that is cut off too, and then once more.
RECOVERIES = {"deadline": 5, "boot": 3, "recover": 8, "recover-twice": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """All that chance has to say in a round; `at`, `at_again` from 0 to 1, `jump_s` in seconds."""

    number: int
    kind: str
    do: str
    at: float
    at_again: float
    recovery: str
    with_package: bool
    jump_s: float
    down_s: float
    kills_controller: bool
    target: str = ""  # where the way is not to be the usual one


def draw(seed: int, number: int, *, kinds: tuple[str, ...] = tuple(KINDS)) -> Draw:
    """Round `number` of the run with `seed`."""
    chance = random.Random(f"{seed} {number}")  # noqa: S311 - it has to be repeatable
    (kind,) = chance.choices(kinds, [KINDS[kind] for kind in kinds])
    (recovery,) = chance.choices(list(RECOVERIES), list(RECOVERIES.values()))
    return Draw(
        number=number,
        kind=kind,
        do=chance.choice(_DOES.get(kind.partition("-")[0], ("",))),
        at=chance.random(),
        at_again=chance.random(),
        recovery=recovery,
        with_package=chance.random() < 0.05,
        jump_s=chance.choice((-1, 1)) * chance.uniform(0.5, 400) * DAY_S,
        down_s=chance.uniform(0.1, 2.0),
        kills_controller=chance.random() < 0.5,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Where a round has ended: ``before``, ``after``, ``neither``; `problem` where it is wrong."""

    draw: Draw
    host: str
    start: str
    target: str
    place: str
    answer: str
    reported: str
    end: str
    seconds: float
    problem: str = ""
    log: str = ""

    @property
    def line(self) -> str:
        """One line for people."""
        about = f"{self.draw.number:4} {self.host} {self.start}>{self.target} {self.draw.kind}"
        at = f"{self.draw.do} {self.place}".strip()
        end = f"answer {self.answer}; {self.draw.recovery}; host says {self.reported}: {self.end}"
        return f"{about} {at[:90]}; {end} ({self.seconds:.1f} s)"


def carry_out(stage: Stage, drawn: Draw) -> Outcome:
    """One round on the host of `stage`, which is in a state that it knows."""
    began, began_at = time.monotonic(), int(time.time())
    start = stage.state
    target = drawn.target or NEXT[start][-1 if drawn.with_package else 0]
    place, answer, reported, problem = "", "nothing", "", ""
    try:
        place, answer = _interrupt(stage, drawn, target)
        _recover(stage, drawn)
        now = facts_of(stage.host)
        new = [record for record in now["history"] if record["commit"] not in stage.seen]
        stage.seen.update(record["commit"] for record in new)
        reported = new[0]["state"] if new else "no commit"
        if now["pending"] or now["lock"] or len(new) > 1:
            problem = f"it is not over: {now['pending']} {now['lock']} {new}"
        elif new and new[0].get("kept"):
            problem = f"something was kept: {new[0]['kept']}"
    except Exception as error:  # whatever it is, this round has not ended well
        problem = f"{type(error).__name__}: {error}"
    end = _end_of(stage, start, target)
    wanted = {"confirmed": "after"}.get(reported, "before")
    if not problem and end != wanted:
        problem = f"the host says {reported}, and is {end}"
    if not problem and answer in ("confirmed", "reverted") and answer != reported:
        problem = f"the controller got {answer}, and the host reports {reported}"
    log = ""
    if problem:
        log = journal_of(stage.host, began_at) if stage.host.is_running else ""
    if end == "neither":
        for name, look in ("before", stage.wanted[start]), ("after", stage.wanted[target]):
            log += f"\nfrom {name}: {differences(look, stage.look)}"
    return Outcome(
        draw=drawn,
        host=stage.host.name,
        start=start,
        target=target,
        place=place,
        answer=answer,
        reported=reported,
        end=end,
        seconds=time.monotonic() - began,
        problem=problem,
        log=log,
    )


def _interrupt(stage: Stage, drawn: Draw, target: str) -> tuple[str, str]:
    """The commit, and what happens to it: where it happened, and the answer to the controller."""
    what, _, phase = drawn.kind.partition("-")
    if what in ("controller", "link"):
        return cut_off(stage, drawn, target)
    places = [p for p in thinned(stage.places_of(phase, target)) if fits(p, drawn.do)]
    place = places[int(drawn.at * len(places))]
    fault = Fault(
        place=place.place,
        do=drawn.do,
        times=100_000 if what == "full" else 1,
        jump_s=drawn.jump_s,
    )
    commit = stage.new_commit()
    stage.seen.discard(commit)  # this one is to be reported
    answer = stage.run(
        phase,
        target,
        fault,
        commit=commit,
        seconds=1.0 if drawn.recovery == "deadline" else 300.0,
        on_held=stage.host.kill if drawn.do == "hold" else None,
        asks_on=what in ("error", "full", "clock"),
    )
    return str(place), answer


def _recover(stage: Stage, drawn: Draw) -> None:
    if drawn.recovery == "boot" or not stage.host.is_running:
        stage.reboot()
        stage.settle()
        stage.tidy()
        return
    if drawn.recovery == "recover-twice" and stage.commit_under_way():
        stage.recover(Fault(at=1 + int(drawn.at_again * 250), do="kill"))
    if drawn.recovery.startswith("recover"):
        stage.recover()
    stage.settle(timers_now=drawn.recovery.startswith("recover"))


def _end_of(stage: Stage, start: str, target: str) -> str:
    """Which of both states the host is in; the stage goes on from there."""
    try:
        if not stage.host.is_running:
            stage.reboot()
        stage.look = look_at(stage.host)
    except (LabError, OSError):
        return "neither"
    for name, state in (("before", start), ("after", target)):
        if differences(stage.wanted[state], stage.look) == {}:
            stage.state = state
            return name
    return "neither"


def at_place(number: int, phase: str, do: str, *, at: float, target: str) -> Draw:
    """A round with nothing left to chance; every seventh commit is left to the watchdog."""
    watchdogs = {0: "deadline", 7: "boot"}
    return Draw(
        number=number,
        kind=f"{'kill' if do == 'kill' else 'error'}-{phase}",
        do=do,
        at=at,
        at_again=0.0,
        recovery=watchdogs.get(number % 14, "recover"),
        with_package=False,
        jump_s=0.0,
        down_s=0.0,
        kills_controller=False,
        target=target,
    )
