"""Files: `copy` and `template` with content, `file` with only owner and mode, or absent."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from deployer.model import Attributes, Document, Resource
from deployer.resources.base import Origin, as_declared, holds_private_key, only
from deployer.resources.paths import other_type, owner_query

conflict = other_type
wanted = as_declared

#: The default mode of secret content: readable only by root.
_SECRET_MODE = "0600"  # noqa: S105 - a file mode


def from_copy(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """`copy`, and `template` after rendering: ``dest``, ``content`` (bytes), owner, group, mode."""
    content: bytes = args["content"]
    if holds_private_key(content):
        origin = replace(origin, secret=True)
    attributes = {
        "type": "file",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        **({"mode": _SECRET_MODE} if origin.secret else {}),
        **only(args, "mode", "owner", "group"),
    }
    made = origin.resource("file", args["dest"], attributes, content=content)
    return (replace(made, former=args.get("former", "")),)


def absent(path: str, origin: Origin) -> Resource:
    """Nothing at `path`, regardless of its current type."""
    return origin.resource("file", path, None)


def existing(args: Document, origin: Origin) -> Resource:
    """`file` with ``state: file``: the owner and mode of an existing file."""
    attributes = {"type": "file", **only(args, "mode", "owner", "group")}
    return origin.resource("file", args["path"], attributes)


def query(resource: Resource) -> dict[str, Any]:
    """The desired hash; the reply has the content only if it differs and may be shown."""
    attributes: Attributes = resource.attributes or {}
    manages_content = resource.attributes is None or resource.content is not None
    return {
        "sha256": attributes.get("sha256"),
        "want_content": manages_content and not resource.secret,
        **({"former": resource.former} if resource.former else {}),
        **owner_query(resource),
    }
