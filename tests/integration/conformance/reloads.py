"""What an apply and a reload do to open WebSockets, tried on all hosts at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed

from tests.integration.conformance.hosts import apply, write_site
from tests.integration.conformance.world import PLAIN, Front, World, echoed
from tests.support.clients.websocket import Client
from tests.support.waiting import PATIENCE_S, stretched

COUNT = 20
_MORE = '        - {path: /more, websocket: "http://127.0.0.1:9101"}\n'


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How many of `COUNT` still answered, and after how many seconds the cap ended each."""

    problem: str
    said: str
    after_apply: int
    serves_what_is_new: bool
    after_reload: int
    cut_after_s: list[float]
    drain_s: float
    later_ones: int


@contextmanager
def reloading(worlds: list[World]) -> Iterator[dict[Front, Future[Reloaded]]]:
    """Begins on all hosts."""
    with ThreadPoolExecutor(len(worlds)) as pool:
        yield {world.front: pool.submit(_reload, world) for world in worlds}


def _reload(world: World) -> Reloaded:
    drain_s = float(round(stretched(4.0)))  # longer than a reload and `COUNT` answers take
    with _opened(world) as before:
        write_site(world.folder, world.host, front=world.front, drain=f"{drain_s:g}s", more=_MORE)
        workers = _workers(world)
        with ThreadPoolExecutor(1) as pool:
            applying = pool.submit(apply, world.folder)
            # As soon as it has reloaded: Apache's cap is that of the new configuration.
            _wait_until_others_listen(world, workers, within_s=PATIENCE_S)
            after_apply = _answering(before)
            ran = applying.result()
        with world.open("/more", name=PLAIN, tls=False) as connection:
            serves_what_is_new = echoed(connection).target == "/more"

    with _opened(world) as before:
        workers = _workers(world)
        began = time.monotonic()
        world.host.exec(["systemctl", "reload", world.front.unit])
        after_reload = _answering(before)
        _wait_until_others_listen(world, workers, within_s=drain_s)
        with _opened(world) as later, ThreadPoolExecutor(COUNT) as pool:
            cut_after_s = list(pool.map(lambda connection: _end_of(connection, began), before))
            later_ones = _answering(later)
    return Reloaded(
        problem=f"exit code {ran.returncode}\n{ran.stdout}{ran.stderr}" if ran.returncode else "",
        said=ran.stdout,
        after_apply=after_apply,
        serves_what_is_new=serves_what_is_new,
        after_reload=after_reload,
        cut_after_s=cut_after_s,
        drain_s=drain_s,
        later_ones=later_ones,
    )


def _workers(world: World) -> list[str]:
    """The numbers of the proxy's processes but the first."""
    main = f"systemctl show -p MainPID --value {world.front.unit}"
    return world.host.sh(f"pgrep -P $({main})").split()


def _wait_until_others_listen(world: World, workers: list[str], *, within_s: float) -> None:
    """The workers of before take connections for a moment after a reload has been asked for."""
    deadline = time.monotonic() + within_s
    while True:
        listening = world.host.sh("ss -Hltnp sport = :443")
        if listening and not any(f"pid={worker}," in listening for worker in workers):
            return
        assert time.monotonic() < deadline, listening
        time.sleep(0.2)  # each look costs a process on one of many hosts


@contextmanager
def _opened(world: World) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        connections = [stack.enter_context(world.open("/ws")) for _ in range(COUNT)]
        for connection in connections:
            echoed(connection)
        yield connections


def _answering(connections: list[Client]) -> int:
    """How many still bring back what is sent."""
    count = 0
    for connection in connections:
        with suppress(ConnectionClosed, OSError):
            connection.send("are you there?")
            count += connection.recv() == "are you there?"
    return count


def _end_of(connection: Client, began: float) -> float:
    connection.ends_within(PATIENCE_S)
    return time.monotonic() - began
