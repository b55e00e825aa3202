"""`deployer certs` on one host: status, renewal, and the plans of its commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deployer.certificates.on_host import ask
from deployer.commit.contact import Contact
from deployer.commit.messages import error_words
from deployer.commit.outcome import HostReport
from deployer.errors import AgentError
from deployer.run.project import Project
from deployer.sites.acme import directory_of
from deployer.sites.certificate_files import is_acme
from deployer.sites.model import Site
from deployer.text.redaction import masked
from deployer.text.times import minute, moment

if TYPE_CHECKING:
    from deployer.transport import Link

#: How long a renewal waits for an apply on the same host, unless ``--lock-timeout`` says more.
_PATIENCE_S = 60.0


def only_certificates(project: Project) -> Project:
    """`project` limited to the tasks about certificates."""
    return replace(project, tags=frozenset({"certificates"}))


def only_renewal(project: Project, *, remove: bool) -> Project:
    """`project` limited to the renewal timer, which is installed or removed."""
    variables = {**project.extra_vars, "certbot_timer": not remove}
    return replace(project, tags=frozenset({"renewal"}), extra_vars=variables)


NOTHING_RENEWS = "this host renews no certificates itself"


def renews_itself(sites: Sequence[Site]) -> bool:
    """Whether certbot on the host renews a certificate of `sites`."""
    return any(is_acme(site) and site.tls.certbot == "host" for site in sites)


def next_run_words(link: Link) -> str:
    """When the host checks its certificates next."""
    at = moment(ask(link, "timer")["next_run"])
    return (
        f"renews automatically; next check at {minute(at)}"
        if at
        else "does not renew automatically"
    )


def statuses(contact: Contact, sites: Sequence[Site]) -> HostReport:
    """The status of each certificate of `sites`."""
    contact.doing("reading certificates")
    link = contact.link()
    secure = [site for site in sites if site.has_tls]
    reply = ask(link, "status", sites=[_asked(site) for site in secure])
    here = contact.options.certificates
    found = []
    for site, status in zip(secure, reply["certificates"], strict=True):
        is_here = here is not None and is_acme(site) and site.tls.certbot == "controller"
        about = here.about(site) if here is not None and is_here else {}
        found.append({**status, **{key: about[key] for key in about if about[key] is not None}})
    return HostReport(
        host=contact.host.name,
        state="healthy",
        certificates=tuple(masked(found, contact.secrets)),
    )


def renewed(contact: Contact, sites: Sequence[Site], *, force: bool) -> HostReport:
    """Renew certbot's certificates on the host that are due, or all with `force`; then the status.

    Raises:
        AgentError: the host could not start.
    """
    own = [site for site in sites if is_acme(site) and site.tls.certbot == "host"]
    failed: Mapping[str, str] = {}
    if own:
        contact.doing("renewing")
        link = contact.link()
        try:
            reply = link.request(
                "certificates",
                do="renew",
                force=force,
                domains=[site.domain for site in own],
                patience_s=max(_PATIENCE_S, contact.options.lock_timeout_s),
                staging_first=contact.options.staging_first,
                on_event=lambda event: contact.on_event(event, sites=own, certificates=None),
                doing="renewing certificates",
            )
        except AgentError as error:
            words = error_words(error)
            return HostReport(host=contact.host.name, state="failed", message=words)
        failed = reply["failed"]
    report = statuses(contact, sites)
    if not failed:
        return report
    words = "\n".join(f"{domain} was not renewed: {why}" for domain, why in failed.items())
    message = f"{words}\nThe former certificate is still served."
    return replace(report, state="unhealthy", message=message)


def _asked(site: Site) -> dict[str, Any]:
    """The request for the status of a site's certificate: who renews it, and for which names."""
    issuer = site.tls.issuer
    known = ("letsencrypt", "letsencrypt-staging", "internal", "provided")
    return {
        "domain": site.domain,
        "names": list(site.names),
        "port": site.serving_port,
        "issuer": issuer if issuer in known else "acme",
        "where": site.tls.certbot if is_acme(site) else _KEEPERS[issuer],
        "directory": directory_of(site) if is_acme(site) else None,
    }


_KEEPERS = {"internal": "controller", "provided": "you"}
