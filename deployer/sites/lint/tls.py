"""Notes on certificates: names that no public CA certifies, and HSTS."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Site

#: Never in the public name system: RFC 2606, RFC 6761, RFC 6762, RFC 7686, RFC 8375, ICANN.
_PRIVATE_ENDS = (
    *("corp", "example", "home", "internal", "invalid", "lan", "local", "localhost"),
    *("mail", "onion", "test", "home.arpa", "example.com", "example.net", "example.org"),
)
_WHY_UNTRUSTED = {
    "letsencrypt-staging": "no browser trusts certificates of the staging environment",
    "internal": "a browser without your CA does not trust the certificate",
}


def tls(site: Site) -> Iterator[Note]:
    """The notes on a site's issuer and its HSTS."""
    if site.tls.issuer.startswith("letsencrypt"):
        for name in site.names:
            if private := _why_not_public(name):
                yield warning(
                    "name-not-public",
                    f"{name}: {private}",
                    "Let's Encrypt will reject the order: use a public name, or "
                    "`issuer: internal`.",
                    site.at("domain" if name == site.domain else "aliases"),
                )
    if site.tls.hsts_s and site.port_in_urls:
        yield warning(
            "hsts-port",
            f"{site.domain}: hsts is set on port {site.serving_port}",
            "It applies to all ports of the name: browsers then refuse plain HTTP on each of "
            "them, and open port 443 instead of 80.",
            site.at("tls.hsts"),
        )
    untrusted = _WHY_UNTRUSTED.get(site.tls.issuer)
    if untrusted and site.tls.hsts_s:
        yield warning(
            "hsts-untrusted",
            f"{site.domain}: hsts is set, but {untrusted}",
            "With HSTS, users cannot continue past the browser's warning until its time is over: "
            "remove hsts until all visitors' browsers trust the certificate.",
            site.at("tls.hsts"),
        )


def _why_not_public(name: str) -> str:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        if "." not in name:
            return "a name without a dot is not a public DNS name"
        end = next((end for end in _PRIVATE_ENDS if f".{name}".endswith(f".{end}")), "")
        return f"no public CA certifies names in {end}" if end else ""
    return "" if address.is_global else "is an address of a private network"
