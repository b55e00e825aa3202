"""Directories: `file` with ``state: directory``."""

from __future__ import annotations

from deployer.model import Document, Resource
from deployer.resources.base import Origin, as_declared, only
from deployer.resources.paths import other_type, owner_query

query = owner_query
wanted = as_declared
conflict = other_type


def from_file(args: Document, origin: Origin) -> Resource:
    """A directory at ``path`` with the given owner, group and mode."""
    attributes = {"type": "directory", **only(args, "mode", "owner", "group")}
    return origin.resource("directory", args["path"], attributes)
