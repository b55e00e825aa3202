"""Measurements for a page: idle connections at each hop, and a load. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deployer.model import Document
from deployer.report.page.marks import Mark
from deployer.report.page.words import milliseconds, span

Json = Document

_OUTCOMES: Mapping[str, tuple[str, Mark]] = {
    "cut": ("cut after {} idle", "warn"),
    "open": ("still open after {}", "good"),
    "kept-awake": ("kept open by the service's pings", "good"),
    "failed": ("failed", "bad"),
    "skipped": ("skipped", "skip"),
    "interrupted": ("interrupted after {}", "skip"),
}
_PHASES = {"connect": "TCP", "tls": "TLS", "upgrade": "upgrade", "all": "handshake"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One bar: its name, its length in percent of the scale, and a text."""

    name: str
    mark: Mark
    percent: float
    words: str
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleView:
    """Idle connections of a route at each hop; `words` are its keys in the playbook."""

    place: str
    words: str
    hops: tuple[Gauge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadView:
    """A load on one site: its headline, a table of times, lost connections, and limits."""

    place: str
    mark: Mark
    words: str
    times: tuple[tuple[str, ...], ...]
    ends: tuple[str, ...]
    limits: tuple[Gauge, ...]


def idles_of(document: Sequence[Json]) -> tuple[IdleView, ...]:
    """The views of a host's ``idle``."""
    return tuple(_idle(route) for route in document)


def loads_of(document: Sequence[Json]) -> tuple[LoadView, ...]:
    """The views of a host's ``load``."""
    return tuple(_load(load) for load in document)


def _idle(route: Json) -> IdleView:
    longest_s = max((hop["seconds"] or 0.0 for hop in route["hops"]), default=0.0)
    texts = [f"idle_timeout {span(route['idle_timeout_s'])}"]
    if route["ping_interval_s"]:
        texts.append(f"ping_interval {span(route['ping_interval_s'])}")
    if route["measured_ping_interval_s"]:
        texts.append(f"the service pings every {span(route['measured_ping_interval_s'])}")
    configured = {each["hop"]: each for each in route["configured"] if "hop" in each}
    return IdleView(
        place=f"{route['site']}{route['path']}",
        words=", ".join(texts),
        hops=tuple(
            _idle_hop(hop, longest_s, configured.get(hop["hop"]), route["shortest"])
            for hop in route["hops"]
        ),
    )


def _idle_hop(hop: Json, longest_s: float, configured: Json | None, shortest: str) -> Gauge:
    words, mark = _OUTCOMES.get(hop["outcome"], (hop["outcome"], "skip"))
    seconds = hop["seconds"] or 0.0
    filled = hop["outcome"] in ("cut", "open", "kept-awake", "interrupted") and longest_s > 0
    more = str(hop.get("words") or "")
    if configured is not None:
        more = (
            f"{configured.get('directive') or ''}  {configured.get('file') or ''}".strip() or more
        )
    return Gauge(
        name=str(hop["hop"]) + (" · the shortest" if hop["hop"] == shortest else ""),
        mark=mark,
        percent=round(100 * seconds / longest_s, 1) if filled else 0.0,
        words=words.format(span(seconds)),
        more=more,
    )


def _load(load: Json) -> LoadView:
    whole = load["opened"] == load["asked"] and not load["failures"] and not load["losses"]
    words = f"{load['opened']:,} of {load['asked']:,} opened at {load['rate_per_s']:g}/s"
    return LoadView(
        place=str(load["site"]),
        mark="good" if whole else "bad",
        words=f"{words}, {load['most_open']:,} at once",
        times=tuple(_times(load)),
        ends=tuple(_ends(load)),
        limits=tuple(_limit(limit, load["most_open"]) for limit in load["limits"]),
    )


def _times(load: Json) -> Iterator[tuple[str, ...]]:
    spreads = {_PHASES.get(phase, phase): each for phase, each in load["opening"].items()}
    if load["pings"]:
        spreads["ping"] = load["pings"]
    for name, spread in spreads.items():
        keys = ("p50_s", "p90_s", "p99_s", "most_s")
        yield (name, *(milliseconds(spread[key]) or "0 ms" for key in keys))


def _ends(load: Json) -> Iterator[str]:
    if load["stopped"]:
        yield str(load["stopped"])
    for group in (*load["failed"], *load["ended"]):
        yield f"{group['count']:,}: {group['words']}"
    yield f"{load['answered_at_the_end']:,} still answer at the end"
    yield from map(str, load["notes"])


def _limit(limit: Json, most_open: int) -> Gauge:
    share = 100 * most_open / limit["websockets"] if limit["websockets"] else 100.0
    mark: Mark = "bad" if share >= 97 else "warn" if share >= 80 else "good"
    return Gauge(
        name=str(limit["name"]),
        mark=mark,
        percent=round(min(100.0, share), 1),
        words=f"{share:.0f}% of {limit['websockets']:,} WebSockets",
        more=str(limit["file"] or ""),
    )
