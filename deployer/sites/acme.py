"""ACME certificates as values for the certbot role, and the stages of a new site.

A proxy does not start without its certificate file, and a CA issues no certificate before the proxy
answers its challenge. So a site without a certificate is deployed in stages of one commit: port 80
with the challenge route, then the certificate, then the whole site. A site that was served in plain
text continues to be served meanwhile.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from deployer.errors import SourceError
from deployer.model import Attributes, Document
from deployer.sites.certificate_files import is_acme
from deployer.sites.model import Dns, Site
from deployer.text.numbers import is_number

#: The port to which every proxy forwards challenges; certbot listens there while it orders. Only
#: root can listen below 1024, and a process that answers challenges can obtain certificates.
CHALLENGE_PORT = 920
SETTINGS_FOLDER = "/etc/deployer/certificates"
DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
#: The first certbot version with each feature, from its changelog.
_NEEDS = {"addresses": "5.4", "ari": "4.1", "profile": "4.1", "key_type": "1.10"}
#: The Python that certbot needs since some of its versions, newest first, as PyPI states it.
_NEEDED_PYTHON = (("5.0", "3.10"), ("4.1", "3.9.2"))
PYPI_CERTBOT = "/opt/deployer/certbot/bin/certbot"
PACKAGED_CERTBOT = "/usr/bin/certbot"
SNAP_CERTBOT = "/snap/bin/certbot"

_END = "-----END CERTIFICATE-----\n"

Stage = Literal["challenge", "former", "whole", "later"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatesOnHost:
    """The state of a host's certificates before a plan is made.

    `in_use` has an entry for each domain with a certificate; its `attributes` are `None` if the
    certificate is not from an ACME issuer. `others_use_certbot`: certbot's default folder contains
    certificates that deployer does not manage.
    """

    in_use: Mapping[str, Document] = field(default_factory=dict)
    former_sites: tuple[Site, ...] = ()
    others_use_certbot: bool = False

    def chain(self, domain: str, *, more: str) -> bytes:
        """The PEM of the issuers of the certificate in use for `domain`, followed by `more`.

        Empty if no certificate is in use.
        """
        chain = str(self.in_use.get(domain, {}).get("chain", ""))
        _, end, issuers = chain.partition(_END)
        return (f"{issuers.strip()}\n{more}" if (issuers + more).strip() else chain + end).encode()

    def attributes(self, domain: str) -> Attributes | None:
        """The attributes of the certificate in use for `domain`, if from an ACME issuer."""
        found: Attributes | None = self.in_use.get(domain, {}).get("attributes")
        return found


class OnController(Protocol):
    """The certificates that are ordered on the controller."""

    @property
    def is_forced(self) -> bool:
        """Whether they are ordered again although they are valid."""

    @property
    def is_strict(self) -> bool:
        """Whether a failed renewal is an error although the previous one is still valid."""

    def serial(self, site: Site) -> str | None:
        """The serial number of an existing valid certificate for `site`, if any."""


def directory_of(site: Site) -> str:
    """The URL of the site's ACME directory."""
    return DIRECTORIES.get(site.tls.issuer, site.tls.issuer)


def ca_bundle_of(site: Site) -> str:
    """The PEM of the site's `ca_bundle`; empty if it has none.

    Raises:
        SourceError: the file cannot be read.
    """
    return _text_of(site, site.tls.ca_bundle) or ""


def lineage_of(domain: str) -> str:
    """The certbot lineage of a domain, in which ``wildcard`` replaces the star."""
    return domain.replace("*", "wildcard")


def stage_of(site: Site, on_host: CertificatesOnHost) -> Stage:
    """The part of a site that can be served before its certificate exists.

    ``whole`` if the proxy already has some certificate for it.
    """
    if not is_acme(site) or on_host.attributes(site.domain) is not None:
        return "whole"
    if former_site(site, on_host) is not None:
        return "former"
    return "challenge" if site.tls.challenge == "http-01" else "later"


def former_site(site: Site, on_host: CertificatesOnHost) -> Site | None:
    """The site as the host currently serves it, if it does."""
    for former in on_host.former_sites:
        is_servable = not is_acme(former) or on_host.attributes(former.domain) is not None
        if former.domain == site.domain and former.proxy == site.proxy and is_servable:
            return former
    return None


def before_certificates(sites: Sequence[Site], on_host: CertificatesOnHost) -> list[Site]:
    """The sites that are served until the certificates exist."""
    found = []
    for site in sites:
        stage = stage_of(site, on_host)
        former = former_site(site, on_host) if stage == "former" else None
        if stage == "whole":
            found.append(site)
        elif former is not None:
            names = {*former.names}
            more = tuple(name for name in site.names if name not in names)
            found.append(replace(former, aliases=(*former.aliases, *more)))
    return found


def settings_of(site: Site, *, certbot: str) -> dict[str, object]:
    """How the host orders and renews the site's certificate: `deployer/remote/renewal.py`."""
    tls, lineage = site.tls, lineage_of(site.domain)
    dns = None
    if tls.dns is not None:
        path = f"{SETTINGS_FOLDER}/{lineage}.dns.ini" if tls.dns.credentials else None
        dns = dns_settings(tls.dns, credentials=path)
    return {
        "domain": site.domain,
        "names": list(site.names),
        "issuer": tls.issuer if tls.issuer in DIRECTORIES else "acme",
        "where": tls.certbot,
        "directory": directory_of(site),
        "ca_bundle": f"{SETTINGS_FOLDER}/{lineage}.ca.pem" if tls.ca_bundle else None,
        "email": tls.email,
        "eab": {"kid": tls.eab.kid, "hmac_key": tls.eab.hmac_key} if tls.eab else None,
        "key_type": tls.key_type,
        "profile": tls.profile,
        "ari": tls.ari,
        "challenge": tls.challenge,
        "dns": dns,
        "certbot": [certbot],
        "limits": tls.limits,
        "challenge_port": CHALLENGE_PORT,
        **({"port": site.port} if site.port else {}),
    }


def dns_settings(dns: Dns, *, credentials: str | None) -> dict[str, object]:
    """The settings of a DNS-01 challenge, with the file of `credentials` where it is used."""
    return {
        "plugin": dns.plugin,
        "credentials": credentials,
        "propagation_s": dns.propagation_s,
    }


def certbot_vars(
    sites: Sequence[Site],
    *,
    reload: Mapping[str, object],
    packages: Mapping[str, Mapping[str, str | None]],
    on_host: CertificatesOnHost,
    program: Callable[[], bytes],
    staging_first: bool,
    on_controller: OnController | None,
) -> dict[str, object]:
    """The variables of the certbot role.

    `reload` has the proxy's ``unit`` and the ``config_test`` that must pass before its reload.

    Raises:
        SourceError: a file that a site names cannot be read.
    """
    own = [site for site in sites if site.tls.certbot == "host"]
    plugins = sorted({site.tls.dns.plugin for site in own if site.tls.dns})
    certbot, reason = _certbot_for(own, packages.get("certbot", {}), plugins)
    requirements = [
        f"certbot>={_newest_need(own)}",
        *(f"certbot-dns-{plugin}" for plugin in plugins),
    ]
    # pip's log with this name exists once exactly these are installed.
    installed = "_".join(requirements).replace(">=", "-")
    return {
        "certbot_runs_here": bool(own),
        "certbot_is_snap": certbot == SNAP_CERTBOT,
        "certbot_newer_because": reason,
        "certbot_plugins": plugins,
        "certbot_requirements": requirements,
        "certbot_installed": f"{installed}.log",
        "certbot_others_use_it": on_host.others_use_certbot,
        "certbot_program": program(),
        "certbot_certificates": [
            {
                "domain": site.domain,
                "lineage": lineage_of(site.domain),
                "names": sorted(site.names),
                "directory": directory_of(site),
                "key_type": site.tls.key_type,
                "profile": site.tls.profile,
                "staging_first": staging_first and site.tls.issuer == "letsencrypt",
                **_of_controller(site, on_controller),
                "ca_bundle": _text_of(site, site.tls.ca_bundle),
                **_secrets_on_host(site, {**settings_of(site, certbot=certbot), **reload}),
            }
            for site in sites
        ],
    }


def _of_controller(site: Site, on_controller: OnController | None) -> dict[str, object]:
    """The certificate to copy to the host; without a serial it has to be ordered first."""
    if site.tls.certbot == "host" or on_controller is None:
        return {"serial": None, "forced": False, "strict": False}
    return {
        "serial": on_controller.serial(site),
        "forced": on_controller.is_forced,
        "strict": on_controller.is_strict,
    }


def _secrets_on_host(site: Site, settings: dict[str, object]) -> dict[str, object]:
    """The settings and credentials for the host; without secrets if the controller orders."""
    credentials = _text_of(site, site.tls.dns.credentials if site.tls.dns else None)
    if site.tls.certbot != "host":
        settings, credentials = {**settings, "eab": None, "dns": None}, None
    return {
        "settings": json.dumps(settings, indent=2) + "\n",
        "is_secret": settings["eab"] is not None,
        "dns_credentials": credentials,
    }


def _text_of(site: Site, path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise SourceError(f"cannot read {path}: {why}", source=site.source) from error


def _needs(site: Site) -> list[str]:
    found = ["profile"] if site.tls.profile else []
    found += ["ari"] if site.tls.ari else []
    return [*found, *(["addresses"] if any(map(_is_address, site.names)) else []), "key_type"]


def _newest_need(sites: Sequence[Site]) -> str:
    wanted = [_NEEDS[need] for site in sites for need in _needs(site)]
    return max(wanted, key=_numbers, default="4.1")


def _certbot_for(
    sites: Sequence[Site], package: Mapping[str, str | None], plugins: Sequence[str]
) -> tuple[str, str]:
    """The certbot to use, and why it has to come from PyPI; empty if it does not.

    An installed package is used if it suffices, otherwise a snap. Where there is a snap, no package
    is installed: its program would replace the link to that of the snap.
    """
    installed, snap = package.get("installed"), package.get("snap")
    version = _version_of(installed or package.get("candidate"))
    has = f"the package is {version}" if version else "there is no package"
    reason = _unmet(sites, version, has)
    if not reason and (installed or not snap):
        return PACKAGED_CERTBOT, ""
    if snap:
        reason = _unmet(sites, _version_of(snap), f"the snap is {snap}")
        if plugins and not reason:
            reason = f"the snap has no plugin {plugins[0]}"
    return (PYPI_CERTBOT if reason else SNAP_CERTBOT), reason


def reject_old_python(sites: Sequence[Site], python: str) -> None:
    """Refuse certbot from PyPI on a host with that Python, if it needs a newer one.

    Raises:
        SourceError: it does.
    """
    own = [site for site in sites if site.tls.certbot == "host"]
    version = _newest_need(own)
    for since, needed in _NEEDED_PYTHON:
        if _numbers(version) >= _numbers(since):
            if python and _numbers(python) < _numbers(needed):
                raise SourceError(
                    f"this certificate requires certbot {version}, which requires Python {needed}, "
                    f"but the host has {python}",
                    source=own[0].source,
                    hint="With `certbot: controller`, it is ordered on this machine.",
                )
            return


def _version_of(text: str | None) -> str:
    found = re.match(r"(?:\d+:)?([0-9.]+)", text or "")
    return found[1] if found else ""


def _unmet(sites: Sequence[Site], version: str, has: str) -> str:
    """What certbot `version` lacks for `sites`; empty if nothing."""
    for site in sites:
        for need in _needs(site):
            if need == "key_type" and not version:
                continue  # every package of a supported release knows it
            if _numbers(version or "0") < _numbers(_NEEDS[need]):
                words = {
                    "profile": f"profile: {site.tls.profile}",
                    "ari": "ari: true",
                    "addresses": "a certificate for an address",
                    "key_type": f"key_type: {site.tls.key_type}",
                }[need]
                return f"{words} requires certbot {_NEEDS[need]}, but {has}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if is_number(part))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
