"""Users: `user`, as in Ansible; only the given attributes are managed."""

from __future__ import annotations

from deployer.model import Attributes, Document, Resource
from deployer.resources.base import Origin, no_conflict, only, plain_query

query = plain_query
conflict = no_conflict


def from_user(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """A user with the given attributes; ``system`` and ``create_home`` apply only at creation."""
    if args.get("state", "present") == "absent":
        return (origin.resource("user", args["name"], None),)
    attributes = only(args, "uid", "group", "home", "shell", "comment", "system", "create_home")
    if args.get("groups") is not None:
        attributes["groups"] = sorted(args["groups"])
        attributes["append"] = bool(args.get("append"))
    return (origin.resource("user", args["name"], attributes),)


def wanted(resource: Resource, observed: Attributes | None) -> Attributes | None:
    """The declared attributes; with ``append``, existing groups are kept."""
    if resource.attributes is None or observed is None:
        return resource.attributes
    attributes = {
        key: value
        for key, value in resource.attributes.items()
        if key not in ("system", "create_home", "append")
    }
    if resource.attributes.get("append"):
        attributes["groups"] = sorted({*attributes["groups"], *observed["groups"]})
    return attributes
