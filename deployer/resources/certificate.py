"""Certificates from ACME issuers: the `certificate` module, used by the certbot role."""

from __future__ import annotations

from deployer.model import Attributes, Document, Resource
from deployer.resources.base import Origin, no_conflict, plain_query

query = plain_query
conflict = no_conflict

#: The attributes that an existing certificate must match; the others are only for ordering.
_MATCHED = ("names", "directory", "key_type", "profile")


def from_certificate(args: Document, origin: Origin) -> tuple[Resource, ...]:
    """A certificate for `domain` with these attributes that is not due for renewal."""
    attributes = {key: args[key] for key in _MATCHED}
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
    """The attributes to match, plus those for ordering if a certificate must be ordered."""
    declared = resource.attributes
    if declared is None or observed is None:
        return declared
    matched = {**{key: declared[key] for key in _MATCHED}, "due": False}
    if "serial" in declared:
        matched["serial"] = declared["serial"]
    if "forced" not in declared and all(
        observed.get(key) == value for key, value in matched.items()
    ):
        return matched
    return declared
