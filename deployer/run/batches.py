"""The order in which hosts are changed: `serial` batches, and when a failure stops the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deployer.commit.outcome import HostReport
from deployer.model import Host, Play


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Hosts that are changed at the same time, and how many of them may fail, in per cent."""

    hosts: tuple[Host, ...]
    max_fail_percentage: float = 0.0

    def stops_the_run(self, reports: Iterable[HostReport]) -> bool:
        """Whether too many hosts failed; as in Ansible, the percentage must be exceeded."""
        failed = sum(report.has_failed for report in reports)
        return failed * 100 > self.max_fail_percentage * len(self.hosts)


def batches(plays: Sequence[tuple[Play, Sequence[Host]]]) -> Iterator[Batch]:
    """The batches of a playbook, each host once.

    A host in several plays gets all of them in one commit, in the order of the plays, with the
    batch of the first: a failure then rolls back everything, not only the last play.
    """
    done: set[str] = set()
    for play, hosts in plays:
        left = [host for host in hosts if host.name not in done]
        done.update(host.name for host in left)
        for size in _sizes(play.serial, len(left)):
            yield Batch(hosts=tuple(left[:size]), max_fail_percentage=play.max_fail_percentage)
            left = left[size:]


def _sizes(serial: Sequence[int | str], total: int) -> Iterator[int]:
    """Numbers and percentages as sizes; the last one repeats until no host is left."""
    steps = list(serial) or [total]
    left, position = total, 0
    while left > 0:
        size = min(left, _size(steps[min(position, len(steps) - 1)], total))
        yield size
        left -= size
        position += 1


def _size(step: int | str, total: int) -> int:
    if isinstance(step, str) and step.endswith("%"):
        return max(1, math.floor(total * float(step[:-1]) / 100))
    return max(1, int(step))
