"""Packages of the distribution: `package`, alias `apt`."""

from __future__ import annotations

from typing import Any

from deployer.model import Document, Resource
from deployer.resources.base import Origin, as_declared, no_conflict, plain_query

query = plain_query
wanted = as_declared
conflict = no_conflict


def from_package(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """One resource for each name; installed in the distribution's version, or absent."""
    attributes: dict[str, Any] | None = None if args["state"] == "absent" else {}
    return tuple(origin.resource("package", name, attributes) for name in args["names"])
