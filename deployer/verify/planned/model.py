"""Planned checks, and the addresses that they use: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.model import Hop
from deployer.sites.model import Check, Route
from deployer.verify.probe.spec import HttpProbe, PlannedProbe, TlsProbe, UpgradeProbe

Kind = Literal[
    "certificate",
    "redirect",
    "handshake",
    "service",
    "health",
    "listed-origin",
    "foreign-origin",
    "no-origin",
    "no-session",
    "no-certificate",
    "h2c",
    "page",
    "entry",
    "public-name",
    "public-certificate",
    "public-handshake",
    "public-page",
    "old-tls",
    "banner",
    "plain-get",
    "http2",
    "forged",
    "unprobed",
]

FOREIGN_ORIGIN = "https://origin.invalid"  # RFC 2606: never the origin of a real page


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One address that a name resolves to.

    It `is_known` if it is one of the host's `known` addresses; `owner` is the other host of the run
    that has it. The name `is_mixed` if it resolves to the host and to other machines.
    """

    text: str
    port: int
    is_known: bool
    known: tuple[str, ...] = ()
    is_mixed: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The WebSocket of a whole site, as far as it was found.

    `check` opens it, or else is refused by the service itself, unless it `opens`. `service` is the
    name of the service, if known, and `needs` is what its WebSocket needs. If it `has_page`, an
    internal error is its answer to upgrades where it has no WebSocket (Django Channels).
    """

    check: Check
    opens: bool
    has_page: bool = False
    service: str = ""
    needs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheck:
    """One check: `probe` decides; `peer` and `plain` run only when it fails.

    `peer` is the same probe sent directly to the service, `plain` a request to the service without
    an upgrade. `prerequisite` is the index, in the list of all checks, of the handshake without
    which this check cannot succeed; at the hop *public* it is the same check on the host itself.
    Public checks also have the indices of two certificate checks, at the same address and on the
    host, and the `address` they connect to. The check that `represents_route` opens the route's
    WebSocket as its clients do. `found` is the WebSocket of a whole site.
    """

    kind: Kind
    name: str
    target: str
    hop: Hop
    probe: PlannedProbe
    peer: HttpProbe | TlsProbe | None = None
    plain: HttpProbe | None = None
    prerequisite: int | None = None
    address_certificate: int | None = None
    host_certificate: int | None = None
    address: Address | None = None
    route: Route | None = None
    represents_route: bool = False
    found: Found | None = None

    @property
    def hold_s(self) -> float:
        """How long the check keeps a connection idle."""
        held = isinstance(self.probe, UpgradeProbe) and self.probe.hold_s
        return held or 0.0
