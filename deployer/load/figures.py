"""The figures of a load, as plain values. Pure."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

#: How many groups of failures and losses are listed; the others are merged into one.
_MOST_GROUPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of times in seconds; `most` is the maximum."""

    count: int
    p50: float
    p90: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Connections that did not open for the same reason.

    `phase` is ``connect``, ``tls`` or ``upgrade``, or ``own`` if this machine was the limit;
    `at_open` is how many were open when the first of them failed, at `first_s`.
    """

    phase: str
    words: str
    count: int
    at_open: int
    first_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossGroup:
    """Open connections that were lost in the same way, between `first_s` and `last_s`.

    `silent_s` is the median of how long they had been idle.
    """

    words: str
    count: int
    first_s: float
    last_s: float
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one load; times are in seconds since its start.

    Of the `asked` connections, `tried` were attempted and `opened` opened; at most `most_open` were
    open at once. `stopped` says why no more were attempted. `opening` has `Percentiles` for
    ``connect``, ``tls``, ``upgrade`` and ``all``. At the end, `answered` connections answered a
    ping and `unanswered` did not answer in time. `late_s` is the longest delay of this machine's
    own event loop: shorter times mean little. `opened_at` and `ended_at` are sorted times at which
    connections opened and were lost.
    """

    asked: int
    tried: int
    opened: int
    most_open: int
    answered: int = 0
    unanswered: int = 0
    stopped: str = ""
    opening: Mapping[str, Percentiles] = field(default_factory=dict)
    pings: Percentiles | None = None
    failed: tuple[FailureGroup, ...] = ()
    ended: tuple[LossGroup, ...] = ()
    ramp_s: float = 0.0
    held_s: float = 0.0
    late_s: float = 0.0
    interrupted: bool = False
    opened_at: tuple[float, ...] = field(default=(), repr=False)
    ended_at: tuple[float, ...] = field(default=(), repr=False)

    @property
    def failures(self) -> int:
        """The number of connections that did not open."""
        return sum(group.count for group in self.failed)

    def open_at(self, moment_s: float) -> int:
        """Return how many connections were open at a time."""
        return bisect_right(self.opened_at, moment_s) - bisect_right(self.ended_at, moment_s)

    @property
    def losses(self) -> int:
        """The number of open connections that were lost."""
        return sum(group.count for group in self.ended)


def percentiles(values: Iterable[float]) -> Percentiles | None:
    """Return the percentiles of `values`; `None` if there are no values."""
    ordered = sorted(values)
    if not ordered:
        return None

    def at(part: float) -> float:
        return ordered[max(0, math.ceil(part * len(ordered)) - 1)]

    return Percentiles(count=len(ordered), p50=at(0.5), p90=at(0.9), p99=at(0.99), most=ordered[-1])


def failure_groups(failures: Sequence[tuple[str, str, int, float]]) -> tuple[FailureGroup, ...]:
    """Group failures (phase, words, open connections, time), the largest group first."""
    first: dict[tuple[str, str], tuple[int, float]] = {}
    for phase, words, at_open, at_s in failures:
        first.setdefault((phase, words), (at_open, at_s))
    counts = Counter((phase, words) for phase, words, _, _ in failures)
    groups = [
        FailureGroup(phase=phase, words=words, count=count, at_open=at_open, first_s=at_s)
        for (phase, words), count in counts.most_common()
        for at_open, at_s in [first[phase, words]]
    ]
    kept, rest = groups[:_MOST_GROUPS], groups[_MOST_GROUPS:]
    if rest:
        earliest = min(rest, key=lambda group: group.first_s)
        kept.append(
            FailureGroup(
                phase=earliest.phase,
                words="failed in other ways",
                count=sum(group.count for group in rest),
                at_open=earliest.at_open,
                first_s=earliest.first_s,
            )
        )
    return tuple(kept)


def loss_groups(losses: Sequence[tuple[str, float, float]]) -> tuple[LossGroup, ...]:
    """Group losses (words, time, idle time before), the largest group first."""
    counts = Counter(words for words, _, _ in losses)
    kept = [words for words, _ in counts.most_common(_MOST_GROUPS)]
    groups = [_loss_group(words, [each for each in losses if each[0] == words]) for words in kept]
    rest = [each for each in losses if each[0] not in kept]
    return tuple([*groups, _loss_group("ended in other ways", rest)] if rest else groups)


def _loss_group(words: str, losses: Sequence[tuple[str, float, float]]) -> LossGroup:
    moments = [at_s for _, at_s, _ in losses]
    return LossGroup(
        words=words,
        count=len(losses),
        first_s=min(moments),
        last_s=max(moments),
        silent_s=statistics.median(silent_s for _, _, silent_s in losses),
    )
