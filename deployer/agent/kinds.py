"""The kinds of resources: the agent's own, and one whose module is imported when a plan has it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from deployer.agent.session import Session
    from deployer.agent.settings import Json

    class AddedKind(Protocol):
        """A kind with a module of its own."""

        def observe(self, name: str) -> Json | None:
            """The attributes of the resource, or `None` if it does not exist."""

        def paths(self, name: str) -> list[str]:
            """The paths that a revert restores."""

        def make(self, session: Session, name: str, after: Json | None) -> None:
            """Change the resource to `after`."""


PATH_KINDS = ("file", "directory", "link")
OWN_KINDS = (*PATH_KINDS, "package", "service", "user", "command")
ADDED_KINDS = ("certificate",)
KINDS = (*OWN_KINDS, *ADDED_KINDS)
#: Those that a probe can ask for, two of which no plan changes.
PROBED_KINDS = (*OWN_KINDS, "loaded", "releases")


def added_kind(kind: str) -> AddedKind:
    """The kind with the name `kind`, one of `ADDED_KINDS`."""
    from deployer.agent.certificates.requests import CertificateKind

    return {"certificate": CertificateKind}[kind]()


def thing(resource_id: str) -> str:
    """What identifies a resource: a path regardless of its kind, or the whole ID."""
    kind, _, name = resource_id.partition(":")
    return name if kind in PATH_KINDS else resource_id
