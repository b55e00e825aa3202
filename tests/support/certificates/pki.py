"""A small PKI for tests: a root, an intermediate, and leaves that are right or wrong in one way."""

from __future__ import annotations

import datetime
import functools
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def issued(
    name: str, *, by: Issued | None, is_ca: bool = False, ends: datetime.datetime | None = None
) -> Issued:
    """A certificate for `name`, self-signed unless `by` an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - 90 * _DAY)
        .not_valid_after(ends or _NOW + 30 * _DAY)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        try:
            general: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            general = x509.DNSName(name)
        builder = builder.add_extension(x509.SubjectAlternativeName([general]), critical=False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return Issued(certificate, key)


@functools.cache
def authority(name: str) -> Issued:
    """A root of its own; the same one each time that its name is asked for."""
    return issued(name, by=None, is_ca=True)


def server_context(folder: Path, leaf: Issued, *chain: Issued) -> ssl.SSLContext:
    """The settings of a server that shows `leaf` and then `chain`."""
    key = leaf.key_pem
    path = folder / f"{leaf.certificate.serial_number:x}.pem"
    path.write_bytes(key + leaf.pem + b"".join(link.pem for link in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


EXPIRED = _NOW - _DAY
