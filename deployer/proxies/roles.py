"""The roles that serve a host's sites, and the variables they are called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from deployer.errors import SourceError, UsageError
from deployer.model import Attributes, Proxy, SourceRef
from deployer.proxies import PROXIES, ProxyServer
from deployer.proxies.shared import ALONE, Others, others_of
from deployer.sites.model import Site
from deployer.sites.releases import RELEASES

if TYPE_CHECKING:
    from deployer.agent.replies import SharedFile
    from deployer.sites.acme import CertificatesOnHost, OnController
    from deployer.sites.certificate_files import CertificateFiles
    from deployer.sites.drains import Drained
    from deployer.sites.values import View

Packages = Mapping[str, Mapping[str, str | None]]

#: OpenSSL is named after its ABI: 1.1 on Debian 11, 3 on 12, and with 64-bit times on 13. Ubuntu
#: has the same names since 20.04, 22.04 and 24.04.
_OPENSSL = ("libssl3t64", "libssl3", "libssl1.1")
#: The packages whose versions the `facts` request returns.
ASKED_PACKAGES = (*(proxy.package for proxy in PROXIES.values()), *_OPENSSL, "certbot")


class SiteViews(Protocol):
    """A proxy's site module: converts a site to values for the templates of its role."""

    def view(self, site: Site, *, challenge: bool = False) -> View:
        """The whole site; with `challenge` it also answers challenges of a future issuer."""

    def bootstrap(self, site: Site) -> View:
        """The site before it has a certificate: it only answers challenges."""

    def more_vars(self, sites: Sequence[Site], others: Others = ALONE) -> dict[str, object]:
        """Further variables of the role, for all sites together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRole:
    """A role that sites require, with its variables and its stage."""

    role: str
    vars: Attributes
    stage: int = 0
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A host's distribution: its own name and version, and its series if that is known.

    `like` are the identifiers of the distribution and its relatives, as in os-release(5).
    `missing` are programs that deployer may need and the host does not have.
    """

    name: str = "Debian"
    version: str = ""
    like: tuple[str, ...] = ("debian",)
    series: str | None = None
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingHost:
    """The host that serves sites: its facts and package versions, from its reply to ``facts``.

    `served_by` are the proxies set up by earlier runs; one that is no longer used is stopped.
    `certificates` are those on the host, if they were read. `system` is its distribution. `shared`
    are the configuration files that have the sites of several playbooks, by proxy; of these sites,
    those with a domain in `removed` are no longer served. `drained` are upstreams that get no new
    connections, by site.
    """

    facts: Attributes
    packages: Packages
    certificates: CertificatesOnHost | None = None
    served_by: Sequence[Proxy] = ()
    system: System = field(default_factory=System)
    shared: Mapping[str, SharedFile] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    drained: Drained = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """How certificates are ordered from ACME issuers.

    `program` returns the program that renews certificates on a host. With `staging_first`, a host's
    first Let's Encrypt order is rehearsed with the staging environment. `on_controller` are the
    certificates that are ordered on the controller.
    """

    program: Callable[[], bytes] = bytes
    staging_first: bool = True
    on_controller: OnController | None = None


def proxy_roles(
    sites: Sequence[Site],
    *,
    host: ServingHost,
    certificates: Mapping[str, CertificateFiles],
    ordering: Ordering,
) -> tuple[ProxyRole, ...]:
    """The roles that serve a host's sites, in order; none if there are no sites.

    Args:
        certificates: for each site whose certificate comes from files on the controller, by domain.

    Raises:
        SourceErrors: sites that cannot be combined on one host.
        SourceError: a value that the proxy would misread, a feature that it does not have, or a
            version of it that is too old.
        UsageError: a site with TLS and no certificate.
    """
    if not sites:
        return _roles_without_sites(host)

    from deployer.sites import lint
    from deployer.sites.certificate_files import is_acme

    lint.reject_errors(sites)
    for site in sites:
        if site.has_tls and not is_acme(site) and site.domain not in certificates:
            raise UsageError(
                f"no certificate for {site.domain}: its issuer is {site.tls.issuer}",
                hint="Nothing was changed. `issuer: internal` works without an external issuer.",
            )
    of_files = [site for site in sites if site.domain in certificates]
    calls = [_certificate_files(of_files, certificates)] if of_files else []
    proxy = sites[0].proxy
    role = ProxyRole(role=proxy, vars=_proxy_vars(proxy, sites, host), source=sites[0].source)
    if not any(is_acme(site) for site in sites):
        return (*calls, role)
    return (*calls, *_acme_roles(sites, role, host, ordering))


def _roles_without_sites(host: ServingHost) -> tuple[ProxyRole, ...]:
    """The role of each proxy from whose shared file a site is removed, if there is nothing else."""
    return tuple(
        ProxyRole(role=proxy, vars=_proxy_vars(proxy, (), host))
        for proxy in PROXIES
        if host.removed and proxy in host.served_by and _others(proxy, (), host).gone
    )


def _others(proxy: Proxy, sites: Sequence[Site], host: ServingHost) -> Others:
    """What the proxy serves besides `sites`."""
    return others_of(
        host.shared.get(proxy),
        own=sites,
        removed=host.removed,
        is_current=not host.served_by or proxy in host.served_by,
    )


def _proxy_vars(proxy: Proxy, sites: Sequence[Site], host: ServingHost) -> dict[str, object]:
    from deployer.sites import versions

    packages = host.packages
    server = PROXIES[proxy]
    package, views = server.package, server.views
    series = host.system.series or ""
    usual = versions.upstream_of(server.versions.get(series, server.oldest))
    version = versions.upstream(packages, (package,), otherwise=usual)
    if sites:
        _reject_old(sites[0], server, version, host.system)
    openssl = RELEASES[series].openssl[1] if series else "1.1.1"
    more = _others(proxy, sites, host)
    return {
        f"{proxy}_version": version,
        "openssl_version": versions.upstream(
            packages, _OPENSSL, otherwise=versions.upstream_of(openssl)
        ),
        f"{proxy}_installed": bool(packages.get(package, {}).get("installed")),
        f"{proxy}_ipv6": bool(host.facts.get("ansible_all_ipv6_addresses")),
        f"{proxy}_drain_s": _longest([site.drain_s for site in (*sites, *more.sites)]),
        f"{proxy}_replaces": [PROXIES[other].unit for other in host.served_by if other != proxy],
        f"{proxy}_sites": [views.view(site) for site in (*sites, *more.sites)],
        **views.more_vars(sites, more),
    }


def _reject_old(site: Site, server: ProxyServer, version: str, system: System) -> None:
    from deployer.sites.versions import is_before

    if is_before(version, server.minimum):
        raise SourceError(
            f"{server.title} {version} of {system} is too old for this site: it lacks "
            f"{server.minimum_because} (since {server.minimum})",
            source=site.source,
            hint="Nothing was changed. Use a different proxy, or a newer release of the system.",
        )


def _acme_roles(
    sites: Sequence[Site], role: ProxyRole, host: ServingHost, ordering: Ordering
) -> tuple[ProxyRole, ...]:
    """The proxy's `role` and certbot's, in the stages in which certificates are ordered.

    The proxy first answers challenges for sites without a certificate, and serves them afterwards.
    """
    from deployer.sites import acme
    from deployer.sites.certificate_files import is_acme

    proxy, views = sites[0].proxy, PROXIES[sites[0].proxy].views
    on_host = host.certificates or acme.CertificatesOnHost()
    certbot = _certbot_vars([site for site in sites if is_acme(site)], host, on_host, ordering)
    stages = {site.domain: acme.stage_of(site, on_host) for site in sites}
    early = acme.before_certificates(sites, on_host)
    more = _others(proxy, sites, host)
    first = {
        **role.vars,
        **views.more_vars(early, more),
        f"{proxy}_sites": [
            *(views.view(site, challenge=stages[site.domain] == "former") for site in early),
            *(views.bootstrap(site) for site in sites if stages[site.domain] == "challenge"),
            *(views.view(site) for site in more.sites),
        ],
    }

    def certbot_call(part: str, stage: int) -> ProxyRole:
        variables = {**certbot, "certbot_part": part, "certbot_reload": f"reload {proxy}"}
        return ProxyRole(role="certbot", vars=variables, stage=stage, source=role.source)

    is_staged = set(stages.values()) != {"whole"}
    last = 2 if is_staged else 1
    return (
        certbot_call("program", 0),
        replace(role, vars=first),
        certbot_call("certificates", 1),
        *([replace(role, stage=last)] if is_staged else []),
        certbot_call("renewal", last),
    )


def _certbot_vars(
    sites: Sequence[Site], host: ServingHost, on_host: CertificatesOnHost, ordering: Ordering
) -> Attributes:
    from deployer.sites import acme

    server = PROXIES[sites[0].proxy]
    found = acme.certbot_vars(
        sites,
        reload={"unit": server.unit, "config_test": list(server.config_test)},
        packages=_with_usual_certbot(host),
        on_host=on_host,
        program=ordering.program,
        staging_first=ordering.staging_first,
        on_controller=ordering.on_controller,
    )
    if found["certbot_newer_because"]:
        acme.reject_old_python(sites, str(host.facts.get("ansible_python_version", "")))
    return found


def _with_usual_certbot(host: ServingHost) -> Packages:
    """The host's packages; with the series' certbot, if apt does not know any yet."""
    known = host.packages.get("certbot", {})
    series = host.system.series
    if not series or known.get("candidate"):
        return host.packages
    return {**host.packages, "certbot": {**known, "candidate": RELEASES[series].certbot}}


def _longest(drains: Sequence[float | None]) -> int | None:
    """The longest drain in whole seconds; `None` if one of them is unlimited, or there is none."""
    capped = [drain for drain in drains if drain is not None]
    return max(1, round(max(capped))) if capped and len(capped) == len(drains) else None


def _certificate_files(
    sites: Sequence[Site], certificates: Mapping[str, CertificateFiles]
) -> ProxyRole:
    """The role that writes certificates from files, and reloads the proxy."""
    from deployer.sites.values import certificate_folder

    return ProxyRole(
        role="certificate_files",
        vars={
            "certificate_reload": f"reload {sites[0].proxy}",
            "certificate_files": [
                {
                    "domain": site.domain,
                    "folder": certificate_folder(site),
                    "fullchain": certificates[site.domain].fullchain_pem.decode("ascii"),
                    "privkey": certificates[site.domain].key_pem.decode("ascii"),
                }
                for site in sites
            ],
        },
        source=sites[0].source,
    )
