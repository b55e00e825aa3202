"""What the kinds of resources share: where one comes from, and how desired and observed compare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from deployer.model import Attributes, Observation, Resource, SourceRef

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The rendered task that a resource comes from."""

    reason: str = ""
    notify: tuple[str, ...] = ()
    secret: bool = False
    stage: int = 0
    source: SourceRef | None = None

    def resource(
        self, kind: str, name: str, attributes: Attributes | None, *, content: bytes | None = None
    ) -> Resource:
        """A resource of this origin."""
        return Resource(
            kind=kind,
            name=name,
            attributes=attributes,
            content=content,
            notify=self.notify,
            stage=self.stage,
            secret=self.secret,
            reason=self.reason,
            source=self.source,
        )


class Kind(Protocol):
    """What a module of `deployer.resources` offers, one kind of resource each."""

    def query(self, resource: Resource) -> dict[str, Any]:
        """What the probe has to know beyond the name."""

    def wanted(self, resource: Resource, observed: Attributes | None) -> Attributes | None:
        """The attributes that an apply will leave, as far as they are managed."""

    def conflict(self, resource: Resource, observation: Observation) -> str:
        """Why an apply must not touch what stands there, in words; empty where it may."""


def plain_query(resource: Resource) -> dict[str, Any]:
    """The query of kinds whose name says it all."""
    return {}


def as_declared(resource: Resource, observed: Attributes | None) -> Attributes | None:
    """The declared attributes, whatever is there."""
    return resource.attributes


def no_conflict(resource: Resource, observation: Observation) -> str:
    """Nothing that is there can stand in the way."""
    return ""


def differing(wanted: Attributes, observed: Attributes) -> tuple[str, ...]:
    """The managed attributes that are not as wanted."""
    return tuple(key for key in wanted if observed.get(key) != wanted[key])


def holds_private_key(content: bytes | None) -> bool:
    """Whether a private key in PEM (RFC 7468) is in `content`: it is secret, whoever wrote it."""
    return content is not None and _PRIVATE_KEY.search(content) is not None


def only(args: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The named arguments that were given."""
    return {key: args[key] for key in keys if args.get(key) is not None}
