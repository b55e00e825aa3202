"""The effect of an apply on WebSocket connections that were open through a proxy. Pure.

Canaries are test connections, held through the proxy while it is reloaded, restarted or stopped.
Each route also has twins, connections held directly to its service: if one ends at the same moment,
the service has ended both. A Close frame comes from the service too, as no proxy sends its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deployer.model import CheckResult, Finding
from deployer.plan.model import ForecastAction
from deployer.proxies import BY_UNIT

Fate = Literal["survived", "closed", "reset", "silent", "unknown"]
#: Who ended a connection; the proxy, if the twin at the service survived.
By = Literal["", "service", "proxy", "someone"]

#: The name of the check for canaries.
CHECK_NAME = "survival"

#: If a canary and its twin end within this time, they have the same reason.
_SAME_MOMENT_S = 3.0
_DRAIN_SLACK_S = 2.5
#: Longer drains are not mentioned.
_SHOWN_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a held connection ended, `after_s` seconds after the proxy was signalled."""

    how: Literal["closed", "reset"]
    after_s: float
    words: str
    close_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A held connection at the end: it `answers`, or has `ended`; if neither, it hangs."""

    answers: bool
    ended: Ended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """The outcome of one canary; `after_s` is `None` for one that has not ended."""

    fate: Fate
    by: By = ""
    close_code: int | None = None
    after_s: float | None = None
    words: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether it was lost, and not ended by the service."""
        return self.by in ("proxy", "someone")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSurvival:
    """The canaries of one WebSocket route, and what befell the proxy of `unit` that served them.

    After a reload they live for `drain_s` at most, `None` where that has no limit. `note` says why
    there are none.
    """

    site: str
    path: str
    unit: str
    action: ForecastAction
    is_required: bool
    drain_s: float | None = None
    canaries: tuple[Canary, ...] = ()
    note: str = ""

    @property
    def lost(self) -> tuple[Canary, ...]:
        """The canaries that the change has ended."""
        return tuple(canary for canary in self.canaries if canary.is_lost)

    def count(self, fate: Fate) -> int:
        """The number of canaries with this fate."""
        return sum(canary.fate == fate for canary in self.canaries)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSockets:
    """Clients' connections to the proxy other than ours, identified by their addresses and ports.

    Of `connections` before, `still_open` are there afterwards. `are_websockets` says that all were
    upgraded ones: else there are some without a request under way, which end at every reload.
    """

    connections: int
    still_open: int
    are_websockets: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """What a change of proxies did to the connections that were open through them.

    `affected` has their units and what was done to each; `others` is `None` if they could not
    be examined.
    """

    affected: Mapping[str, ForecastAction]
    routes: tuple[RouteSurvival, ...]
    others: OtherSockets | None = None


def canary_from(seen: Seen, *, twins: Sequence[Seen], link_lost: bool = False) -> Canary:
    """The outcome of a canary, and who caused it.

    `twins` are the connections straight to its service, one for each of its addresses.
    """
    ended = seen.ended
    if ended is not None and ended.how == "closed":
        return Canary(
            fate="closed",
            by="service",
            close_code=ended.close_code,
            after_s=ended.after_s,
            words=ended.words,
        )
    if link_lost:
        return Canary(fate="unknown", words="the way to the host was lost")
    if ended is not None:
        by = _by(twins, ended.after_s)
        return Canary(fate="reset", by=by, after_s=ended.after_s, words=ended.words)
    if seen.answers:
        return Canary(fate="survived")
    return Canary(fate="silent", by=_by(twins, None), words="answers no ping any more")


def _by(twins: Sequence[Seen], after_s: float | None) -> By:
    """Who ended a canary at `after_s`, or makes it hang (`None`)."""
    if any(_is_as_bad(twin, after_s) for twin in twins):
        return "service"
    return "proxy" if twins and all(twin.answers for twin in twins) else "someone"


def _is_as_bad(twin: Seen, after_s: float | None) -> bool:
    if after_s is None:
        return twin.ended is None and not twin.answers
    return twin.ended is not None and abs(twin.ended.after_s - after_s) <= _SAME_MOMENT_S


# --- as a check -----------------------------------------------------------------------------------


def survival_checks(survival: Survival) -> tuple[CheckResult, ...]:
    """One result for each route that had canaries; a lost one fails it where the site says so.

    Of findings that say the same, the first alone is kept.
    """
    results: list[CheckResult] = []
    reported: set[tuple[bool, str]] = set()
    for route in survival.routes:
        if not route.canaries:
            continue
        finding = _finding(route) if route.lost else None
        if finding is not None:
            key = (route.is_required, finding.cause)
            finding = None if key in reported else finding
            reported.add(key)
        results.append(
            CheckResult(
                site=route.site,
                name=CHECK_NAME,
                target=route.path,
                hop="proxy",
                ok=not (route.lost and route.is_required),
                detail=route_words(route),
                finding=finding,
            )
        )
    return tuple(results)


def route_words(route: RouteSurvival) -> str:
    """``5 of 5 open connections survived the reload of nginx``, and what became of the others."""
    total, survived = len(route.canaries), route.count("survived")
    words = f"{survived} of {total} open connections survived the {_action(route)}"
    drain_s = route.drain_s
    if survived and route.action == "reload" and drain_s is not None and drain_s <= _SHOWN_DRAIN_S:
        words += f", whose drain ends them after {drain_s:g} s"
    return "; ".join([words, *_losses(route)])


def _action(route: RouteSurvival) -> str:
    return f"{route.action} of {route.unit}"


def _losses(route: RouteSurvival) -> list[str]:
    by_service = [canary for canary in route.canaries if canary.by == "service"]
    said = []
    if by_service:
        said.append(f"{len(by_service)} ended by the service itself {_how(by_service)}")
    if route.lost:
        said.append(f"{len(route.lost)} lost {_how(route.lost)}")
    unknown = route.count("unknown")
    if unknown:
        said.append(f"of {unknown} nothing is known: the way to the host was lost")
    return said


def _how(canaries: Sequence[Canary]) -> str:
    """``(reset after 0.3 s)``, ``(closed with code 1001 after 0.1 to 0.4 s)``."""
    groups: dict[str, list[float]] = {}
    for canary in canaries:
        word = f"closed with code {canary.close_code}" if canary.close_code else canary.fate
        groups.setdefault(word, []).extend([] if canary.after_s is None else [canary.after_s])
    return "(" + ", ".join(f"{word}{_moments(times)}" for word, times in groups.items()) + ")"


def _moments(times: Sequence[float]) -> str:
    if not times:
        return ""
    first, last = f"{min(times):.1f}", f"{max(times):.1f}"
    if max(times) < 0:
        return f" {-max(times):.1f} s before"
    return f" after {first} s" if first == last else f" after {first} to {last} s"


def _finding(route: RouteSurvival) -> Finding:
    total, lost = len(route.canaries), route.lost
    place = f"{route.site}{route.path}"
    cause, fix = _cause(route)
    return Finding(
        code="canary-lost",
        hop="proxy",
        severity="error" if route.is_required else "warning",
        symptom=f"{len(lost)} of {total} WebSocket connections that were held through the proxy on "
        f"{place} did not survive the {_action(route)} {_how(lost)}; clients see 1006",
        cause=cause,
        fix=fix,
        evidence="\n".join(dict.fromkeys(canary.words for canary in lost if canary.words)),
    )


def _cause(route: RouteSurvival) -> tuple[str, str]:
    unit, lost, drain_s = route.unit, route.lost, route.drain_s
    if route.action != "reload":
        is_restart = route.action == "restart"
        cause = f"this change {'restarts' if is_restart else 'stops'} {unit}, which ends every "
        fix = f"Notify a handler that reloads {unit}" if is_restart else f"Keep {unit} running"
        fix += ", or make this change when no client is connected, without require_survival."
        return f"{cause}connection that it holds", fix
    times = [canary.after_s for canary in lost if canary.after_s is not None]
    if drain_s is not None and times and _are_drained(times, drain_s):
        cause = f"the drain of {drain_s:g} s ends what an earlier configuration has open"
        fix = "Give `drain:` a time that is longer than any session, such as 1h"
        if BY_UNIT[unit].traits.drain is not None:
            fix += "; the reload that sets it still applies the former one, so do that once without"
            fix += " require_survival"
        fix += "."
        return cause, fix
    if any(canary.by == "someone" for canary in lost):
        cause = f"{unit} or the service closed them: no direct connection to the service was open "
        cause += "to show which"
        return cause, f"Look at the logs of {unit} and of the service at that moment."
    cause = (
        f"{unit} closed them at its reload, while the direct connection to the service stayed open"
    )
    return (
        cause,
        f"Read its log (journalctl -u {unit}), and check what its reload does.",
    )


def _are_drained(times: Sequence[float], drain_s: float) -> bool:
    return min(times) >= drain_s - 0.5 and max(times) <= drain_s + _DRAIN_SLACK_S


# --- words and JSON -------------------------------------------------------------------------------


def others_words(survival: Survival) -> str:
    """The outcome of the other open connections, in a sentence; empty if there were none."""
    others = survival.others
    if others is None or not others.connections:
        return ""
    kind = "WebSocket connections" if others.are_websockets else "connections"
    actions = " and ".join(f"{action} of {unit}" for unit, action in survival.affected.items())
    words = f"{others.still_open} of {others.connections} other open {kind} are still there after "
    words += f"the {actions}"
    is_mild = set(survival.affected.values()) == {"reload"}
    if others.still_open < others.connections and is_mild and not others.are_websockets:
        words += " (idle ones, without a request under way, end at every reload)"
    return words


def note_lines(survival: Survival) -> Iterator[str]:
    """Why a route had no canaries, in a sentence each."""
    for route in survival.routes:
        if route.note:
            yield f"no canaries on {route.site}{route.path}: {route.note}"


def survival_json(survival: Survival) -> dict[str, object]:
    """The value of ``canaries`` in ``--json``."""
    others = survival.others
    return {
        "affected": dict(survival.affected),
        "routes": [_route_json(route) for route in survival.routes],
        "others": None
        if others is None
        else {
            "connections": others.connections,
            "still_open": others.still_open,
            "are_websockets": others.are_websockets,
        },
    }


def _route_json(route: RouteSurvival) -> dict[str, object]:
    return {
        "site": route.site,
        "path": route.path,
        "unit": route.unit,
        "action": route.action,
        "required": route.is_required,
        "drain_s": route.drain_s,
        "opened": len(route.canaries),
        "survived": route.count("survived"),
        "ended_by_service": sum(canary.by == "service" for canary in route.canaries),
        "lost": len(route.lost),
        "unknown": route.count("unknown"),
        **({"note": route.note} if route.note else {}),
        "canaries": [
            {
                "fate": canary.fate,
                "by": canary.by or None,
                "close_code": canary.close_code,
                "after_s": None if canary.after_s is None else round(canary.after_s, 2),
            }
            for canary in route.canaries
        ],
    }
