"""Tables of the measurements of `verify --idle` and `verify --load`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from deployer.proxies import PROXIES
from deployer.verify.judge.idle import outcome_words

if TYPE_CHECKING:
    from deployer.load.figures import Percentiles
    from deployer.load.result import LoadResult
    from deployer.proxies.limits import Limit
    from deployer.verify.idle import IdleResult
    from deployer.verify.probe.idle import IdleOutcome

Row = Sequence[tuple[str, str]]

_STYLES = {"cut": "late", "failed": "bad", "interrupted": "bad", "skipped": "note"}
_PHASES = {"connect": "TCP", "tls": "TLS", "upgrade": "upgrade", "all": "handshake"}
_FAILED_AT = {"connect": "TCP", "tls": "TLS", "upgrade": "handshake", "open": "open", "own": "here"}
_LABEL = 12
#: A limit that is used to this extent is highlighted.
_TIGHT = 0.8


def idle_rows(results: Iterable[IdleResult], host: str, *, width: int) -> Iterator[Row]:
    """A table for each route: the measured and the configured idle timeout of each hop."""
    for result in results:
        ping = result.ping_interval_s
        keys = f"idle_timeout {_time(result.idle_timeout_s)}, "
        keys += f"ping_interval {_time(ping)}" if ping is not None else "no ping_interval"
        yield [(f"{host}{result.site}{result.path}  ", "title"), (f"playbook: {keys}", "note")]
        for silence in result.hops:
            yield from _hop_rows(result, silence, width)
        yield [("  ", ""), *_verdict(result)]
        yield []


def _hop_rows(result: IdleResult, silence: IdleOutcome, width: int) -> Iterator[Row]:
    configured = result.configured_at(silence.hop)
    words = outcome_words(silence)
    style = _STYLES.get(silence.outcome, "good")
    if silence.outcome == "skipped":
        words = f"skipped: {words}"
    about = ""
    if configured is not None:
        about = str(configured) if configured.directive else "no idle timeout"
    line = f"  {silence.hop:<8} {words}"
    if about and len(line) + 3 + len(about) > width:
        yield [(f"  {silence.hop:<8} ", ""), (words, style)]
        line = f"  {'':<8} configured: {about}"
        if configured is None or len(line) <= width:
            yield [(line, "note")]
        else:  # a long path is not wrapped
            yield [(f"  {'':<8} configured: {configured.directive}", "note")]
            pad = 11 if 11 + len(configured.file) <= width else 2
            yield [(f"{'':<{pad}}{configured.file}", "note")]
        return
    yield [
        (f"  {silence.hop:<8} ", ""),
        (f"{words:<38} " if about else words, style),
        (about, "note"),
    ]


def _verdict(result: IdleResult) -> Row:
    """The hop with the shortest idle timeout, and what keeps connections open."""
    shortest, interval_s = result.shortest, result.measured_interval_s
    if shortest is not None:
        return [
            ("shortest: ", ""),
            (f"{shortest.hop}, {shortest.seconds:.1f} s", "late"),
            (f"; the service sends every {interval_s:.1f} s" if interval_s else "", ""),
        ]
    if interval_s is not None:
        return [(f"no hop cuts: the service sends every {interval_s:.1f} s", "")]
    if any(each.signs for each in result.hops):
        return [("no hop cuts: the service sends occasionally", "")]
    longest_s = max((each.seconds for each in result.hops), default=0.0)
    return [(f"no hop cut within {longest_s:.0f} s", "")]


def load_rows(results: Iterable[LoadResult], host: str, *, width: int) -> Iterator[Row]:
    """A table for each site: the connections opened, their times and losses, and the limits."""
    for result in results:
        figures, name = result.figures, PROXIES[result.proxy].title
        asked = f"{figures.asked:,} connections at {result.rate_per_s:g}/s to {result.address}"
        yield [(f"{host}{result.site}  ", "title"), (f"{asked}, {name}", "note")]
        all_open = figures.opened == figures.asked
        yield _row(
            "open",
            f"{figures.opened:,} of {figures.asked:,} in {figures.ramp_s:.1f} s",
            "good" if all_open else "bad",
        )
        for group in figures.failed:
            yield _row(
                "failed",
                f"{group.count:,} × {group.words} ({_FAILED_AT[group.phase]}), the first with"
                f" {group.at_open:,} open",
                "bad",
            )
        if figures.stopped:
            yield _row("stopped", f"{figures.stopped}: no further connections were tried", "late")
        yield from _spread_rows(result)
        yield from _held_rows(result)
        yield from _limit_rows(result, width)
        for note in result.notes:
            yield _row("note", note, "note")
        yield []


def _spread_rows(result: LoadResult) -> Iterator[Row]:
    figures = result.figures
    spreads: list[tuple[str, Percentiles]] = [
        (words, figures.opening[phase])
        for phase, words in _PHASES.items()
        if phase in figures.opening
    ]
    if figures.pings is not None:
        spreads.append(("ping", figures.pings))
    if spreads:
        heads = "".join(f"{word:>10}" for word in ("p50", "p90", "p99", "max"))
        yield [(f"  {'':<{_LABEL}}{heads}", "note")]
    for words, percentiles in spreads:
        values = (percentiles.p50, percentiles.p90, percentiles.p99, percentiles.most)
        yield [
            (f"  {words:<{_LABEL}}" + "".join(f"{_milliseconds(each):>10}" for each in values), "")
        ]
    if figures.late_s > 0.05:
        yield _row("note", f"this machine lagged by up to {_milliseconds(figures.late_s)}", "note")


def _held_rows(result: LoadResult) -> Iterator[Row]:
    figures, change = result.figures, result.change
    if change is not None:
        were = figures.open_at(change.at_s)
        later = sum(at_s >= change.at_s for at_s in figures.ended_at)
        name = PROXIES[result.proxy].title
        yield _row(
            change.what,
            f"{name} at {change.at_s:.1f} s, with {were:,} open: {were - later:,} stayed open",
            "good" if not later else "bad",
        )
    for group in figures.ended:
        yield _row(
            "lost",
            f"{group.count:,} × {group.words}, {group.first_s:.1f} to {group.last_s:.1f} s",
            "bad",
        )
    if figures.interrupted:
        yield _row("end", f"interrupted; {figures.most_open:,} were closed", "late")
    elif figures.opened:
        text = (
            f"{figures.answered:,} of {figures.opened:,} still answer after {figures.held_s:.1f} s"
        )
        yield _row("end", text, "good" if figures.answered == figures.opened else "bad")


def _limit_rows(result: LoadResult, width: int) -> Iterator[Row]:
    if not result.limits:
        return
    yield [(f"  {'limits':<{_LABEL}}{'WebSockets':>10}{'reached':>10}", "note")]
    for limit in result.limits:
        yield from _of_limit(limit, result.figures.most_open, width)


def _of_limit(limit: Limit, most_open: int, width: int) -> Iterator[Row]:
    part = most_open / limit.websockets if limit.websockets else 1.0
    name = f"  {limit.name}"
    numbers = f"{limit.websockets:>10,}{part:>10.0%}"
    style = "bad" if part >= 1 else "late" if part >= _TIGHT else ""
    place = f"  {limit.file}" if limit.file else ""
    lead = f"{'':<{_LABEL + 2}}"
    line = f"{lead}{numbers}{name}{place}"
    if len(line) <= width:
        yield [(f"{lead}{numbers}", style), (name, ""), (place, "note")]
        return
    yield [(f"{lead}{numbers}", style), (name, "")]
    yield [(f"{lead}{'':<20}{place}", "note")]


def _row(label: str, text: str, style: str) -> Row:
    return [(f"  {label:<{_LABEL}}", ""), (text, style)]


def _milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def _time(seconds: float) -> str:
    """``1h``, ``75s``: the notation of playbooks."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"
