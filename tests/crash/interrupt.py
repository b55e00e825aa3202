"""Interrupt commits on real hosts, at random, and count where the hosts end.

    python -m tests.crash.interrupt [--rounds 500] [--seed N] [--hosts 4] [--only KIND ...]

Every round ends with the host in its state before the commit or in the one after it, whatever
happened: anything else is `neither`, and the exit code is 1. It needs root, and a Linux that boots
rehearsal hosts.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from deployer.lab.lab import running
from tests.crash.rounds import KINDS, Outcome, carry_out, draw
from tests.crash.stage import Places, Stage

ENDS = ("before", "after", "neither")


@contextmanager
def stages(count: int, *, name: str, states: str = "ABACABA") -> Iterator[list[Stage]]:
    """Hosts that are ready for rounds, and know `states`; they are in the last one."""
    with running(count, name=name) as lab, tempfile.TemporaryDirectory() as folder:
        places = Places()
        made = [Stage(lab, host, places, Path(folder)) for host in lab.hosts]
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda stage: stage.prepare(states), made))
        yield made


def play(
    stages: list[Stage], draws: list[int], act: Callable[[Stage, int], Outcome]
) -> Iterator[Outcome]:
    """Round after round on every host at once; outcomes as they come.

    A host that was left in between is repaired; if that fails, it takes no part in what follows.
    """
    left = list(reversed(draws))
    lock = threading.Lock()
    done: list[Outcome] = []
    arrived = threading.Condition(lock)

    def work(stage: Stage) -> None:
        while True:
            with lock:
                if not left:
                    return
                number = left.pop()
            outcome = act(stage, number)
            with arrived:
                done.append(outcome)
                arrived.notify()
            if outcome.end == "neither":
                try:
                    stage.repair()
                except Exception as error:
                    print(f"{stage.host.name}: {type(error).__name__}: {error}", flush=True)
                    return

    with ThreadPoolExecutor(len(stages)) as pool:
        working = [pool.submit(work, stage) for stage in stages]
        while True:
            with arrived:
                arrived.wait_for(lambda: bool(done) or all(w.done() for w in working), timeout=1.0)
                news, done[:] = list(done), []
            yield from news
            if not news and all(w.done() for w in working):
                break
        for worker in working:
            worker.result()


def table(outcomes: list[Outcome]) -> str:
    """Kinds, and how many rounds of each ended where."""
    counts = Counter((outcome.draw.kind, outcome.end) for outcome in outcomes)
    lines = [f"{'kind':15}" + "".join(f"{end:>9}" for end in ENDS)]
    for kind in KINDS:
        row = [counts[kind, end] for end in ENDS]
        if any(row):
            lines.append(f"{kind:15}" + "".join(f"{number:9}" for number in row))
    return "\n".join(lines)


def totals(outcomes: list[Outcome]) -> str:
    """``before N, after N, neither N``."""
    counts = Counter(outcome.end for outcome in outcomes)
    return ", ".join(f"{end} {counts[end]}" for end in ENDS)


def failure(outcome: Outcome, *, again: str) -> str:
    """All that is needed to understand a round that is wrong, and to repeat it."""
    return f"ROUND {outcome.line}\n{outcome.problem}\n{outcome.log}\n{outcome.draw}\n{again}\n"


def alone(outcome: Outcome, *, seed: int) -> str:
    """The command that repeats one round of a run; with its kind, which may have been set."""
    about = outcome.draw
    which = f"--seed {seed} --round {about.number} --only {about.kind} --start {outcome.start}"
    return f"python -m tests.crash.interrupt {which}"


def main() -> int:
    """Run the script; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--round", type=int, help="this one alone")
    parser.add_argument("--start", choices=("A", "B", "C"), help="in which state the host is then")
    given = parser.parse_args()
    is_one = given.round is not None
    numbers = [given.round] if is_one else list(range(given.rounds))

    def act(stage: Stage, number: int) -> Outcome:
        if given.start and stage.state != given.start:
            stage.go(given.start)
        return carry_out(stage, draw(given.seed, number, kinds=tuple(given.only)))

    began = time.monotonic()
    outcomes = []
    with stages(1 if is_one else given.hosts, name=f"crash-{os.getpid()}") as hosts:
        for outcome in play(hosts, numbers, act):
            outcomes.append(outcome)
            print(outcome.line, flush=True)
            if outcome.problem:
                print(failure(outcome, again=alone(outcome, seed=given.seed)), flush=True)
    wrong = [outcome for outcome in outcomes if outcome.problem]
    print(f"\n{table(outcomes)}\n\n{totals(outcomes)}; reports that disagree: {len(wrong)}")
    print(f"{len(outcomes)} rounds in {time.monotonic() - began:.0f} s, seed {given.seed}; again:")
    print(f"python -m tests.crash.interrupt --rounds {given.rounds} --seed {given.seed}")
    return 1 if wrong or len(outcomes) != len(numbers) else 0


class _Raw(argparse.RawDescriptionHelpFormatter):
    """The description as it is."""


if __name__ == "__main__":
    sys.exit(main())
