"""Open connections during a change, for a page: one dot for each held connection. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployer.model import Document
from deployer.report.page.marks import Mark

_FATES: Mapping[str, str] = {
    "survived": "survived",
    "closed": "closed",
    "reset": "reset",
    "silent": "no reply",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDots:
    """One route: its held connections as marks with tooltips, and a count."""

    place: str
    dots: tuple[tuple[Mark, str], ...]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivalView:
    """The actions by unit, the routes, and a summary of the host's other connections."""

    title: str
    routes: tuple[RouteDots, ...]
    others: str


def survival_of(document: Document | None) -> SurvivalView | None:
    """The view of a host's ``canaries``; `None` if none were held."""
    if document is None:
        return None
    others = document["others"]
    words = ""
    if others is not None and others["connections"]:
        kind = "WebSocket connections" if others["are_websockets"] else "connections"
        words = f"{others['still_open']:,} of {others['connections']:,} other {kind} still open"
    return SurvivalView(
        title=" and ".join(f"{done} of {unit}" for unit, done in document["affected"].items()),
        routes=tuple(_route(route) for route in document["routes"]),
        others=words,
    )


def _route(route: Document) -> RouteDots:
    words = str(route.get("note") or f"{route['survived']} of {route['opened']} survived")
    return RouteDots(
        place=f"{route['site']}{route['path']}",
        dots=tuple((_mark(canary), _words(canary)) for canary in route["canaries"]),
        words=words + (", but all were required to" if route["required"] and route["lost"] else ""),
    )


def _mark(canary: Document) -> Mark:
    if canary["fate"] == "survived":
        return "good"
    if canary["by"] in ("proxy", "someone"):
        return "bad"
    return "skip"


def _words(canary: Document) -> str:
    words = _FATES.get(str(canary["fate"]), str(canary["fate"]))
    if canary["close_code"] is not None:
        words += f" with code {canary['close_code']}"
    if canary["by"]:
        words += f" by the {canary['by']}" if canary["by"] != "someone" else ""
    return words if canary["after_s"] is None else f"{words} after {canary['after_s']:g} s"
