"""Certificates from ACME issuers: `certificate`, which the certbot role uses for each site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployer.model import Attributes, Resource
from deployer.resources.base import Origin, no_conflict, plain_query

query = plain_query
conflict = no_conflict

#: What decides whether a certificate fits; the rest is about how one is ordered.
_FITTING = ("names", "directory", "key_type", "profile")


def from_certificate(args: Mapping[str, Any], origin: Origin) -> tuple[Resource, ...]:
    """A certificate for `domain` that fits and is not due to be renewed."""
    attributes = {key: args[key] for key in (*_FITTING, "staging_first")}
    attributes["names"] = sorted(args["names"])
    return (origin.resource("certificate", args["domain"], {**attributes, "due": False}),)


def wanted(resource: Resource, observed: Attributes | None) -> Attributes | None:
    """A fitting one; how it is ordered stands beside only where it has to be."""
    declared = resource.attributes
    if declared is None or observed is None:
        return declared
    fitting = {**{key: declared[key] for key in _FITTING}, "due": False}
    serial = declared.get("serial")
    if serial:
        fitting["serial"] = serial
    if all(observed.get(key) == value for key, value in fitting.items()):
        return fitting
    return declared
