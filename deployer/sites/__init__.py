"""What a site becomes: values for its proxy's role, its certificate, and what is amiss with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.errors import SourceError, UsageError
from deployer.model import Attributes, Site, SourceRef

if TYPE_CHECKING:
    from deployer.sites.certificates import CertificateFiles

Packages = Mapping[str, Mapping[str, str | None]]

#: What the `facts` request asks for. OpenSSL is named after its ABI: 1.1 on Debian 11, 3 on 12,
#: and with 64-bit times on 13.
ASKED_PACKAGES: tuple[str, ...] = ("nginx", "libssl3t64", "libssl3", "libssl1.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRole:
    """A role that sites bring in, and the variables that it is called with."""

    role: str
    vars: Attributes
    source: SourceRef | None = None


def proxy_roles(
    sites: Sequence[Site],
    *,
    facts: Attributes,
    packages: Packages,
    certificates: Mapping[str, CertificateFiles],
) -> tuple[ProxyRole, ...]:
    """The roles that serve a host's sites: one for all of them, or none where there are no sites.

    `facts` and `packages` are a host's answer to the `facts` request. `certificates` has one entry
    for each site with TLS, by its domain.

    Raises:
        SourceErrors: sites that cannot stand beside each other on one host.
        SourceError: a value that the proxy would misread, or a proxy that is not there yet.
        UsageError: a site with TLS and no certificate.
    """
    if not sites:
        return ()

    from deployer.sites import lint, nginx, versions
    from deployer.sites.certificates import is_acme

    lint.refuse_errors(lint.lint(sites))
    for site in sites:
        if site.proxy != "nginx":
            raise SourceError(
                f"{site.domain} asks for {site.proxy}, which this version cannot set up",
                source=site.source,
                hint="Write `proxy: nginx`, or leave the line out.",
            )
        if site.has_tls and site.domain not in certificates:
            raise UsageError(
                f"no certificate for {site.domain}: its issuer is {site.tls.issuer}",
                hint="Nothing was changed. `issuer: internal` needs no one else to issue it.",
            )
    variables: dict[str, object] = {
        "nginx_version": versions.upstream(packages, ("nginx",), oldest="1.18.0"),
        "openssl_version": versions.upstream(packages, ASKED_PACKAGES[1:], oldest="1.1.1"),
        "nginx_installed": bool(packages.get("nginx", {}).get("installed")),
        "nginx_ipv6": bool(facts.get("ansible_all_ipv6_addresses")),
        "nginx_acme_root": nginx.ACME_ROOT if any(map(is_acme, sites)) else None,
        "nginx_sites": [nginx.view(site) for site in sites],
        "nginx_certificates": [
            {
                "domain": site.domain,
                "folder": f"{nginx.CERTIFICATES_FOLDER}/{site.domain}",
                "fullchain": certificates[site.domain].fullchain_pem.decode("ascii"),
                "privkey": certificates[site.domain].key_pem.decode("ascii"),
            }
            for site in sites
            if site.has_tls
        ],
    }
    return (ProxyRole(role="nginx", vars=variables, source=sites[0].source),)
