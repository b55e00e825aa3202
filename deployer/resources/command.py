"""Guarded commands: run unless `creates`, `removes` or `unless` shows that they are done."""

from __future__ import annotations

from typing import Any

from deployer.model import Attributes, Document, Handler, Resource
from deployer.resources.base import Origin, no_conflict, only

conflict = no_conflict

_GUARDS = ("creates", "removes", "unless")


def from_command(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """`command`: ``argv`` without a shell, named by its arguments, or by its task if secret."""
    attributes = {"done": True, **only(args, "argv", "chdir", "environment", *_GUARDS)}
    name = origin.reason if origin.secret else " ".join(args["argv"])
    return (origin.resource("command", name, attributes),)


def handler(name: str, args: Document, origin: Origin) -> Handler:
    """A handler that runs a command."""
    return Handler(
        name=name,
        action="run",
        argv=tuple(args["argv"]),
        no_log=origin.secret,
        source=origin.source,
    )


def query(resource: Resource) -> dict[str, Any]:
    """The guards, which the host evaluates."""
    return only(resource.attributes or {}, *_GUARDS, "chdir")


def wanted(resource: Resource, observed: Attributes | None) -> Attributes | None:
    """``done``, plus the command itself if it will run."""
    if observed is not None and observed.get("done"):
        return {"done": True}
    return resource.attributes
