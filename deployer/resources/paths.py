"""Common parts of files, directories and links, which are all identified by a path."""

from __future__ import annotations

from deployer.model import Observation, Resource

PATH_KINDS = frozenset({"file", "directory", "link"})
_WORDS = {
    "file": "a regular file",
    "directory": "a directory",
    "link": "a symbolic link",
    "fifo": "a named pipe",
    "socket": "a socket",
    "device": "a device",
}


def owner_query(resource: Resource) -> dict[str, str]:
    """The owner that the path will have, who may have made links on the way to it."""
    owner = (resource.attributes or {}).get("owner")
    return {} if owner is None else {"owner": owner}


def other_type(resource: Resource, observation: Observation) -> str:
    """Why `resource` cannot replace an existing path of a different type; empty if it can.

    A path is never replaced by a different type implicitly: a folder may contain data, and a link
    may be part of the host's setup.
    """
    if resource.attributes is None or observation.attributes is None:
        return ""
    found: str = observation.attributes["type"]
    if found == resource.attributes["type"]:
        return ""
    there = _WORDS[found]
    if found == "link":
        there += f" to {observation.attributes['target']}"
    return (
        f"{resource.name} is {there}, but should be {_WORDS[resource.attributes['type']]}; "
        "it is left alone. Move it away, or remove it first "
        f"(file: {{path: {resource.name}, state: absent}} in a separate play)."
    )
