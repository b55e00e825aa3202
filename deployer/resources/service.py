"""systemd services: whether they run and start at boot, and the handlers that reload them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployer.model import Attributes, Document, Handler, Resource
from deployer.resources.base import NOT_OBSERVED, Origin, no_conflict, plain_query

query = plain_query
conflict = no_conflict

_ACTIVE = {"started": True, "stopped": False}
_ACTIONS = {"reloaded": "reload", "restarted": "restart", "started": "start", "stopped": "stop"}


def from_service(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """`service`: ``state`` started or stopped, ``enabled`` or not; unset keys are not managed.

    ``listens`` are the ports and sockets that only the service itself may accept connections on.
    """
    attributes: dict[str, Any] = {}
    if args.get("enabled") is not None:
        attributes["enabled"] = args["enabled"]
    if args.get("state") is not None:
        attributes["active"] = _ACTIVE[args["state"]]
    if args.get("listens") is not None:
        attributes["listens"] = list(args["listens"])
    return (origin.resource("service", args["name"], attributes),)


def wanted(resource: Resource, observed: Attributes | None) -> Attributes | None:
    """The declared attributes; a missing unit that should be stopped is already as desired."""
    attributes = resource.attributes
    states = [value for key, value in (attributes or {}).items() if key not in NOT_OBSERVED]
    if observed is None and not any(states):
        return None
    return attributes


def handler(
    name: str,
    args: Document,
    origin: Origin,
    config_tests: Mapping[str, tuple[str, ...]],
) -> Handler:
    """A handler that acts on a service, after the unit's config test in `config_tests`, if any."""
    unit = args["name"]
    return Handler(
        name=name,
        action=_ACTIONS[args["state"]],
        unit=unit,
        config_test=config_tests.get(unit.removesuffix(".service"), ()),
        no_log=origin.secret,
        source=origin.source,
    )
