"""A rehearsal host on which commits are interrupted: what it is now, and what it should be."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.crash.faults import Fault, Operation, operations
from tests.crash.inside import InsideAgent, facts_of
from tests.crash.look import Look, differences, look_at
from tests.crash.two_states import PACKAGE, changes_to, handlers
from tests.support.agent.process import AgentRefusal
from tests.support.waiting import PATIENCE_S

ROUND_LIMIT_S = 300.0
_OPERATIONS = "/run/crash-operations"
_GATE = "/run/crash-gate"

#: What a run does until it is interrupted: an apply that ends well; one whose last change fails, so
#: that it takes itself back; an apply and then a revert; an apply and then a confirm.
PHASES = ("apply", "failing", "revert", "confirm")


class RoundError(Exception):
    """A round that did not go as every round must, whatever its interruption."""


@dataclass
class Places:
    """The operations of each phase between two states, shared by all hosts: they are the same."""

    known: dict[tuple[str, str, str], list[Operation]] = field(default_factory=dict)
    _locks: defaultdict[tuple[str, str, str], threading.Lock] = field(
        default_factory=lambda: defaultdict(threading.Lock)
    )

    def of(
        self, way: tuple[str, str, str], record: Callable[[], list[Operation]]
    ) -> list[Operation]:
        """The operations of `way`, a phase and two states; who asks first records them."""
        with self._locks[way]:
            if way not in self.known:
                self.known[way] = record()
            return self.known[way]


@dataclass
class Stage:
    """One host. `state` is ``A``, ``B`` or ``C``, and `look` what it looks like now."""

    lab: Lab
    host: LabHost
    places: Places
    folder: Path
    state: str = ""
    look: Look = field(default_factory=dict)
    wanted: dict[str, Look] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # the commits of earlier rounds
    _commits: int = 0

    # --- making ready -----------------------------------------------------------------------------

    def prepare(self, states: str) -> None:
        """Install the proxy, and see what each of `states` looks like after an undisturbed run."""
        self.host.sh("systemctl is-system-running --wait", check=False)
        packages = f"nginx {PACKAGE}" if "C" in states else "nginx"
        self.host.sh(f"apt-get install -y {packages}", timeout_s=PATIENCE_S)
        if "C" in states:  # its configuration stays: a state of its own
            self.host.sh(f"apt-get remove -y {PACKAGE}", timeout_s=PATIENCE_S)
        self.reboot()
        for state in states:
            self.go(state)
            self.look = look_at(self.host)
            self.wanted[state] = self.look
            if self.look["served"] != ["B" if state == "C" else state]:
                raise RoundError(f"{self.host.name} in state {state}: {self.look['served']}")

    def go(self, state: str) -> None:
        """An undisturbed apply and confirm."""
        commit = self.new_commit()
        agent = InsideAgent(self.host)
        try:
            self.apply(agent, state, commit)
            agent.ask("confirm", commit=commit, verified=["crash tests"])
        finally:
            agent.end()
        self.state = state

    def repair(self) -> None:
        """Bring a host to ``A`` again that a round has left in between.

        Raises:
            RoundError: it is not as it should be even then.
        """
        if not self.host.is_running:
            self.reboot()
        self.recover()
        self.end_agents()
        self.go("D" if "D" in self.wanted else "B")
        self.go("A")
        self.seen.update(record["commit"] for record in facts_of(self.host)["history"])
        self.look = look_at(self.host)
        found = differences(self.wanted["A"], self.look)
        if found:
            raise RoundError(f"{self.host.name} cannot be repaired: {found}")

    def new_commit(self) -> str:
        """A name that no commit on this host has had; such a commit is known from the start."""
        self._commits += 1
        name = f"c{self._commits}-{os.getpid()}"
        self.seen.add(name)
        return name

    def apply(
        self,
        agent: InsideAgent,
        state: str,
        commit: str,
        *,
        seconds: float = 300.0,
        fails: bool = False,
    ) -> dict[str, Any]:
        """Plan the way from the present state to `state`, and apply it."""
        plan = agent.plan(*changes_to(state, start=self.state, fails=fails), handlers=handlers())
        about = {"id": commit, "who": "ada", "from": "desk", "rollback_duration_s": seconds}
        reply: dict[str, Any] = agent.ask("apply", plan=plan, commit=about)
        return reply

    def places_of(self, phase: str, state: str) -> list[Operation]:
        """What an agent does in `phase` on the way to `state`, by an undisturbed run."""
        return self.places.of((phase, self.state, state), lambda: self._record(phase, state))

    def _record(self, phase: str, state: str) -> list[Operation]:
        log = self.host.root / _OPERATIONS.lstrip("/")
        log.unlink(missing_ok=True)
        start = self.state
        answer = self.run(phase, state, Fault(log=_OPERATIONS), commit=self.new_commit())
        found = operations(log.read_text())
        if phase == "apply":
            agent = InsideAgent(self.host)
            agent.ask("revert", commit=self.commit_under_way(), why="it was a recording")
            agent.end()
        if phase == "confirm":
            self.state = state
            self.go(start)
        self.settle()
        now = look_at(self.host)
        if found == [] or differences(self.wanted[start], now):
            words = differences(self.wanted[start], now)
            raise RoundError(f"{phase} to {state}, undisturbed, got {answer}: {words}")
        return found

    # --- runs -------------------------------------------------------------------------------------

    def run(
        self,
        phase: str,
        state: str,
        fault: Fault,
        *,
        commit: str,
        seconds: float = 300.0,
        on_held: Callable[[], None] | None = None,
        asks_on: bool = False,
    ) -> str:
        """A run to `state` under `fault`, which counts only in `phase`; its answer, in a word.

        It ends without a message to its agent, which is killed if it still lives. With `asks_on`,
        it does as the controller would: a confirm that has failed is followed by a revert.
        """
        gate = self.host.root / _GATE.lstrip("/")
        is_gated = phase in ("revert", "confirm")
        gate.unlink(missing_ok=True)
        fault = replace(fault, gate=_GATE if is_gated else "", commit=commit)
        agent = InsideAgent(self.host, fault, limit_s=ROUND_LIMIT_S, on_held=on_held)
        answer = "nothing"
        try:
            answer = self.apply(agent, state, commit, seconds=seconds, fails=phase == "failing")[
                "state"
            ]
            if is_gated:
                gate.touch()
            if phase == "revert":
                answer = agent.ask("revert", commit=commit, why="a test")["state"]
            elif phase == "confirm" or (asks_on and phase == "apply"):
                answer = self._confirm(agent, commit, asks_on=asks_on)
        except AgentRefusal as refusal:
            answer = (refusal.error.get("revert") or {}).get("state", f"refused: {refusal.code}")
        except (AssertionError, OSError):
            answer = "nothing"  # it is no more
        finally:
            if agent.hung:
                answer = "hung"
            agent.kill()
            agent.end()
        return str(answer)

    @staticmethod
    def _confirm(agent: InsideAgent, commit: str, *, asks_on: bool) -> str:
        try:
            return str(agent.ask("confirm", commit=commit, verified=["a test"])["state"])
        except AgentRefusal as refusal:
            if not asks_on:
                return f"refused: {refusal.code}"
        try:
            return str(agent.ask("revert", commit=commit, why="a confirm failed")["state"])
        except AgentRefusal as refusal:
            return f"refused: {refusal.code}"

    # --- recovery ---------------------------------------------------------------------------------

    def reboot(self) -> None:
        """Pull the plug, if that is not done yet, and boot again."""
        self.host.kill()
        self.host.boot_again()
        self.host.sh("systemctl is-system-running --wait", check=False)

    def commit_under_way(self) -> str:
        """The commit that is neither confirmed nor reverted; empty where there is none."""
        pending = facts_of(self.host)["pending"]
        return pending["commit"] if pending else ""

    def recover(self, fault: Fault | None = None) -> None:
        """What ``deployer recover`` does: ask for a revert of the commit under way.

        An agent that is still at work is waited for. Under a `fault`, it may well die.
        """
        agent = InsideAgent(self.host, fault, limit_s=ROUND_LIMIT_S)
        deadline = time.monotonic() + ROUND_LIMIT_S
        try:
            about = agent.ask("facts", packages=[])["deployer"]
            while about["lock"] and time.monotonic() < deadline:
                time.sleep(0.1)
                about = agent.ask("facts", packages=[])["deployer"]
            pending = about["pending"]
            if pending is not None:
                agent.ask("revert", commit=pending["commit"], why="recovered")
            else:
                agent.ask("tidy")
        except (AgentRefusal, AssertionError, OSError):
            if fault is None:
                raise
        finally:
            agent.kill()
            agent.end()

    def tidy(self) -> None:
        """What the next run does first: clear away what a dead one left outside of a commit."""
        agent = InsideAgent(self.host, limit_s=ROUND_LIMIT_S)
        try:
            agent.ask("tidy")
        finally:
            agent.end()

    def is_over(self) -> bool:
        """Whether the lock is free, and no commit is under way; agents may wait idly."""
        about = facts_of(self.host)
        return not about["pending"] and not about["lock"]

    def wait_until_over(self, limit_s: float = ROUND_LIMIT_S) -> None:
        """Wait for `is_over`.

        Raises:
            RoundError: that does not come to be.
        """
        deadline = time.monotonic() + limit_s
        while not self.is_over():
            if time.monotonic() > deadline:
                raise RoundError(f"after {limit_s:.0f} s the commit is not over")
            time.sleep(0.2)

    def end_agents(self) -> None:
        """End agents that wait for a controller that is no more; they have no commit."""
        for pid in self.host.exec(["pgrep", "-x", "python3"], check=False).stdout.split():
            self.host.exec(["kill", "-KILL", pid], check=False)

    def settle(self, *, timers_now: bool = False, limit_s: float = ROUND_LIMIT_S) -> None:
        """Wait until no run works on the host, and no commit is under way.

        Raises:
            RoundError: that does not come to be.
        """
        deadline, pause_s = time.monotonic() + limit_s, 0.02
        while busy := self._busy(timers_now=timers_now):
            if time.monotonic() > deadline:
                raise RoundError(f"after {limit_s:.0f} s there is still: {busy}")
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, 0.2)

    def _busy(self, *, timers_now: bool) -> str:
        state = self.host.root / "var/lib/deployer"
        if not timers_now:
            for name in ("pending", "reverting"):
                if (state / name).exists():
                    return name
        agents = self.host.exec(["pgrep", "-x", "python3"], check=False).stdout.split()
        if agents:
            return f"an agent: {agents}"
        timers = self.host.sh(
            "systemctl list-units --all --plain --no-legend 'deployer-watchdog*.timer'"
            " | cut -d' ' -f1"
        ).split()
        if timers and timers_now:  # their time has come
            services = [timer.replace(".timer", ".service") for timer in timers]
            self.host.exec(["systemctl", "start", *services], check=False)
        left = [name for name in ("pending", "reverting") if (state / name).exists()]
        return " ".join(timers + left)
