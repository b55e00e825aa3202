"""What has to be waited for, begun at once on all hosts: it costs time, but no work.

``CONFORMANCE_PATIENCE_S`` says how long; from 402 on, the end of a `400s` is seen, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.integration.conformance.world import Answer, World, echoed
from tests.support.clients.websocket import Client

#: Longer than nginx (60 s) and HAProxy (Debian: 50 s) wait by themselves.
PATIENCE_S = float(os.environ.get("CONFORMANCE_PATIENCE_S", "64"))


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a WebSocket lived after the last byte on it; `still_answers` if it lives on."""

    seconds: float
    still_answers: bool


@dataclass(frozen=True, slots=True)
class Slow:
    """An answer that took its time."""

    seconds: float
    answer: Answer


@dataclass(frozen=True, slots=True)
class Waits:
    """What is being waited for on one host; `result()` of each waits for its end."""

    silent: Future[Silence]
    client_spoke: Future[Silence]
    service_spoke: Future[Silence]
    pinged: Future[Silence]
    later: Future[Silence]
    long: Future[Silence]
    in_time: Future[Slow]
    too_late: Future[Slow]
    much_later: Future[Slow]


@contextmanager
def waiting(world: World) -> Iterator[Waits]:
    """Begins all of it."""

    def later(job: Callable[..., object], *words: object) -> Future:  # type: ignore[type-arg]
        return pool.submit(job, world, *words)

    pool = ThreadPoolExecutor(9)
    yield Waits(
        silent=later(_silence, "/brief", 8.0),
        client_spoke=later(_silence, "/brief?mute", 8.0, _say_something),
        service_spoke=later(_silence, "/brief?say=1.5", 8.0, _hear_something),
        pinged=later(_silence, "/brief?mute", 8.0, _ping_for_a_while),
        later=later(_silence, "/later", 72.0),
        long=later(_silence, "/ws", PATIENCE_S),
        in_time=later(_slow, "/brief?wait=1"),
        too_late=later(_slow, "/brief?wait=9"),
        much_later=later(_slow, f"/ws?wait={PATIENCE_S if PATIENCE_S < 400 else 399}"),
    )
    pool.shutdown(wait=True, cancel_futures=True)


def _silence(
    world: World, path: str, patience_s: float, before: Callable[[Client], None] | None = None
) -> Silence:
    with world.open(path) as connection:
        echoed(connection)
        if before:
            before(connection)
        began = time.monotonic()
        if connection.ends_within(patience_s):
            return Silence(time.monotonic() - began, still_answers=False)
        connection.send("still there?")
        with suppress(TimeoutError):
            answers = connection.recv() == "still there?"
        return Silence(time.monotonic() - began, still_answers=answers)


def _say_something(connection: Client) -> None:
    time.sleep(1.5)
    connection.send("so much for that")


def _hear_something(connection: Client) -> None:
    assert connection.recv() == "said"


def _ping_for_a_while(connection: Client) -> None:
    for _ in range(5):
        time.sleep(1)
        connection.ping()


def _slow(world: World, target: str) -> Slow:
    began = time.monotonic()
    answer = world.ask(target, timeout_s=PATIENCE_S + 20)
    return Slow(time.monotonic() - began, answer)
