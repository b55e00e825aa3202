"""Requests about the certificates of ACME issuers on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployer.sites.acme import CertificatesOnHost
    from deployer.transport import Link


def look(link: Link) -> CertificatesOnHost:
    """The certificates on the host, before a plan or after an apply."""
    from deployer.sites.acme import CertificatesOnHost
    from deployer.sites.document import sites_from_json

    reply = ask(link, "look")
    return CertificatesOnHost(
        in_use=reply["certificates"],
        former_sites=sites_from_json(reply["sites"]),
        others_use_certbot=reply["others_use_certbot"],
    )


def ask(link: Link, what: str, **fields: Any) -> dict[str, Any]:
    """The reply to the request ``certificates`` (docs/reference/protocol.md)."""
    return link.request("certificates", do=what, doing="reading certificates", **fields)
