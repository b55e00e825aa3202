"""Compute a plan from desired and observed state. Pure; no other module decides on changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from deployer.agent.kinds import thing
from deployer.errors import ConflictError
from deployer.model import Attributes, Handler, Observation, Resource
from deployer.plan.lost_reloads import lost_reloads
from deployer.plan.model import Action, Change, HandlerRun, Owed, Plan
from deployer.plan.wire import sealed
from deployer.resources import KINDS, differing, holds_private_key
from deployer.resources.releases import with_removals


def make_plan(
    *,
    host: str,
    created_at: str,
    desired: Sequence[Resource],
    handlers: Mapping[str, Handler],
    observations: Mapping[str, Observation],
    unknowns: Sequence[str] = (),
    owed: Sequence[Owed] = (),
) -> Plan:
    """The plan that brings `host` from `observations` to `desired`.

    Changes keep the order of their tasks within each stage.

    Args:
        created_at: time of the plan, ISO 8601.
        observations: one for each desired resource, by resource id.
        handlers: by name.
        unknowns: texts about facts that cannot be known yet.
        owed: reloads and restarts that earlier runs did not complete.

    Raises:
        ConflictError: the state of the host prevents the plan; lists all conflicts.
    """
    ordered = sorted(desired, key=lambda resource: resource.stage)
    ordered, observations = with_removals(ordered, observations)
    cleared: set[tuple[str, int]] = set()
    conflicts = []
    for resource in ordered:
        text = _conflict(resource, observations[resource.id])
        if text and (resource.name, resource.stage - 1) not in cleared:
            conflicts.append(text)
        if resource.attributes is None:
            cleared.add((resource.name, resource.stage))
    if conflicts:
        raise ConflictError("\n".join(conflicts), host=host)
    changes = tuple(_changes(ordered, observations))
    unsafe = [
        _placed(resource, observations[resource.id].unsafe)
        for resource, change in zip(ordered, changes, strict=True)
        if change.action != "no-op" and observations[resource.id].unsafe
    ]
    if unsafe:
        raise ConflictError("\n".join(unsafe), host=host)
    notified = tuple(_handler_runs(ordered, changes, handlers))
    lost = lost_reloads(ordered, handlers, observations, notified=notified, owed=owed)
    return sealed(
        Plan(
            host=host,
            created_at=created_at,
            changes=changes,
            handlers=(*notified, *lost),
            unknowns=(*unknowns, *_unknowns(changes)),
        )
    )


def reload_plan(*, host: str, created_at: str, handlers: Mapping[str, Handler]) -> Plan:
    """A plan without changes that reloads each proxy after its config test."""
    reloads = tuple(
        HandlerRun(handler=handler, stage=0, because=())
        for handler in handlers.values()
        if handler.action == "reload" and handler.config_test
    )
    return sealed(Plan(host=host, created_at=created_at, changes=(), handlers=reloads))


def _conflict(resource: Resource, observation: Observation) -> str:
    text = observation.problem or KINDS[resource.kind].conflict(resource, observation)
    return _placed(resource, text) if text else ""


def _placed(resource: Resource, text: str) -> str:
    return f"{resource.source}: {text}" if resource.source else text


def _changes(
    resources: Iterable[Resource], observations: Mapping[str, Observation]
) -> Iterable[Change]:
    """One change per resource and stage; a later stage starts from the earlier one's result."""
    latest: dict[str, Change] = {}
    for resource in resources:
        observation = observations[resource.id]
        earlier = latest.get(thing(resource.id))
        if earlier is not None and earlier.action != "no-op":
            observation = replace(
                observation, attributes=earlier.after, content=earlier.after_content
            )
        latest[thing(resource.id)] = change = _change(resource, observation)
        yield change


def _change(resource: Resource, observation: Observation) -> Change:
    observed = observation.attributes
    wanted = KINDS[resource.kind].wanted(resource, observed)
    return Change(
        resource_id=resource.id,
        action=_action(wanted, observed),
        before=observed,
        after=wanted,
        fingerprint=observation.fingerprint,
        before_content=resource.content if observation.like_former else observation.content,
        after_content=resource.content,
        secret=resource.secret or holds_private_key(observation.content),
        stage=resource.stage,
        reason=resource.reason,
        if_empty=resource.if_empty and wanted is None,
    )


def _action(wanted: Attributes | None, observed: Attributes | None) -> Action:
    if wanted is None:
        return "no-op" if observed is None else "delete"
    if observed is None:
        return "create"
    return "update" if differing(wanted, observed) else "no-op"


def _handler_runs(
    resources: Sequence[Resource], changes: Sequence[Change], handlers: Mapping[str, Handler]
) -> Iterable[HandlerRun]:
    """Each notified handler once per stage, in the order of their definition."""
    notified: dict[tuple[int, str], list[str]] = {}
    for resource, change in zip(resources, changes, strict=True):
        if change.action != "no-op":
            for name in resource.notify:
                notified.setdefault((resource.stage, name), []).append(resource.id)
    order = list(handlers)
    for stage, name in sorted(notified, key=lambda key: (key[0], order.index(key[1]))):
        yield HandlerRun(handler=handlers[name], stage=stage, because=tuple(notified[stage, name]))


def _unknowns(changes: Sequence[Change]) -> Iterable[str]:
    """Texts about what a plan cannot know before it is applied."""
    packages = [change.name for change in changes if _installs(change)]
    if packages:
        names = ", ".join(packages)
        yield (
            f"{names}: not installed yet. The packages' own changes (dependencies, default files, "
            "a service that starts) are unknown until then; "
            "managed resources are set up afterwards."
        )
    for change in changes:
        if change.kind == "service" and change.before is None and not packages:
            yield (
                f"service {change.name}: the host has no such unit yet; a file of this plan "
                "must create it."
            )


def _installs(change: Change) -> bool:
    return change.kind == "package" and change.action == "create"
