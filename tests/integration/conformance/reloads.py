"""What an apply and a reload do to open WebSockets, tried on all hosts at once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Event

from websockets.exceptions import ConnectionClosed

from tests.integration.conformance.hosts import apply, write_site
from tests.integration.conformance.world import PLAIN, Front, World, echoed
from tests.support.clients.websocket import Client
from tests.support.waiting import PATIENCE_S, stretched

COUNT = 20
_MORE = '        - {path: /more, websocket: "http://127.0.0.1:9101"}\n'


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How many of `COUNT` lived on, and after how many seconds the cap ended each."""

    problem: str
    said: str
    after_apply: int
    serves_what_is_new: bool
    cut_after_s: list[float]
    drain_s: float
    later_ones: int


@contextmanager
def reloading(worlds: list[World]) -> Iterator[dict[Front, Future[Reloaded]]]:
    """Begins on all hosts."""
    with ThreadPoolExecutor(len(worlds)) as pool:
        yield {world.front: pool.submit(_reload, world) for world in worlds}


def _reload(world: World) -> Reloaded:
    drain_s = float(round(stretched(4.0)))
    write_site(world.folder, world.host, front=world.front, drain=f"{drain_s:g}s", more=_MORE)
    with _opened(world) as before, _watched(before) as (ends, enough):
        workers = _workers(world)
        with ThreadPoolExecutor(1) as pool:
            applying = pool.submit(apply, world.folder)
            # As soon as it has reloaded: Apache's cap is that of the new configuration.
            not_before = _wait_until_others_listen(world, workers)
            enough.set()
            after_apply = [end.result() - not_before for end in ends]
            ran = applying.result()
        with world.open("/more", name=PLAIN, tls=False) as connection:
            serves_what_is_new = echoed(connection).target == "/more"

    with _opened(world) as before, _watched(before) as (ends, _):
        workers = _workers(world)
        began = time.monotonic()
        world.host.exec(["systemctl", "reload", world.front.unit])
        _wait_until_others_listen(world, workers)
        with _opened(world) as later:
            cut_after_s = [end.result() - began for end in ends]
            later_ones = sum(_answers(connection) for connection in later)
    return Reloaded(
        problem=f"exit code {ran.returncode}\n{ran.stdout}{ran.stderr}" if ran.returncode else "",
        said=ran.stdout,
        after_apply=sum(lived_s > drain_s - 0.5 for lived_s in after_apply),
        serves_what_is_new=serves_what_is_new,
        cut_after_s=cut_after_s,
        drain_s=drain_s,
        later_ones=later_ones,
    )


def _workers(world: World) -> list[str]:
    """The numbers of the proxy's processes but the first."""
    main = f"systemctl show -p MainPID --value {world.front.unit}"
    return world.host.sh(f"pgrep -P $({main})").split()


def _wait_until_others_listen(world: World, workers: list[str]) -> float:
    """Returns a moment of `time.monotonic()` at which the reload had not ended yet.

    The workers of before take connections for a moment after a reload has been asked for.
    """
    deadline = time.monotonic() + PATIENCE_S
    looked = time.monotonic()
    while True:
        since, looked = looked, time.monotonic()
        listening = world.host.sh("ss -Hltnp sport = :443")
        if listening and not any(f"pid={worker}," in listening for worker in workers):
            return since
        assert time.monotonic() < deadline, listening
        time.sleep(1.0)  # each look costs a process on one of many hosts


@contextmanager
def _opened(world: World) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        connections = [stack.enter_context(world.open("/ws")) for _ in range(COUNT)]
        for connection in connections:
            echoed(connection)
        yield connections


@contextmanager
def _watched(connections: list[Client]) -> Iterator[tuple[list[Future[float]], Event]]:
    """When each ends, as `time.monotonic()`; `math.inf` if it answers after the event is set.

    The cap may end it while a busy machine still waits for the reload, so each has a thread.
    """
    enough = Event()
    with ThreadPoolExecutor(len(connections)) as pool:
        try:
            yield [pool.submit(_end_of, connection, enough) for connection in connections], enough
        finally:
            enough.set()


def _end_of(connection: Client, enough: Event) -> float:
    while not enough.is_set():
        try:
            connection.recv(timeout=1.0)
        except TimeoutError:
            continue
        except (ConnectionClosed, OSError):
            return time.monotonic()
    return math.inf if _answers(connection) else time.monotonic()


def _answers(connection: Client) -> bool:
    """Whether it still brings back what is sent."""
    with suppress(ConnectionClosed, OSError):
        connection.send("are you there?")
        return connection.recv() == "are you there?"
    return False
