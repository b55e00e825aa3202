"""The kinds of resources, one module for each, and their creation from tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from deployer.model import Document, Handler, Resource
from deployer.resources import (
    certificate,
    command,
    directory,
    file,
    link,
    package,
    releases,
    service,
    user,
)
from deployer.resources.base import Kind, Origin, differing, holds_private_key
from deployer.resources.paths import PATH_KINDS

__all__ = [
    "KINDS",
    "PATH_KINDS",
    "Origin",
    "differing",
    "from_task",
    "handler_from_task",
    "holds_private_key",
]

KINDS: Mapping[str, Kind] = {
    name: cast(Kind, module)
    for name, module in {
        "certificate": certificate,
        "command": command,
        "directory": directory,
        "file": file,
        "link": link,
        "package": package,
        "releases": releases,
        "service": service,
        "user": user,
    }.items()
}


def _from_file(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """The resource of Ansible's `file` module, whose kind depends on ``state``."""
    match args["state"]:
        case "absent":
            return (file.absent(args["path"], origin),)
        case "directory":
            return (directory.from_file(args, origin),)
        case "link":
            return (link.from_file(args, origin),)
        case _:
            return (file.existing(args, origin),)


_MODULES: Mapping[str, Callable[[Mapping[str, object], Origin], tuple[Resource, ...]]] = {
    "certificate": certificate.from_certificate,
    "command": command.from_command,
    "copy": file.from_copy,
    "file": _from_file,
    "package": package.from_package,
    "releases": releases.from_releases,
    "service": service.from_service,
    "user": user.from_user,
}


def from_task(module: str, args: Document, origin: Origin) -> tuple[Resource, ...]:
    """The resources of a rendered task; `args` are in canonical form."""
    return _MODULES[module](args, origin)


def handler_from_task(
    name: str,
    module: str,
    args: Mapping[str, object],
    origin: Origin,
    config_tests: Mapping[str, tuple[str, ...]] | None = None,
) -> Handler:
    """The handler of a rendered handler task: an action on a service, or a command.

    `config_tests` has, by unit, the command that must succeed before the action.
    """
    if module == "service":
        return service.handler(name, args, origin, config_tests or {})
    return command.handler(name, args, origin)
