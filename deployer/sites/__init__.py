"""What a site becomes: values for the roles that serve it, and what is amiss with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.errors import SourceError, UsageError
from deployer.model import Attributes, Site, SourceRef

if TYPE_CHECKING:
    from deployer.sites.acme import CertificatesOnHost, OnController
    from deployer.sites.certificates import CertificateFiles

Packages = Mapping[str, Mapping[str, str | None]]

#: What the `facts` request asks for. OpenSSL is named after its ABI: 1.1 on Debian 11, 3 on 12,
#: and with 64-bit times on 13.
ASKED_PACKAGES: tuple[str, ...] = ("nginx", "libssl3t64", "libssl3", "libssl1.1", "certbot")
_OPENSSL = ASKED_PACKAGES[1:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRole:
    """A role that sites bring in, the variables that it is called with, and at which stage."""

    role: str
    vars: Attributes
    stage: int = 0
    source: SourceRef | None = None


def proxy_roles(
    sites: Sequence[Site],
    *,
    facts: Attributes,
    packages: Packages,
    certificates: Mapping[str, CertificateFiles],
    on_host: CertificatesOnHost | None = None,
    program: Callable[[], bytes] = bytes,
    staging_first: bool = True,
    on_controller: OnController | None = None,
) -> tuple[ProxyRole, ...]:
    """The roles that serve a host's sites, in order; none where there are no sites.

    `facts` and `packages` are a host's answer to the `facts` request. `certificates` has one entry
    for each site whose certificate comes from files of the controller, by its domain. `program`
    gives the one that renews certificates on a host, `on_controller` is what is ordered here.

    Raises:
        SourceErrors: sites that cannot stand beside each other on one host.
        SourceError: a value that the proxy would misread, or a proxy that is not there yet.
        UsageError: a site with TLS and no certificate.
    """
    if not sites:
        return ()

    from deployer.sites import acme, lint, nginx, versions
    from deployer.sites.certificates import is_acme

    lint.refuse_errors(lint.lint(sites))
    for site in sites:
        if site.proxy != "nginx":
            raise SourceError(
                f"{site.domain} asks for {site.proxy}, which this version cannot set up",
                source=site.source,
                hint="Write `proxy: nginx`, or leave the line out.",
            )
        if site.has_tls and not is_acme(site) and site.domain not in certificates:
            raise UsageError(
                f"no certificate for {site.domain}: its issuer is {site.tls.issuer}",
                hint="Nothing was changed. `issuer: internal` needs no one else to issue it.",
            )
    variables: dict[str, object] = {
        "nginx_version": versions.upstream(packages, ("nginx",), oldest="1.18.0"),
        "openssl_version": versions.upstream(packages, _OPENSSL, oldest="1.1.1"),
        "nginx_installed": bool(packages.get("nginx", {}).get("installed")),
        "nginx_ipv6": bool(facts.get("ansible_all_ipv6_addresses")),
        "nginx_sites": [nginx.view(site) for site in sites],
        "nginx_certificates": [
            {
                "domain": site.domain,
                "folder": f"{nginx.CERTIFICATES_FOLDER}/{site.domain}",
                "fullchain": certificates[site.domain].fullchain_pem.decode("ascii"),
                "privkey": certificates[site.domain].key_pem.decode("ascii"),
            }
            for site in sites
            if site.domain in certificates
        ],
    }
    source = sites[0].source
    ordered = [site for site in sites if is_acme(site)]
    if not ordered:
        return (ProxyRole(role="nginx", vars=variables, source=source),)

    there = on_host or acme.CertificatesOnHost()
    certbot = acme.certbot_vars(
        ordered,
        packages=packages,
        on_host=there,
        program=program,
        staging_first=staging_first,
        on_controller=on_controller,
    )
    stages = {site.domain: acme.stage_of(site, there) for site in sites}
    early = acme.before_certificates(sites, there)
    first = {
        **variables,
        "nginx_sites": [
            *(nginx.view(site, challenge=stages[site.domain] == "former") for site in early),
            *(nginx.bootstrap(site) for site in sites if stages[site.domain] == "challenge"),
        ],
    }
    installs, orders = {"certbot_part": "program"}, {"certbot_part": "certificates"}
    last = 2 if set(stages.values()) != {"whole"} else 1
    calls = [
        ProxyRole(role="certbot", vars={**certbot, **installs}, source=source),
        ProxyRole(role="nginx", vars=first, source=source),
        ProxyRole(role="certbot", vars={**certbot, **orders}, stage=1, source=source),
        ProxyRole(role="nginx", vars=variables, stage=last, source=source),
        ProxyRole(
            role="certbot",
            vars={**certbot, "certbot_part": "renewal"},
            stage=last,
            source=source,
        ),
    ]
    return tuple(calls if last == 2 else [call for call in calls if call is not calls[3]])
