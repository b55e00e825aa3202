"""Desired state and observed state make a plan: pure, and the only place that decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

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

    Changes stay in the order of their tasks, stage by stage. `handlers` are by name; `unknowns` are
    words about what is known to be unknown already; `owed` is what earlier runs left undone.

    Raises:
        ConflictError: something on the host stands in the way, for all such things at once.
    """
    ordered = sorted(desired, key=lambda resource: resource.stage)
    ordered, observations = with_removals(ordered, observations)
    conflicts = [
        text for resource in ordered if (text := _conflict(resource, observations[resource.id]))
    ]
    if conflicts:
        raise ConflictError("\n".join(conflicts), host=host)
    changes = tuple(_changes(ordered, observations))
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
    """A plan that changes nothing and reloads each proxy, after the proxy's own config test."""
    reloads = tuple(
        HandlerRun(handler=handler, stage=0, because=())
        for handler in handlers.values()
        if handler.action == "reload" and handler.config_test
    )
    return sealed(Plan(host=host, created_at=created_at, changes=(), handlers=reloads))


def _conflict(resource: Resource, observation: Observation) -> str:
    text = observation.problem or KINDS[resource.kind].conflict(resource, observation)
    where = f"{resource.source}: " if resource.source else ""
    return f"{where}{text}" if text else ""


def _changes(
    resources: Iterable[Resource], observations: Mapping[str, Observation]
) -> Iterable[Change]:
    """One change a resource; what changes at two stages is at the second as the first leaves it."""
    left: dict[str, Change] = {}
    for resource in resources:
        observation = observations[resource.id]
        earlier = left.get(resource.id)
        if earlier is not None and earlier.action != "no-op":
            observation = replace(
                observation, attributes=earlier.after, content=earlier.after_content
            )
        left[resource.id] = _change(resource, observation)
        yield left[resource.id]


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
    """Each notified handler once a stage, in the order in which the handlers are written."""
    asked: dict[tuple[int, str], list[str]] = {}
    for resource, change in zip(resources, changes, strict=True):
        if change.action != "no-op":
            for name in resource.notify:
                asked.setdefault((resource.stage, name), []).append(resource.id)
    order = list(handlers)
    for stage, name in sorted(asked, key=lambda key: (key[0], order.index(key[1]))):
        yield HandlerRun(handler=handlers[name], stage=stage, because=tuple(asked[stage, name]))


def _unknowns(changes: Sequence[Change]) -> Iterable[str]:
    """What a dry run cannot know, in words."""
    packages = [change.name for change in changes if _installs(change)]
    if packages:
        names = ", ".join(packages)
        yield (
            f"{names}: not installed yet. What the packages bring along (other packages, their "
            "default files, a service that starts) is known when they are there; "
            "what is managed here is made so after that."
        )
    for change in changes:
        if change.kind == "service" and change.before is None and not packages:
            yield (
                f"service {change.name}: the host has no such unit yet; it must come "
                "with a file of this plan."
            )


def _installs(change: Change) -> bool:
    return change.kind == "package" and change.action == "create"
