"""Symbolic links: `file` with ``state: link``."""

from __future__ import annotations

from deployer.model import Document, Resource
from deployer.resources.base import Origin, as_declared, plain_query
from deployer.resources.paths import other_type

query = plain_query
wanted = as_declared
conflict = other_type


def from_file(args: Document, origin: Origin) -> Resource:
    """A link at ``path`` with the target ``src`` as written; relative targets stay relative."""
    return origin.resource("link", args["path"], {"type": "link", "target": args["src"]})
