"""What files, directories and links share: a path, at which something else may stand."""

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


def other_type(resource: Resource, observation: Observation) -> str:
    """Why `resource` cannot be made where something of another type stands; empty where it can.

    Nothing is replaced by something of another type unasked: a folder may hold a person's data, and
    a link may be the way that someone set the host up.
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
        "it is left alone. Move it away, or have a task before remove it "
        f"(file: {{path: {resource.name}, state: absent}} in a play of its own)."
    )
