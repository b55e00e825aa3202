"""Roll back to an earlier confirmed generation: its recorded state becomes the desired state.

With each generation the host keeps the previous state of everything that was changed. Combined from
the newest generation backwards, that is a desired state like any other: it is probed, planned,
shown, applied, verified and confirmed, and becomes a new generation.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from deployer.model import Observation, Resource
from deployer.plan.desired import DesiredState
from deployer.plan.wire import handler_from_json
from deployer.resources import PATH_KINDS, holds_private_key
from deployer.sites.document import sites_from_json

if TYPE_CHECKING:
    from deployer.agent.replies import FormerResource, UndoReply


def former_state(reply: UndoReply) -> DesiredState:
    """The desired state in the agent's reply to ``undo`` (docs/reference/protocol.md).

    The sites are those of that generation. Secrets in their checks are not in the reply, and their
    roots are added by the caller.
    """
    handlers = {item["name"]: handler_from_json(item) for item in reply["handlers"]}
    notify = tuple(handlers)
    return DesiredState(
        resources=tuple(_resource(item, notify) for item in reply["resources"]),
        handlers=handlers,
        sites=sites_from_json(reply["sites"]),
        rolls_back_to=reply["to"],
    )


def _resource(item: FormerResource, notify: tuple[str, ...]) -> Resource:
    given = item.get("content_b64")
    content = None if given is None else base64.b64decode(given)
    return Resource(
        kind=item["kind"],
        name=item["name"],
        attributes=item["attributes"],
        content=content,
        notify=notify if item["kind"] in ("file", "link") else (),
        secret=bool(item.get("secret")) or holds_private_key(content),
        reason=f"as generation {item['generation']} found it",
    )


def with_types_replaced(
    desired: DesiredState, observations: Mapping[str, Observation]
) -> tuple[DesiredState, dict[str, Observation]]:
    """`desired` for a host on which some paths have a different type now: a link for a file, say.

    An apply never replaces one type by another, because it cannot know what is there. A rollback
    restores what was there, so it removes what took its place, in a stage before all others.
    """
    paths = {each.name: each for each in desired.resources if each.kind in PATH_KINDS}
    files = {name for name, each in paths.items() if _is_no_folder(each)}
    kept = [
        each
        for each in desired.resources
        if each.attributes is not None or files.isdisjoint(_folders_above(each.name))
    ]
    replaced = {
        name: each
        for name, each in paths.items()
        if each.attributes is not None and _has_other_type(each, observations[each.id])
    }
    found = dict(observations)
    if not replaced:
        return replace(desired, resources=tuple(kept)), found
    for name, each in paths.items():
        if not replaced.keys().isdisjoint(_folders_above(name)):
            found[each.id] = replace(found[each.id], problem="")  # its folder comes first
    removals = [
        replace(each, kind="file", attributes=None, content=None, notify=(), stage=0)
        for each in replaced.values()
    ]
    for removal in removals:
        seen = found[replaced[removal.name].id]
        found[removal.id] = replace(seen, resource_id=removal.id, content=None)
    later = [replace(each, stage=1) for each in kept]
    return replace(desired, resources=(*removals, *later)), found


def _is_no_folder(resource: Resource) -> bool:
    return resource.attributes is not None and resource.kind != "directory"


def _has_other_type(resource: Resource, seen: Observation) -> bool:
    wanted, found = resource.attributes or {}, seen.attributes
    return found is not None and found["type"] != wanted["type"]


def _folders_above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
