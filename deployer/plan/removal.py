"""The removal of what is left over: resources that should be absent, and what stays. Pure.

Removed in reverse order of creation: services are stopped before their units and users go, folders
come after what is in them. Everything is restored if the commit is not confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployer.agent.kinds import thing
from deployer.model import Handler, Observation, Resource
from deployer.plan.leftovers import Leftovers, is_certificate, is_missing
from deployer.plan.wire import handler_from_json
from deployer.proxies import PROXIES
from deployer.sites.model import RemovedSite

if TYPE_CHECKING:
    from deployer.agent.replies import Managed, ManagedEntry
    from deployer.plan.desired import DesiredState

_ORDER = ("service", "link", "file", "directory", "user", "certificate", "package")
_LOADS = ("reload", "restart")
#: The reason of each change that removes what an earlier generation created.
REASON = "no longer in the playbook"
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The desired state with removals, the sites that go, and texts about what stays."""

    desired: DesiredState
    notes: tuple[str, ...] = ()


def without_leftovers(
    desired: DesiredState, leftovers: Leftovers, observations: Mapping[str, Observation]
) -> Removal:
    """`desired` with the removal of everything in `leftovers` that should be removed.

    Args:
        observations: by resource id; they include those of `Leftovers.probe_requests`.
    """
    entries = _ordered(leftovers.removed)
    going: dict[str, ManagedEntry] = {}
    notes: list[str] = []
    for entry in entries:
        seen = observations[entry["id"]]
        why = _why_it_stays(entry, seen, going)
        if why and entry.get("implicit"):
            continue
        if why:
            notes.append(f"{entry['id'].replace(':', ' ', 1)} stays: {why}")
        elif not is_missing(seen):
            going[thing(entry["id"])] = entry
    resources = [_resource(entry, stage=_last_stage(desired)) for entry in going.values()]
    handlers = {
        name: handler
        for name, handler in _handlers(going.values(), desired, leftovers.managed).items()
        if _is_active(handler, observations)
    }
    gone = [*going.values(), *leftovers.removed_by_tasks()]
    removed = _removed_sites(gone, desired, leftovers.managed)
    found = replace(
        desired,
        resources=(
            *desired.resources,
            *(
                replace(each, notify=tuple(name for name in each.notify if name in handlers))
                for each in resources
            ),
        ),
        handlers={**handlers, **desired.handlers},
        removed=removed,
        leaving=desired.leaving.union(*(site.names for site in removed)),
    )
    return Removal(desired=found, notes=tuple(notes))


def _is_active(handler: Handler, observations: Mapping[str, Observation]) -> bool:
    """Whether the unit of a handler runs: a reload would start it."""
    seen = observations.get(f"service:{handler.unit}")
    return seen is not None and bool((seen.attributes or {}).get("active"))


def _ordered(entries: Sequence[ManagedEntry]) -> list[ManagedEntry]:
    def place(numbered: tuple[int, ManagedEntry]) -> tuple[int, int, int]:
        number, entry = numbered
        kind, _, name = entry["id"].partition(":")
        depth = name.count("/") if kind == "directory" else 0
        return _ORDER.index(kind), -depth, -number

    known = [each for each in enumerate(entries) if each[1]["id"].partition(":")[0] in _ORDER]
    return [entry for _, entry in sorted(known, key=place)]


def _why_it_stays(entry: ManagedEntry, seen: Observation, going: Mapping[str, ManagedEntry]) -> str:
    """Why something is not removed although it should be; empty if it is, or if it is missing."""
    kind, _, name = entry["id"].partition(":")
    if seen.problem:
        return seen.problem
    found = seen.attributes
    if found is None or kind not in ("file", "link", "directory"):
        return ""
    if found["type"] != kind:
        return f"it is a {found['type']} now"
    if kind == "directory" and not entry.get("deep"):
        kept = [each for each in seen.entries if f"{name}/{each}" not in going]
        if kept:
            more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
            return f"it contains {', '.join(kept[:_NAMED])}{more}"
    return ""


def _resource(entry: ManagedEntry, *, stage: int) -> Resource:
    kind, _, name = entry["id"].partition(":")
    return Resource(
        kind=kind,
        name=name,
        attributes={"enabled": False, "active": False} if kind == "service" else None,
        notify=tuple(entry.get("notify", ())),
        stage=stage,
        reason=REASON,
        secret=entry.get("secret", False),
        site=entry.get("site", ""),
        if_empty=kind == "directory" and not entry.get("deep"),
    )


def _last_stage(desired: DesiredState) -> int:
    return max((resource.stage for resource in desired.resources), default=0)


def _handlers(
    entries: Iterable[ManagedEntry], desired: DesiredState, managed: Managed
) -> dict[str, Handler]:
    """The handlers that removals notify: those that load a configuration into what still runs.

    Units that stop do not load anything; a command may need what is being removed.
    """
    names = {name for entry in entries for name in entry.get("notify", ())}
    known = {
        **{name: handler_from_json(each) for name, each in managed["handlers"].items()},
        **desired.handlers,
    }
    stopped = {
        resource.name.removesuffix(".service")
        for resource in desired.resources
        if resource.kind == "service" and not (resource.attributes or {}).get("active", True)
    }
    stopped |= {
        entry["id"].partition(":")[2].removesuffix(".service")
        for entry in entries
        if entry["id"].startswith("service:")
    }
    return {
        name: known[name]
        for name in names
        if name in known
        and known[name].action in _LOADS
        and known[name].unit.removesuffix(".service") not in stopped
    }


def _removed_sites(
    entries: Iterable[ManagedEntry], desired: DesiredState, managed: Managed
) -> tuple[RemovedSite, ...]:
    """The sites that are removed, with those of their names that no other site has."""
    domains = dict.fromkeys(
        entry.get("site", "") for entry in entries if _is_of_serving_proxy(entry, managed)
    )
    served = {name for site in desired.sites for name in site.names}
    still = {site.domain for site in desired.sites}
    gone = [each for each in domains if each in managed["sites"] and each not in still]
    for domain, site in managed["sites"].items():
        if domain not in gone:
            served |= set(site["names"])
    found = []
    for domain in gone:
        site = managed["sites"][domain]
        names = tuple(name for name in site["names"] if name not in served)
        if names:
            found.append(
                RemovedSite(
                    domain=domain,
                    names=names,
                    has_tls=site["tls"],
                    paths=tuple(site["paths"]),
                    port=site.get("port"),
                    proxy_protocol=site.get("proxy_protocol", False),
                )
            )
    return tuple(found)


def _is_of_serving_proxy(entry: ManagedEntry, managed: Managed) -> bool:
    """Whether something is part of the proxy that serves its site now, not of a former one."""
    site = managed["sites"].get(entry.get("site", ""))
    if site is None or is_certificate(entry):
        return False
    units = [server.unit for name, server in PROXIES.items() if name == site["proxy"]]
    return all(unit in entry["id"] for unit in units)
