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
    attributes = {key: args[key] for key in _FITTING}
    attributes["names"] = sorted(args["names"])
    if args["staging_first"]:
        attributes["staging_first"] = True
    if args["serial"]:
        attributes["serial"] = args["serial"]
    for word in ("forced", "strict"):
        if args[word]:
            attributes[word] = True
    return (origin.resource("certificate", args["domain"], {**attributes, "due": False}),)


def wanted(resource: Resource, observed: Attributes | None) -> Attributes | None:
    """A fitting one; how it is ordered stands beside only where it has to be."""
    declared = resource.attributes
    if declared is None or observed is None:
        return declared
    fitting = {**{key: declared[key] for key in _FITTING}, "due": False}
    if "serial" in declared:
        fitting["serial"] = declared["serial"]
    if "forced" not in declared and all(
        observed.get(key) == value for key, value in fitting.items()
    ):
        return fitting
    return declared
