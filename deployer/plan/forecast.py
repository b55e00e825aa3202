"""Forecast the effect of a plan on open connections of a running proxy. Pure.

After a reload, a proxy's old workers keep their WebSocket connections for as long as its
configuration allows; a restart or a stop ends all of them. The connections are counted on the host,
so a forecast is not part of the approved plan: the number may differ a moment later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from deployer.plan.model import Change, Forecast, ForecastAction, Plan
from deployer.proxies import BY_UNIT
from deployer.sites.model import Site

if TYPE_CHECKING:
    from deployer.agent.replies import ConnectionsReply, UnitConnections

_UNITS = frozenset(BY_UNIT)
#: From the least to the most disruptive.
_ACTIONS: tuple[ForecastAction, ...] = ("reload", "restart", "stop")
_TIMES = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def loads_proxy(plan: Plan) -> bool:
    """Whether `plan` starts, reloads, restarts or stops a proxy."""
    starts = any(
        _proxy_of(change) and change.action != "no-op" and change.after for change in plan.changes
    )
    units = {run.handler.unit.removesuffix(".service") for run in plan.handlers}
    return starts or not _UNITS.isdisjoint(units)


def effects(plan: Plan) -> dict[str, ForecastAction]:
    """The most disruptive action on each proxy that may be running, by unit."""
    found: dict[str, ForecastAction] = {}
    for _, unit, action in _effects(plan):
        if _ACTIONS.index(action) >= _ACTIONS.index(found.get(unit, "reload")):
            found[unit] = action
    return found


def worst(affected: Mapping[str, ForecastAction]) -> str:
    """The unit with the most disruptive action."""
    return max(affected, key=lambda unit: _ACTIONS.index(affected[unit]))


def touching(plan: Plan) -> dict[str, tuple[str, ForecastAction]]:
    """The unit and the action for each change id or ``handler:NAME`` that affects a proxy."""
    return {place: (unit, action) for place, unit, action in _effects(plan)}


def forecasts(
    plan: Plan, *, connections: ConnectionsReply, sites: Sequence[Site]
) -> tuple[Forecast, ...]:
    """One forecast for each affected proxy with open WebSocket connections.

    `connections` is the reply to that request (docs/reference/protocol.md) about `effects`.
    """
    found = []
    for unit, action in effects(plan).items():
        about = connections["units"].get(unit)
        holding = [worker for worker in about["workers"] if worker["websockets"]] if about else []
        if about and holding:
            found.append(
                Forecast(
                    unit=unit,
                    action=action,
                    connections=sum(worker["websockets"] for worker in holding),
                    workers=len(holding),
                    drain_s=drain_s_of(unit, about, sites),
                )
            )
    return tuple(found)


def forecast_words(forecast: Forecast) -> str:
    """``this reload leaves 431 open WebSocket connections on 2 old workers for at most 1 h``."""
    number = f"{forecast.connections} open WebSocket connection{_s(forecast.connections)}"
    if forecast.action != "reload":
        action = "this restart" if forecast.action == "restart" else f"stopping {forecast.unit}"
        return f"{action} ends {number}"
    workers = f"{forecast.workers} old worker{_s(forecast.workers)}"
    drain = "as long as they last"
    if forecast.drain_s is not None:
        drain = f"at most {_time_words(forecast.drain_s)}"
    return f"this reload leaves {number} on {workers} for {drain}"


def by_place(plan: Plan) -> dict[str, Forecast]:
    """The forecasts by their cause: a change id or ``handler:NAME``."""
    forecasts = {(forecast.unit, forecast.action): forecast for forecast in plan.forecasts}
    places: dict[str, Forecast] = {}
    for place, unit, action in _effects(plan):
        forecast = forecasts.pop((unit, action), None)
        if forecast is not None:
            places[place] = forecast
    return places


def _effects(plan: Plan) -> Iterator[tuple[str, str, ForecastAction]]:
    """The cause (a change id or ``handler:NAME``), the unit and the action of each effect."""
    for change in plan.changes:
        unit = _proxy_of(change)
        if unit and _stops(change):
            yield change.resource_id, unit, "stop"
    for run in plan.handlers:
        unit = run.handler.unit.removesuffix(".service")
        for action in _ACTIONS:
            if unit in _UNITS and run.handler.action == action:
                yield f"handler:{run.handler.name}", unit, action


def _proxy_of(change: Change) -> str:
    """The unit of the proxy whose service or package changes; empty for other changes."""
    name = change.name.removesuffix(".service")
    return name if change.kind in ("service", "package") and name in _UNITS else ""


def _stops(change: Change) -> bool:
    if change.kind == "package":
        return change.action == "delete"
    was_active = bool((change.before or {}).get("active"))
    return was_active and (change.after is None or change.after.get("active") is False)


def drain_s_of(unit: str, about: UnitConnections, sites: Sequence[Site]) -> float | None:
    """The drain limit of a reload; `None` if there is none.

    It is part of the running configuration, as in `about`, or the reload itself applies the sites'.
    """
    proxy = BY_UNIT[unit]
    if proxy.traits.drain is not None:
        return about["drain_s"]
    drains = [site.drain_s for site in sites if site.proxy == proxy.name]
    capped = [drain for drain in drains if drain is not None]
    return max(capped) if capped and len(capped) == len(drains) else None


def _time_words(seconds: float) -> str:
    """``1 h``, ``1 h 30 min``, ``45 s``."""
    words, left = [], max(1, round(seconds))
    for unit, length in _TIMES:
        number, left = divmod(left, length)
        if number:
            words.append(f"{number} {unit}")
    return " ".join(words[:2])


def _s(number: int) -> str:
    return "" if number == 1 else "s"
