"""What a plan starts, and where that listens. Pure.

A service declares its ports and sockets with ``listens``; `None` if it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from deployer.plan.model import Change, Plan
from deployer.proxies import BY_UNIT, CONFIG_TESTS
from deployer.proxies.roles import ASKED_PACKAGES
from deployer.sites.model import Site, Upstream

if TYPE_CHECKING:
    from deployer.agent.replies import Holder

#: The folder of a release, where it is built.
_RELEASE = re.compile(r"/releases/[0-9a-f]{12}(/|$)")
#: Where a proxy, a socket unit or a server is made to listen: nginx, Apache, HAProxy, systemd.
_LISTENS = r"(?mi)^\s*(?:listen|bind|ListenStream)\b[\s=][^#;\n]*(?<![0-9]){}(?![0-9])"


def started_services(plan: Plan) -> dict[str, tuple[str, ...] | None]:
    """The services that `plan` starts or restarts, with what they declare; no proxies."""
    listens = {_unit(change.name): _listens(change) for change in plan.changes if _runs(change)}
    starts = [_unit(change.name) for change in plan.changes if _starts(change)]
    starts += [
        _unit(run.handler.unit)
        for run in plan.handlers
        if run.handler.action in ("start", "restart")
    ]
    return {unit: listens.get(unit) for unit in starts if unit not in BY_UNIT}


def may_start_more(plan: Plan) -> bool:
    """Whether `plan` may start services on ports that it does not declare."""
    undeclared = any(
        listens is None and not unit.endswith(".timer")
        for unit, listens in started_services(plan).items()
    )
    changed = [
        change for change in plan.changes if change.action != "no-op" and change.after is not None
    ]
    return (
        undeclared
        or any(change.kind == "command" and not _only_prepares(change) for change in changed)
        or any(change.kind == "package" and change.name not in ASKED_PACKAGES for change in changed)
        or any(run.handler.action == "run" for run in plan.handlers)
    )


def _only_prepares(change: Change) -> bool:
    """Whether a command is a proxy's own test, the build of a release, or one of deployer's."""
    after = change.after or {}
    argv = [str(word) for word in after.get("argv") or ("",)]
    return (
        argv[0] in {test[0] for test in CONFIG_TESTS.values()}
        or any(word.startswith("/opt/deployer/") for word in argv)
        or _RELEASE.search(str(after.get("chdir") or "")) is not None
    )


def is_started_by(plan: Plan, upstream: Upstream) -> bool:
    """Whether `plan` starts the service of `upstream`, or makes a proxy listen there."""
    declared = [each for listens in started_services(plan).values() for each in listens or ()]
    if (upstream.socket or str(upstream.port)) in declared:
        return True
    where = re.escape(upstream.socket) if upstream.socket else str(upstream.port)
    pattern = re.compile(_LISTENS.format(where))
    return any(
        pattern.search(change.after_content.decode("utf-8", "replace"))
        for change in plan.changes
        if change.action != "no-op" and change.after_content
    )


def asked_endpoints(plan: Plan, sites: Sequence[Site]) -> list[dict[str, object]]:
    """Where services of `plan` will listen, or new ones may, as for the request `holders`."""
    started = started_services(plan)
    declared = dict.fromkeys(each for listens in started.values() for each in listens or ())
    found: list[dict[str, object]] = [
        {"socket": each} if each.startswith("/") else {"port": int(each)} for each in declared
    ]
    new = [_unit(change.name) for change in plan.changes if _starts(change)]
    if any(unit in started and started[unit] is None for unit in new):
        found += [
            endpoint_of(upstream)
            for upstream in upstreams_of(sites)
            if (upstream.socket or str(upstream.port)) not in declared
        ]
    return found


def upstreams_of(sites: Iterable[Site]) -> tuple[Upstream, ...]:
    """Every upstream of `sites`, once."""
    every = (each for site in sites for route in site.routes for each in route.upstreams)
    return tuple(dict.fromkeys(every))


def endpoint_of(upstream: Upstream) -> dict[str, object]:
    """The endpoint of `upstream`, as for the request `holders`."""
    if upstream.socket:
        return {"socket": upstream.socket}
    return {"host": upstream.host, "port": upstream.port}


def holder_notes(
    plan: Plan,
    endpoints: Sequence[Mapping[str, object]],
    holders: Sequence[Sequence[Holder]],
) -> Iterator[str]:
    """A note on each endpoint that a process of a different unit holds."""
    started = started_services(plan)
    order = {_unit(change.name): n for n, change in enumerate(plan.changes) if _runs(change)}
    stops = {_unit(change.name): n for n, change in enumerate(plan.changes) if _stops(change)}
    for endpoint, found in zip(endpoints, holders, strict=True):
        where = str(endpoint.get("socket") or endpoint["port"])
        for_it = [unit for unit, listens in started.items() if where in (listens or ())]
        own = for_it or started
        others = [
            each
            for each in found
            if _unit(each["unit"]) not in own and _unit(each["starts"]) not in own
        ]
        for each in others:
            held = f"{_place(where)} is held by {holder_words(each)}"
            stopped_at = stops.get(_unit(each["unit"]))
            yield held + _end_of_note(for_it, stopped_at, order)


def _place(where: str) -> str:
    return where if where.startswith("/") else f"port {where}"


def _end_of_note(for_it: Sequence[str], stopped_at: int | None, order: Mapping[str, int]) -> str:
    """What follows from a held port for the services that need it."""
    names = " and ".join(for_it)
    if stopped_at is not None:
        if any(order.get(unit, stopped_at) < stopped_at for unit in for_it):
            return (
                f", which this plan stops only after it starts {names}: stop it in an earlier play"
            )
        return ", which this plan stops"
    if for_it:
        return f": {names} cannot listen there until that process ends"
    return ", which this plan does not start: no service of this plan can listen there"


def holder_words(holder: Holder) -> str:
    """``python3 (process 812 of old.service)``."""
    place = f"process {holder['pid']}" + (f" of {holder['unit']}" if holder["unit"] else "")
    return f"{holder['process'] or 'a process'} ({place})"


def _unit(name: str) -> str:
    return name.removesuffix(".service")


def _listens(change: Change) -> tuple[str, ...] | None:
    listens = (change.after or {}).get("listens")
    return None if listens is None else tuple(listens)


def _runs(change: Change) -> bool:
    return change.kind == "service" and bool((change.after or {}).get("active"))


def _starts(change: Change) -> bool:
    return _runs(change) and not (change.before or {}).get("active")


def _stops(change: Change) -> bool:
    if change.kind == "package":
        return change.action == "delete"
    was_active = change.kind == "service" and bool((change.before or {}).get("active"))
    return was_active and (change.after is None or change.after.get("active") is False)
