"""Checks of a site whose clients present certificates. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from deployer.sites.model import Site
from deployer.verify.planned.model import Kind, PlannedCheck
from deployer.verify.planned.probes import identity_of
from deployer.verify.probe.spec import HttpProbe, NoProbe

#: Checks through the proxy that a client without a certificate can make.
_WITHOUT: frozenset[Kind] = frozenset(
    {"certificate", "redirect", "old-tls", "no-certificate", "unprobed"}
)
_WHY = "clients need a certificate, and tls.client_certificates names none for checks"


def required(get: HttpProbe) -> PlannedCheck:
    """Check that the request `get` is refused without a certificate."""
    probe = replace(
        get,
        endpoint=replace(get.endpoint, identity=None),
        headers=(*get.headers, ("Connection", "close")),
    )
    return PlannedCheck(
        kind="no-certificate",
        name="client certificate required",
        target=get.server_name or "",
        hop="proxy",
        probe=probe,
    )


def possible(site: Site, planned: Sequence[PlannedCheck]) -> tuple[PlannedCheck, ...]:
    """Return those of the checks that the proxy does not refuse for lack of a certificate."""
    clients = site.tls.clients
    if clients is None or clients.verify != "required" or identity_of(site) is not None:
        return tuple(planned)
    return tuple(_possible(planned))


def _possible(planned: Sequence[PlannedCheck]) -> Iterator[PlannedCheck]:
    for check in planned:
        if check.hop != "proxy" or check.kind in _WITHOUT:
            yield replace(check, prerequisite=None)
        elif check.represents_route:
            probe = check.probe
            yield replace(
                check,
                kind="unprobed",
                probe=NoProbe(uri=probe.uri, hop="proxy", endpoint=probe.endpoint, why=_WHY),
                peer=None,
                plain=None,
                prerequisite=None,
                represents_route=False,
            )
