"""Guarded commands: run only where `creates`, `removes` or `unless` says that it is still to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployer.model import Attributes, Handler, Resource
from deployer.resources.base import Origin, no_conflict, only

conflict = no_conflict

_GUARDS = ("creates", "removes", "unless")


def from_command(args: Mapping[str, Any], origin: Origin) -> tuple[Resource, ...]:
    """`command`: ``argv`` without a shell, named by its words, or by its task if it is secret."""
    attributes = {"done": True, **only(args, "argv", "chdir", "environment", *_GUARDS)}
    name = origin.reason if origin.secret else " ".join(args["argv"])
    return (origin.resource("command", name, attributes),)


def handler(name: str, args: Mapping[str, Any], origin: Origin) -> Handler:
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
    """Done; the words of the command stand beside only where it will run."""
    if observed is not None and observed.get("done"):
        return {"done": True}
    return resource.attributes
