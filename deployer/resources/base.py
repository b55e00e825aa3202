"""Common parts of all kinds of resources: their origin, and the comparison of their states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from deployer.model import Attributes, Document, Observation, Resource, SourceRef

#: Attributes that a probe does not see: the ports of a service are checked when a commit starts it.
NOT_OBSERVED = frozenset({"listens"})
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The rendered task that a resource comes from."""

    reason: str = ""
    notify: tuple[str, ...] = ()
    secret: bool = False
    stage: int = 0
    source: SourceRef | None = None
    site: str = ""
    task: str = ""

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
            site=self.site,
            task=self.task,
        )


class Kind(Protocol):
    """The interface of the modules of `deployer.resources`, each for one kind of resource."""

    def query(self, resource: Resource) -> dict[str, Any]:
        """What the probe needs to know in addition to the name."""

    def wanted(self, resource: Resource, observed: Attributes | None) -> Attributes | None:
        """The managed attributes after an apply; `None` if the resource will be absent."""

    def conflict(self, resource: Resource, observation: Observation) -> str:
        """Why an apply must not replace the existing resource; empty if it may."""


def plain_query(resource: Resource) -> dict[str, Any]:
    """The query of kinds for which the name is sufficient."""
    return {}


def as_declared(resource: Resource, observed: Attributes | None) -> Attributes | None:
    """The declared attributes, regardless of the observed ones."""
    return resource.attributes


def no_conflict(resource: Resource, observation: Observation) -> str:
    """No conflict, regardless of the observed state."""
    return ""


def differing(wanted: Attributes, observed: Attributes) -> tuple[str, ...]:
    """The keys of the managed attributes whose values differ."""
    return tuple(
        key for key in wanted if key not in NOT_OBSERVED and observed.get(key) != wanted[key]
    )


def holds_private_key(content: bytes | None) -> bool:
    """Whether `content` contains a PEM private key (RFC 7468), which is always secret."""
    return content is not None and _PRIVATE_KEY.search(content) is not None


def only(args: Document, *keys: str) -> dict[str, Any]:
    """The arguments of `keys` that are set."""
    return {key: args[key] for key in keys if args.get(key) is not None}
