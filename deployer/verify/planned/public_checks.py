"""Plan the checks of a site through public DNS, at the hop *public*. Pure.

Each name is looked up. At each of its addresses, the certificate is verified as strictly as at the
proxy, and the handshake on each WebSocket route is made (at the second and later addresses only on
the first route). They are the checks of the hop *proxy*, sent to other addresses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from deployer.sites.model import Site
from deployer.verify.net.lookup import Lookup
from deployer.verify.net.redact import without_secrets
from deployer.verify.planned.model import Address, Kind, PlannedCheck
from deployer.verify.probe.spec import Endpoint, HttpProbe, NameProbe, TlsProbe

_MOST_ADDRESSES = 6
_KINDS: Mapping[Kind, Kind] = {
    "certificate": "public-certificate",
    "handshake": "public-handshake",
    "page": "public-page",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAddresses:
    """The host's known addresses; `others` maps addresses of the run's other hosts to names."""

    own: frozenset[str] = frozenset()
    others: Mapping[str, str] = field(default_factory=dict)


def public_names(site: Site) -> tuple[str, ...]:
    """Return the names to look up; a wildcard does not promise any name under it."""
    return tuple(name for name in site.names if not name.startswith("*."))


def public_checks(
    site: Site,
    planned: tuple[PlannedCheck, ...],
    lookups: Mapping[str, Lookup],
    *,
    known: HostAddresses,
    port: int,
) -> tuple[PlannedCheck, ...]:
    """Return the checks that follow `planned`, the checks on the host, in the same list."""
    planner = _Planner(planned, known, port=port, tls=site.has_tls)
    for name in public_names(site):
        planner.add_name(name, lookups[name])
    return tuple(planner.made)


class _Planner:
    def __init__(
        self, planned: tuple[PlannedCheck, ...], known: HostAddresses, *, port: int, tls: bool
    ) -> None:
        self._planned = planned
        self._known = known
        self._port = port
        self._tls = tls
        self.made: list[PlannedCheck] = []

    def add_name(self, name: str, lookup: Lookup) -> None:
        endpoint = Endpoint(host=name, port=self._port, tls=self._tls)
        probe = NameProbe(
            uri=name, hop="public", endpoint=endpoint, dns_s=lookup.seconds, lookup=lookup
        )
        self.made.append(
            PlannedCheck(
                kind="public-name",
                name="dns",
                target=name,
                hop="public",
                probe=probe,
                prerequisite=len(self._planned) if self.made else None,
            )
        )
        addresses = lookup.addresses[:_MOST_ADDRESSES]
        known = [self._is_known(text) for text in addresses]
        for number, text in enumerate(addresses):
            address = Address(
                text=text,
                port=self._port,
                is_known=known[number],
                known=tuple(sorted(self._known.own)),
                is_mixed=any(known) and not all(known),
                owner=self._known.others.get(text, ""),
            )
            dns_s = None if lookup.is_overridden else lookup.seconds
            self._add_address(name, address, dns_s=dns_s, is_first=number == 0)

    def _is_known(self, text: str) -> bool:
        return text in self._known.own

    def _add_address(
        self, name: str, address: Address, *, dns_s: float | None, is_first: bool
    ) -> None:
        address_certificate: int | None = None
        host_certificate: int | None = None
        for prerequisite, check in self._of_name("certificate", name):
            address_certificate, host_certificate = (
                len(self._planned) + len(self.made),
                prerequisite,
            )
            self._add(check, prerequisite, address, dns_s=dns_s, certificates=(None, prerequisite))
        handshakes = list(self._of_name("handshake", name))
        twins = handshakes or list(self._of_name("page", name))[:1]
        for prerequisite, check in twins if is_first else twins[:1]:
            is_secret = isinstance(check.probe, HttpProbe) and bool(check.probe.hidden)
            if check.route is not None and (check.route.allow or check.route.deny):
                continue  # this machine may not be one of the clients
            if is_secret and not self._tls and not address.is_known:
                continue  # without TLS, secret headers only go to the host itself
            self._add(
                check,
                prerequisite,
                address,
                dns_s=dns_s,
                certificates=(address_certificate, host_certificate),
            )

    def _of_name(self, kind: Kind, name: str) -> Iterator[tuple[int, PlannedCheck]]:
        for place, check in enumerate(self._planned):
            if check.kind == kind and check.probe.server_name == name:
                yield place, check

    def _add(
        self,
        twin: PlannedCheck,
        prerequisite: int,
        address: Address,
        *,
        dns_s: float | None,
        certificates: tuple[int | None, int | None],
    ) -> None:
        identity = twin.probe.endpoint.identity
        endpoint = Endpoint(host=address.text, port=self._port, tls=self._tls, identity=identity)
        probe = replace(twin.probe, hop="public", endpoint=endpoint, dns_s=dns_s)
        peer = replace(probe, by_system=True) if isinstance(probe, TlsProbe) else None
        place = (
            without_secrets(probe.target)
            if isinstance(probe, HttpProbe)
            else str(probe.server_name)
        )
        self.made.append(
            replace(
                twin,
                kind=_KINDS[twin.kind],
                target=f"{place} at {endpoint}",
                hop="public",
                probe=probe,
                peer=peer,
                prerequisite=prerequisite,
                address_certificate=certificates[0],
                host_certificate=certificates[1],
                address=address,
            )
        )
