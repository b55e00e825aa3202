"""Open many connections from one thread at a bounded rate; hold, ping and close them.

Nothing is retried. If a proxy refuses one connection after another, the rate drops and then the
load stops: a search for a limit must not become a denial of service. At the end every connection
gets a Close frame, even after an interrupt.
"""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployer.load.connection import Connection, Target
from deployer.load.figures import Figures, Percentiles, failure_groups, loss_groups, percentiles
from deployer.load.frames import RefusedError
from deployer.verify.net.tls import client_context
from deployer.verify.probe.spec import Identity

#: How many may be opening at the same time.
_MOST_OPENING = 200
#: The numbers of consecutive failures after which the rate drops and the load stops.
_SLOW_AFTER, _STOP_AFTER = 20, 50
#: This fraction of failures also stops it: some limits still let a few connections through.
_STOP_PART = 0.05
_STUCK_S = 2.0
_TICK_S = 0.02
#: Pings are sent faster than connections are opened by this factor.
_PINGS = 5
_CLOSES_PER_S = 2500.0
_OWN_LIMITS = {
    errno.EMFILE: "this process cannot open more files (ulimit -n)",
    errno.ENFILE: "this machine cannot open more files",
    errno.EADDRNOTAVAIL: "this machine has no free port for that address",
    errno.ENOBUFS: "this machine has no memory for more connections",
    errno.ENOMEM: "this machine has no memory for more connections",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """`number` connections, spread evenly over `targets`, `rate_per_s` a second, held for `hold_s`.

    Each may take `timeout_s` to open and to answer a ping; after consecutive failures, the rate is
    `slow_rate_per_s`. Connections that are idle for `awake_s` are pinged, so that no hop closes
    them. At the end, the peers have `farewell_s` to answer the Close frames. Those that ask for a
    certificate get that of `identity`.
    """

    targets: tuple[Target, ...]
    number: int
    rate_per_s: float
    hold_s: float
    timeout_s: float = 10.0
    awake_s: float = 20.0
    slow_rate_per_s: float = 10.0
    farewell_s: float = 3.0
    identity: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadHooks:
    """Callbacks: `progress` gets a line of text a few times a second.

    `full` gets the number of failures once no more connections are opened; `last` is called after
    the final pings. Both run in their own thread while connections are held.
    """

    progress: Callable[[str], None]
    full: Callable[[int], None]
    last: Callable[[], None]
    cancelled: threading.Event


def generate_load(plan: LoadPlan, hooks: LoadHooks) -> Figures:
    """Run `plan` in this thread and return its figures. Raises: what `full` and `last` raise."""
    return asyncio.run(_Generator(plan, hooks).run())


class _Generator:
    def __init__(self, plan: LoadPlan, hooks: LoadHooks) -> None:
        self._plan = plan
        self._hooks = hooks
        is_secured, identity = plan.targets[0].tls, plan.identity
        self._context = client_context(verified=False, identity=identity) if is_secured else None
        self._began = self._last_opened = time.monotonic()
        self._all: list[Connection] = []
        self._open = 0
        self._most_open = 0
        self._failures: list[tuple[str, str, int, float]] = []
        self._losses: list[tuple[str, float, float]] = []
        self._pings_per_s = _PINGS * plan.rate_per_s
        self._opened_at: list[float] = []
        self._idle: deque[tuple[float, Connection]] = deque()
        self._failed_in_a_row = 0
        self._late_s = 0.0
        self._reported = 0.0

    async def run(self) -> Figures:
        """Run the whole load. Raises: whatever a hook raises, after closing all connections."""
        try:
            return await self._run()
        finally:
            for connection in self._all:
                connection.abort()
            await asyncio.sleep(0)

    async def _run(self) -> Figures:
        plan, hooks = self._plan, self._hooks
        keeper = asyncio.create_task(self._keep_alive())
        tried, stopped = await self._ramp()
        ramp_s = self._now()
        answered = 0
        if self._open and not hooks.cancelled.is_set():
            inspecting = asyncio.create_task(asyncio.to_thread(hooks.full, len(self._failures)))
            await self._hold()
            await inspecting
            answered = await self._ping_all("the final ping on each")
            await asyncio.to_thread(hooks.last)
        held_s = self._now() - ramp_s
        keeper.cancel()
        unanswered = sum(each.awaits_pong for each in self._all)
        interrupted = hooks.cancelled.is_set()
        await self._close_all()
        opened = [each for each in self._all if each.is_counted]
        return Figures(
            asked=plan.number,
            tried=tried,
            opened=len(opened),
            most_open=self._most_open,
            answered=answered,
            unanswered=unanswered,
            stopped=stopped,
            opening=_opening(opened),
            pings=percentiles(second for each in opened for second in each.pongs_s),
            failed=failure_groups(self._failures),
            ended=loss_groups(self._losses),
            ramp_s=ramp_s,
            held_s=held_s,
            opened_at=tuple(self._opened_at),
            ended_at=tuple(sorted(at_s for _, at_s, _ in self._losses)),
            late_s=self._late_s,
            interrupted=interrupted,
        )

    # --- opening ----------------------------------------------------------------------------------

    async def _ramp(self) -> tuple[int, str]:
        """Open the connections; return how many were attempted, and why not all."""
        opening: set[asyncio.Task[None]] = set()
        tried, due, stopped = 0, 0.0, ""
        while tried < self._plan.number and not self._hooks.cancelled.is_set():
            stopped = self._had_enough()
            if stopped:
                break
            slow = self._failed_in_a_row >= _SLOW_AFTER
            rate = self._plan.rate_per_s
            rate = min(self._plan.slow_rate_per_s, rate) if slow else rate
            # Connections that could not be started in time are not caught up on: no bursts.
            due = min(due + rate * await self._tick(), max(1.0, rate * 2 * _TICK_S))
            most = _SLOW_AFTER if self._is_stuck() else _MOST_OPENING
            while due >= 1 and tried < self._plan.number and len(opening) < most:
                target = self._plan.targets[tried % len(self._plan.targets)]
                task = asyncio.create_task(self._open_one(target))
                opening.add(task)
                task.add_done_callback(opening.discard)
                tried, due = tried + 1, due - 1
            self._report(f"{self._open:,} of {self._plan.number:,} open")
        while opening and not self._hooks.cancelled.is_set():
            await self._tick()
            self._report(f"{self._open:,} open, {len(opening)} still opening")
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        return tried, stopped

    def _is_stuck(self) -> bool:
        """Whether nothing has opened for a while: the pending ones are enough to find out why."""
        return time.monotonic() - self._last_opened > _STUCK_S

    def _had_enough(self) -> str:
        """Return why no more should be attempted; empty to continue."""
        if self._failed_in_a_row >= _STOP_AFTER:
            return f"the last {_STOP_AFTER} in a row failed"
        failed = len(self._failures)
        if failed >= max(_STOP_AFTER, _STOP_PART * self._plan.number):
            return f"{failed:,} have failed"
        return ""

    async def _open_one(self, target: Target) -> None:
        connection = Connection(target, on_lost=self._lost)
        self._all.append(connection)
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                await connection.open(self._context)
        except RefusedError as error:
            self._failed(connection.phase, error.words)
        except TimeoutError:
            self._failed(connection.phase, f"did not answer within {self._plan.timeout_s:g} s")
        except ConnectionRefusedError:
            self._failed("connect", "refused it: nothing listens there")
        except OSError as error:
            own = _OWN_LIMITS.get(error.errno or 0)
            self._failed(
                "own" if own else "connect",
                own or f"is unreachable: {error.strerror or error}",
            )
        else:
            self._failed_in_a_row = 0
            self._last_opened = time.monotonic()
            if connection.is_open:
                connection.is_counted = True
                self._opened_at.append(self._now())
                self._idle.append((time.monotonic() + self._plan.awake_s, connection))
                self._open += 1
                self._most_open = max(self._most_open, self._open)

    def _failed(self, phase: str, words: str) -> None:
        self._failed_in_a_row += 1
        self._failures.append((phase, words, self._open, self._now()))

    def _lost(self, connection: Connection) -> None:
        assert connection.lost is not None  # noqa: S101 - the connection calls this when lost
        if connection.is_counted:
            self._open -= 1
        lost = connection.lost
        self._losses.append((lost.words, lost.at - self._began, lost.silent_s))

    # --- holding ----------------------------------------------------------------------------------

    async def _hold(self) -> None:
        """Ping each once, then wait for the rest of the time."""
        until = time.monotonic() + self._plan.hold_s
        await self._ping_all("a ping on each")
        while time.monotonic() < until and not self._hooks.cancelled.is_set():
            left_s = until - time.monotonic()
            self._report(f"{self._open:,} held, {left_s:.0f} s left")
            await self._tick()

    async def _keep_alive(self) -> None:
        """Ping connections that have been idle for a while, so that no hop closes them."""
        while True:
            now, most = time.monotonic(), max(1, int(self._pings_per_s * _TICK_S))
            while self._idle and self._idle[0][0] <= now and most:
                _, connection = self._idle.popleft()
                most -= 1
                if connection.is_open:
                    connection.ping()
                    self._idle.append((now + self._plan.awake_s, connection))
            await asyncio.sleep(_TICK_S)

    async def _ping_all(self, action: str) -> int:
        """Ping every open connection at a bounded rate; return how many answer in time."""
        asked = [each for each in self._all if each.is_open]
        before = [len(each.pongs_s) for each in asked]
        sent, due = 0, 1.0
        while sent < len(asked) and not self._hooks.cancelled.is_set():
            for connection in asked[sent : sent + int(due)]:
                connection.ping()
            sent, due = sent + int(due), due - int(due)
            self._report(f"{self._open:,} open; {action}")
            due += self._pings_per_s * await self._tick()
        until = time.monotonic() + self._plan.timeout_s
        while any(each.awaits_pong for each in asked) and time.monotonic() < until:
            if self._hooks.cancelled.is_set():
                break
            await self._tick()
        return sum(
            len(each.pongs_s) > number and each.is_open
            for each, number in zip(asked, before, strict=True)
        )

    async def _close_all(self) -> None:
        """Send a Close frame on each connection; wait only briefly for the peers' frames."""
        closing: Sequence[Connection] = [each for each in self._all if each.is_open]
        chunk = max(1, int(_CLOSES_PER_S * _TICK_S))
        for start in range(0, len(closing), chunk):
            for connection in closing[start : start + chunk]:
                connection.close()
            self._report(f"closing, {len(closing) - start:,} left")
            await asyncio.sleep(_TICK_S)
        until = time.monotonic() + self._plan.farewell_s
        while time.monotonic() < until and not all(each.has_ended for each in closing):
            await asyncio.sleep(_TICK_S)

    # --- time -------------------------------------------------------------------------------------

    async def _tick(self) -> float:
        """Wait for a moment and return how long it took; the longest delay is recorded."""
        began = time.monotonic()
        await asyncio.sleep(_TICK_S)
        took = time.monotonic() - began
        self._late_s = max(self._late_s, took - _TICK_S)
        return took

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _report(self, words: str) -> None:
        """Report the progress, but not too often."""
        if time.monotonic() - self._reported < 0.25:
            return
        self._reported = time.monotonic()
        failed = f", {len(self._failures):,} failed" if self._failures else ""
        lost = f", {len(self._losses):,} lost" if self._losses else ""
        self._hooks.progress(f"load: {words}{failed}{lost}")


def _opening(opened: Sequence[Connection]) -> dict[str, Percentiles]:
    """Return how long each phase of opening took, and all phases together."""
    spreads = {
        phase: percentiles(each.timings_s[phase] for each in opened if phase in each.timings_s)
        for phase in ("connect", "tls", "upgrade")
    }
    spreads["all"] = percentiles(sum(each.timings_s.values()) for each in opened)
    return {phase: found for phase, found in spreads.items() if found is not None}
