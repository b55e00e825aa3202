"""The keys of ``tls:``, how a site gets its certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from deployer.playbook.schema.models import Misplaced, Strict, field
from deployer.playbook.schema.types import (
    AccountId,
    Directory,
    DnsPlugin,
    Duration,
    Email,
    HmacKey,
    Issuer,
    KeyType,
    Line,
)

_NOT_ACME = ("internal", "provided", "none")
_ACME_KEYS = ("certbot", "challenge", "dns", "profile", "key_type", "ari")


class EabModel(Strict):
    """The external account binding that a CA gives to its customer."""

    kid: AccountId = field(description="The key's identifier.")
    hmac_key: HmacKey = field(description="The key, in base64url: keep it in a secret file.")


class AcmeModel(Strict):
    """An ACME server other than Let's Encrypt."""

    directory: Directory
    ca_bundle: Line | None = field(
        None, description="A PEM file of the roots of the server's and of issued certificates."
    )
    eab: EabModel | None = field(None, description="External account binding.")
    limits: Literal["letsencrypt", "none"] = field(
        "none", description="Whose rate limits apply; failed validations always count."
    )


class DnsModel(Strict):
    """The certbot plugin that answers DNS-01 challenges."""

    plugin: DnsPlugin = field(description="The name of one of certbot's own plugins.")
    credentials: Line | None = field(None, description="The plugin's credentials file.")
    propagation: Duration = field(
        60.0, description="How long to wait until the CA can see a new record."
    )

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        plugin = node.get("plugin")
        if plugin != "route53" and "credentials" not in node:
            yield Misplaced(None, "the plugin requires 'credentials'", "give the plugin's file")


class ProbeCertificateModel(Strict):
    """A client certificate for checks, in two files on the controller."""

    certificate: Line = field(description="The certificate, and those between it and its CA (PEM).")
    key: Line = field(description="Its private key (PEM), without a passphrase.")


class ClientCertificatesModel(Strict):
    """The certificates that clients present."""

    ca: Line = field(description="A PEM file of the CAs that issue them; copied to the host.")
    verify: Literal["required", "optional"] = field(
        "required", description="optional: clients without a certificate are served, too."
    )
    probe: ProbeCertificateModel | None = field(
        None, description="The certificate that checks present; without it, they are refused."
    )


class TlsModel(Strict):
    """How the site gets its certificate."""

    issuer: Issuer | AcmeModel = field(
        description="Who issues it; internal is a private CA on the controller."
    )
    email: Email | None = field(None, description="The contact address for the issuer.")
    hsts: Duration | None = field(
        None, description="How long browsers insist on HTTPS; off by default."
    )
    certificate: Line | None = field(None, description="issuer: provided: the chain file (PEM).")
    key: Line | None = field(None, description="issuer: provided: the private key file (PEM).")
    ca_bundle: Line | None = field(
        None,
        description="issuer: provided: the roots (PEM) of a private CA that issued it.",
    )
    certbot: Literal["host", "controller"] = field(
        "host", description="Where certbot runs; controller if several hosts serve the site."
    )
    challenge: Literal["http-01", "dns-01"] = field(
        "http-01", description="How the names are validated; wildcards require dns-01."
    )
    dns: DnsModel | None = field(None, description="challenge: dns-01: the plugin to use.")
    profile: Literal["classic", "tlsserver", "shortlived"] | None = field(
        None, description="One of the issuer's profiles."
    )
    key_type: KeyType = field("ecdsa-p256", description="The key type.")
    client_certificates: ClientCertificatesModel | None = field(
        None, description="Clients present certificates, whose subject services get."
    )
    ari: bool = field(False, description="Ask the issuer when to renew (RFC 9773).")
    refused: ClassVar[Mapping[str, str]] = {
        "must_staple": "it requires OCSP, which public CAs ended in 2025, so clients would reject "
        "the certificate",
        "renew_before_expiry": "renewal depends on the certificate's lifetime",
    }

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        issuer = node.get("issuer")
        if isinstance(issuer, str) and "{{" in issuer:
            return
        for key in ("certificate", "key"):
            if issuer == "provided" and key not in node:
                yield Misplaced(None, f"issuer: provided requires '{key}'", "give both PEM files")
            if issuer != "provided" and key in node:
                yield Misplaced(key, f"'{key}' requires issuer: provided")
        if issuer != "provided" and "ca_bundle" in node:
            hint = "for an ACME server: issuer: {directory: …, ca_bundle: …}"
            yield Misplaced("ca_bundle", "'ca_bundle' requires issuer: provided", hint)
        if issuer in _NOT_ACME:
            yield from _keys_of_others(node, str(issuer))
        else:
            yield from _challenge_errors(node)


def _keys_of_others(node: Mapping[str, object], issuer: str) -> Iterator[Misplaced]:
    for key in ("hsts", "client_certificates") if issuer == "none" else ():
        if key in node:
            yield Misplaced(key, f"'{key}' requires TLS, but issuer is none")
    for key in _ACME_KEYS:
        if key in node:
            yield Misplaced(key, f"'{key}' requires an ACME issuer, not {issuer}")


def _challenge_errors(node: Mapping[str, object]) -> Iterator[Misplaced]:
    challenge = node.get("challenge", "http-01")
    if challenge == "dns-01" and "dns" not in node:
        hint = "dns: {plugin: …, credentials: …}"
        yield Misplaced(None, "challenge: dns-01 requires 'dns'", hint)
    if challenge == "http-01" and "dns" in node:
        yield Misplaced("dns", "'dns' requires challenge: dns-01")
