"""Batches: their sizes, who is in which, and when a run stops."""

from __future__ import annotations

import pytest

from deployer.commit.outcome import HostReport, State
from deployer.model import Host, Play
from deployer.run.batches import batches


def hosts(count: int, prefix: str = "web") -> list[Host]:
    return [Host(name=f"{prefix}{number}", hostname="127.0.0.1") for number in range(count)]


@pytest.mark.parametrize(
    ("serial", "sizes"),
    [
        ((), [10]),
        ((3,), [3, 3, 3, 1]),
        (("30%",), [3, 3, 3, 1]),
        (("1%",), [1] * 10),
        ((1, "50%"), [1, 5, 4]),
        ((100,), [10]),
    ],
)
def test_sizes(serial: tuple[int | str, ...], sizes: list[int]) -> None:
    play = Play(name="p", hosts="all", serial=serial)
    assert [len(batch.hosts) for batch in batches([(play, hosts(10))])] == sizes


def test_a_host_of_two_plays_is_in_the_batch_of_the_first() -> None:
    first = Play(name="first", hosts="all", serial=(2,))
    second = Play(name="second", hosts="all")
    three = hosts(3)
    found = list(batches([(first, three[:2]), (second, three)]))
    assert [[host.name for host in batch.hosts] for batch in found] == [["web0", "web1"], ["web2"]]


def reports(*states: State) -> list[HostReport]:
    return [HostReport(host=f"h{number}", state=state) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("allowed", "states", "stops"),
    [
        (0, ("confirmed", "unchanged"), False),
        (0, ("confirmed", "reverted"), True),
        (50, ("confirmed", "unreachable"), False),
        (49, ("confirmed", "unreachable"), True),
        (100, ("reverted", "reverted"), False),
    ],
)
def test_when_a_batch_stops_the_run(allowed: float, states: tuple[State, ...], stops: bool) -> None:
    play = Play(name="p", hosts="all", max_fail_percentage=allowed)
    (batch,) = batches([(play, hosts(2))])
    assert batch.stops_the_run(reports(*states)) is stops
