"""The releases of a service: folders of which the newest are kept, and the others go.

What a probe finds decides what goes. In a plan, therefore, this is no resource of its own: each
release that is too old is a `directory` that should not be.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from deployer.model import Observation, Resource
from deployer.resources.base import Origin, as_declared, no_conflict, plain_query

query = plain_query
wanted = as_declared
conflict = no_conflict

#: Names that we give; whatever else is in the folder is somebody else's.
_OURS = re.compile(r"[0-9a-f]{12}")


def from_releases(args: Mapping[str, Any], origin: Origin) -> tuple[Resource, ...]:
    """All in ``path`` but the ``keep`` newest, of which what ``link`` leads to is always one."""
    attributes = {"keep": args["keep"], "link": args["link"]}
    return (origin.resource("releases", args["path"], attributes),)


def with_removals(
    resources: Iterable[Resource], observations: Mapping[str, Observation]
) -> tuple[list[Resource], dict[str, Observation]]:
    """`resources` with the folders that are to go in place of ``releases``, and how those are now.

    The release that is in use stays as long as it is, whatever its age: a revert leads back to it.
    """
    targets = {
        resource.name: resource.attributes["target"]
        for resource in resources
        if resource.kind == "link" and resource.attributes is not None
    }
    found: list[Resource] = []
    seen = dict(observations)
    for resource in resources:
        if resource.kind != "releases":
            found.append(resource)
            continue
        for removal in _removals(resource, targets, observations):
            seen[removal.resource_id] = removal
            found.append(
                replace(
                    resource,
                    kind="directory",
                    name=removal.resource_id.partition(":")[2],
                    attributes=None,
                    notify=(),
                    reason="a release that nothing needs any more",
                )
            )
    return found, seen


def _removals(
    resource: Resource, targets: Mapping[str, str], observations: Mapping[str, Observation]
) -> Iterator[Observation]:
    wanted_here, seen = resource.attributes or {}, observations[resource.id].attributes or {}
    link = wanted_here["link"]
    in_use = (observations[f"link:{link}"].attributes or {}).get("target", "")
    needed = {posixpath.basename(in_use), posixpath.basename(targets[link])} - {""}
    others = [each for each in _ours(seen.get("found", ())) if each["name"] not in needed]
    for each in others[wanted_here["keep"] - len(needed) :]:
        yield Observation(
            resource_id=f"directory:{posixpath.join(resource.name, each['name'])}",
            attributes=each["attributes"],
            fingerprint=each["fingerprint"],
        )


def _ours(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in found if _OURS.fullmatch(each["name"])]
