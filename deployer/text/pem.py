"""PEM blocks in output: a summary line for each instead of its body."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n.*?-----END \1-----", re.DOTALL)
_FINGERPRINT_LENGTH = 16


def summarized(text: str) -> str:
    """`text` with a line in place of each PEM block.

    A certificate is shown by subject, issuer, end and SHA-256 fingerprint; anything else by its
    label and its fingerprint.
    """
    return text if "-----BEGIN " not in text else _BLOCK.sub(_summary, text)


def _summary(block: re.Match[str]) -> str:
    found = _certificate(block[0]) if block[1].endswith("CERTIFICATE") else ""
    digest = hashlib.sha256(block[0].encode()).hexdigest()[:_FINGERPRINT_LENGTH]
    return found or f"{block[1]}: {len(block[0]):,} bytes, SHA-256 of the text {digest}…"


def _certificate(pem: str) -> str:
    """The summary of a certificate; empty if it cannot be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        read = x509.load_pem_x509_certificate(pem.encode())
        subject = read.subject.rfc4514_string() or _names(read)
        issuer = read.issuer.rfc4514_string()
        end = read.not_valid_after_utc
    except ValueError:
        return ""
    digest = read.fingerprint(SHA256()).hex()[:_FINGERPRINT_LENGTH]
    return (
        f"certificate: subject {subject}, issuer {issuer}, not after {end:%Y-%m-%d %H:%M:%S}Z, "
        f"SHA-256 {digest}…"
    )


def _names(read: Certificate) -> str:
    """The names of a certificate without a subject, as CAs now issue them."""
    from cryptography import x509

    try:
        found = read.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return "(none)"
    return ", ".join(str(each.value) for each in found.value)
