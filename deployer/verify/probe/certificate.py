"""Run a `TlsProbe`: does the proxy present a chain that a strict client accepts?

OpenSSL verifies the chain as curl and Python do: unlike a browser, it fetches no missing
certificate. If it refuses, a second connection that accepts anything reads the certificate, to
explain the refusal.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.model import HandshakeResult
from deployer.verify.net.access import Access, translate_tls_errors
from deployer.verify.net.tls import TlsStream, client_context
from deployer.verify.probe.attempt import Attempt, Failure, printable
from deployer.verify.probe.spec import TlsProbe

if TYPE_CHECKING:
    from cryptography import x509

_DAY_S = 86400.0
_SOON_S = 7 * _DAY_S

# X509_V_ERR_*, openssl-verification-options(1) and x509_vfy.h; ssl names only their texts.
_NOT_YET_VALID = 9
_EXPIRED = 10
_SELF_SIGNED = (18, 19)
_ISSUER_MISSING = (2, 20, 21)
_WRONG_NAME = (62, 64)
#: The name of the CA of ``issuer: internal``.
_INTERNAL_ISSUER = "CN=deployer internal CA "
#: RFC 5280, section 4.2.2.1: public CAs name the URL of their certificate, so it is not a root.
_ISSUER_IS_AT = "its issuer's certificate is at "


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCertificate:
    """The first certificate that the proxy sent; `chain_length` counts all (0: unknown)."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: str
    not_after: str
    chain_length: int
    issuer_uri: str = ""

    @property
    def is_self_issued(self) -> bool:
        return self.subject == self.issuer


def attempt_tls(probe: TlsProbe, access: Access) -> Attempt:
    """Negotiate TLS for `probe.server_name`, and verify the certificate strictly."""
    began = time.monotonic()
    timings_s = probe.timings_s
    failure: Failure | None = None
    note = ""
    facts: dict[str, str] = {}
    try:
        note, facts = _verify(probe, access, timings_s)
    except Failure as error:
        failure = error
    answer = HandshakeResult(
        uri=probe.uri,
        hop=probe.hop,
        timings_s=timings_s,
        error=failure.words if failure else None,
    )
    seconds = time.monotonic() - began
    return Attempt(answer=answer, failure=failure, note=note, seconds=seconds, facts=facts)


def _verify(
    probe: TlsProbe, access: Access, timings_s: dict[str, float]
) -> tuple[str, dict[str, str]]:
    """Return a note about an accepted certificate, and its expiry and hash as facts."""
    roots_pem = None if probe.by_system else access.roots_pem
    identity = probe.endpoint.identity
    context = client_context(roots_pem=roots_pem, verified=True, identity=identity)
    secured = _negotiate(probe, access, context, timings_s)
    certificate = secured.tls.getpeercert() or {}
    version = secured.tls.version() or "TLS"
    begins_s, ends_s = (
        ssl.cert_time_to_seconds(str(certificate.get(key, ""))) for key in ("notBefore", "notAfter")
    )
    left_s = ends_s - time.time()
    note = f"{version}, {left_s / _DAY_S:,.1f} days left"
    shown = secured.tls.getpeercert(binary_form=True) or b""
    facts = {
        "valid_until": time.strftime("%Y-%m-%d", time.gmtime(ends_s)),
        "sha256": hashlib.sha256(shown).hexdigest(),
    }
    if is_soon(left_s, lifetime_s=ends_s - begins_s):
        days, of_days = left_s / _DAY_S, (ends_s - begins_s) / _DAY_S
        facts["soon"] = f"presents a certificate that expires in {days:,.1f} of {of_days:,.0f} days"
    return note, facts


def is_soon(left_s: float, *, lifetime_s: float) -> bool:
    """Whether the certificate should have been renewed: less than a week or a third is left.

    certbot renews when a third of the lifetime is left, or half of a short one.
    """
    return left_s < min(_SOON_S, lifetime_s / 3)


def _negotiate(
    probe: TlsProbe, access: Access, context: ssl.SSLContext, timings_s: dict[str, float]
) -> TlsStream:
    """Negotiate TLS and close the connection; the negotiated values stay readable."""
    began = time.monotonic()
    deadline = access.step()
    stream = access.open_stream(probe.endpoint, deadline)
    timings_s["connect"] = time.monotonic() - began
    secured = TlsStream(stream, context, server_name=probe.server_name)
    try:
        began = time.monotonic()
        with translate_tls_errors(access.timeout_s):
            try:
                secured.handshake(deadline)
            except ssl.SSLCertVerificationError as error:
                raise _distrusted(error, probe, access) from error
        timings_s["tls"] = time.monotonic() - began
    finally:
        with contextlib.suppress(OSError, EOFError):
            stream.close()
    return secured


def _distrusted(error: ssl.SSLCertVerificationError, probe: TlsProbe, access: Access) -> Failure:
    try:
        shown = _served_certificate(probe, access)
    except (Failure, ValueError):
        words = f"presents a certificate that is not accepted: {error.verify_message}"
        return Failure("tls-untrusted", words)
    return describe_refusal(
        error.verify_code,
        error.verify_message,
        shown,
        name=str(probe.server_name),
        issuer_keyword=probe.issuer,
    )


def describe_refusal(
    verify_code: int,
    verify_message: str,
    shown: ServedCertificate,
    *,
    name: str,
    issuer_keyword: str,
) -> Failure:
    """Describe OpenSSL's refusal in terms of the certificate."""
    names = ", ".join(shown.names) or "no name at all"
    evidence = printable(
        f"certificate for {names}; subject {shown.subject}; issued by {shown.issuer}; valid from "
        f"{shown.not_before} to {shown.not_after}; {_sent(shown.chain_length)}; "
        f"{_ISSUER_IS_AT + shown.issuer_uri + '; ' if shown.issuer_uri else ''}"
        f"OpenSSL: {verify_message}",
        limit=600,
    )
    if verify_code in _WRONG_NAME:
        code, words = "tls-wrong-name", f"presents a certificate for {names}, not for {name}"
    elif verify_code == _EXPIRED:
        code, words = "tls-expired", f"presents a certificate that expired on {shown.not_after}"
    elif verify_code == _NOT_YET_VALID:
        words = f"presents a certificate that is not valid before {shown.not_before}"
        code = "tls-expired"
    elif verify_code in _SELF_SIGNED and shown.is_self_issued:
        code, words = "tls-untrusted", "presents a self-signed certificate"
    elif (
        verify_code in _ISSUER_MISSING
        and shown.chain_length == 1
        and not shown.is_self_issued
        # The internal CA has no intermediate: its certificate alone is the whole chain.
        and issuer_keyword != "internal"
        and not shown.issuer.startswith(_INTERNAL_ISSUER)
    ):
        code = "tls-incomplete-chain"
        words = f"sends its certificate without that of its issuer, {shown.issuer}"
    elif verify_code in _ISSUER_MISSING or verify_code in _SELF_SIGNED:
        words = f"presents a certificate from an unknown issuer, {shown.issuer}"
        code = "tls-untrusted"
    else:
        code = "tls-untrusted"
        words = f"presents a certificate that is not accepted: {verify_message}"
    return Failure(code, printable(words, limit=300), evidence=evidence)


def may_be_complete(failure: Failure) -> bool:
    """Whether a certificate sent alone may be the whole chain, signed by an unknown root."""
    return failure.code == "tls-incomplete-chain" and _ISSUER_IS_AT not in failure.evidence


def _sent(number: int) -> str:
    return f"{number or 'unknown number of'} certificate{'s' * (number != 1)} sent"


def _served_certificate(probe: TlsProbe, access: Access) -> ServedCertificate:
    from cryptography import x509

    context = client_context(verified=False, identity=probe.endpoint.identity)
    secured = _negotiate(probe, access, context, {})
    leaf = x509.load_der_x509_certificate(secured.tls.getpeercert(binary_form=True) or b"")
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *extension.get_values_for_type(x509.DNSName),
            *(str(address) for address in extension.get_values_for_type(x509.IPAddress)),
        )
    except x509.ExtensionNotFound:
        names = ()
    return ServedCertificate(
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        names=names,
        not_before=f"{leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
        not_after=f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
        chain_length=_chain_length(secured.tls),
        issuer_uri=_issuer_uri(leaf),
    )


def _issuer_uri(leaf: x509.Certificate) -> str:
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    try:
        extension = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return ""
    for each in extension:
        is_issuer = each.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        if is_issuer and isinstance(each.access_location, x509.UniformResourceIdentifier):
            return str(each.access_location.value)
    return ""


def _chain_length(tls: ssl.SSLObject) -> int:
    """Return how many certificates were sent; 0 if this Python does not report it."""
    # Public from Python 3.13; the object underneath has the same method from 3.10.
    for owner in (tls, getattr(tls, "_sslobj", None)):
        unverified_chain = getattr(owner, "get_unverified_chain", None)
        if unverified_chain is not None:
            return len(unverified_chain() or ())
    return 0
