"""What a host says of the certificates of ACME issuers that it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployer.sites.acme import CertificatesOnHost
    from deployer.transport import Link


def load_modules(link: Link) -> None:
    """Give the runner the modules that know certificates, once a connection: they are large."""
    from deployer.agent import bundle

    modules = bundle.certificate_modules()
    if link.loaded.issuperset(modules):
        return
    link.request("load", modules=modules, order=list(modules), doing="looking at certificates")
    link.loaded.update(modules)


def look(link: Link) -> CertificatesOnHost:
    """What the host has, before a plan or after an apply."""
    from deployer.sites.acme import CertificatesOnHost
    from deployer.sites.document import sites_from_json

    load_modules(link)
    reply = ask(link, "look")
    return CertificatesOnHost(
        in_use=reply["certificates"],
        former_sites=sites_from_json(reply["sites"]),
        others_use_certbot=reply["others_use_certbot"],
    )


def ask(link: Link, what: str, **fields: Any) -> dict[str, Any]:
    """The reply to the request ``certificates`` (docs/reference/protocol.md)."""
    return link.request("certificates", do=what, doing="looking at certificates", **fields)
