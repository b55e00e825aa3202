"""The times of each handshake, as bars on one scale. Pure.

Expected refusals are left out; unexpected ones are shown up to the phase that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deployer.model import Document
from deployer.report.page.marks import is_open

#: The phases in their order, with their titles.
PHASES: Mapping[str, str] = {
    "dns": "DNS",
    "connect": "TCP",
    "tls": "TLS",
    "upgrade": "upgrade",
    "first_message": "first message",
    "ping": "ping",
}
_MOST_ROWS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One phase: its start and its length, in percent of the scale."""

    phase: str
    left: float
    width: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One handshake; `name` is that of its check, empty if it is just ``handshake``."""

    label: str
    hop: str
    name: str
    is_ok: bool
    bars: tuple[Bar, ...]
    total: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """Handshakes on one scale, its ticks (percent, label), and the phases that occur."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    phases: tuple[tuple[str, str], ...]
    left_out: int


def waterfall_of(checks: Sequence[Mapping[str, object]]) -> Waterfall | None:
    """The waterfall of one site's checks; `None` if no handshake was timed."""
    relevant = (check for check in checks if is_open(check) or not check["ok"])
    timed = [check for check in relevant if _timings(check)]
    if not timed:
        return None
    shown = timed[:_MOST_ROWS]
    longest_s = max(sum(_timings(check).values()) for check in shown)
    scale_s = _rounded(longest_s)
    occurring = {phase for check in shown for phase in _timings(check)}
    return Waterfall(
        rows=tuple(_row(check, scale_s) for check in shown),
        ticks=tuple(
            (25.0 * quarter, _words(scale_s * quarter / 4) if quarter else "0")
            for quarter in range(5)
        ),
        phases=tuple((phase, words) for phase, words in PHASES.items() if phase in occurring),
        left_out=len(timed) - len(shown),
    )


def _timings(check: Document) -> dict[str, float]:
    handshake = check.get("handshake") or {}
    times = handshake.get("timings_s", {})
    return {phase: float(times[phase]) for phase in PHASES if phase in times}


def _row(check: Mapping[str, object], scale_s: float) -> Row:
    name = str(check["name"])
    return Row(
        label=str(check["target"]),
        hop=str(check["hop"]),
        name=name if name != "handshake" else "",
        is_ok=bool(check["ok"]),
        bars=tuple(_bars(_timings(check), scale_s)),
        total=_words(sum(_timings(check).values())),
    )


def _bars(timings: Mapping[str, float], scale_s: float) -> Iterator[Bar]:
    began_s = 0.0
    for phase, seconds in timings.items():
        yield Bar(
            phase=phase,
            left=round(100 * began_s / scale_s, 2),
            width=round(100 * seconds / scale_s, 2),
            words=f"{PHASES[phase]} {_words(seconds)}",
        )
        began_s += seconds


def _rounded(seconds: float) -> float:
    """`seconds` rounded up to 1, 2, 4 or 8 times a power of ten, so that quarters are round."""
    scale = 0.001
    while True:
        for factor in (1, 2, 4, 8):
            if factor * scale >= seconds:
                return factor * scale
        scale *= 10


def _words(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:g} s" if seconds == round(seconds) else f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
