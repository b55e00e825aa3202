"""The releases of a service: folders of which the newest are kept, and the others removed.

The result of the probe determines which are removed. In a plan there is no ``releases`` resource:
each release that is too old is a `directory` that should be absent.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from deployer.model import Document, Observation, Resource
from deployer.resources.base import Origin, as_declared, no_conflict, plain_query

query = plain_query
wanted = as_declared
conflict = no_conflict

#: Names of releases; other entries of the folder are not managed.
_RELEASE_ID = re.compile(r"[0-9a-f]{12}")


def from_releases(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """Keep the ``keep`` newest releases in ``path``, including the target of ``link``."""
    attributes = {"keep": args["keep"], "link": args["link"]}
    return (origin.resource("releases", args["path"], attributes),)


def with_removals(
    resources: Iterable[Resource], observations: Mapping[str, Observation]
) -> tuple[list[Resource], dict[str, Observation]]:
    """Replace ``releases`` in `resources` by the folders to remove, and add their observations.

    The active release is never removed, regardless of its age: a revert needs it.
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
                    reason="an old release that is no longer needed",
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
    others = [each for each in _releases(seen.get("found", ())) if each["name"] not in needed]
    for each in others[wanted_here["keep"] - len(needed) :]:
        yield Observation(
            resource_id=f"directory:{posixpath.join(resource.name, each['name'])}",
            attributes=each["attributes"],
            fingerprint=each["fingerprint"],
        )


def _releases(found: Sequence[Document]) -> list[Document]:
    return [each for each in found if _RELEASE_ID.fullmatch(each["name"])]
