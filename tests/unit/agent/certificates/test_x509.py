"""Certificates as the host reads them, against a library that reads them all."""

from __future__ import annotations

import base64
import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from deployer.agent.certificates.x509 import Certificate, Unreadable, certificates_in

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_START = datetime.datetime(2026, 11, 21, 8, 30, tzinfo=datetime.UTC)


def made(
    key: Key,
    *,
    names: tuple[str, ...] = (),
    common_name: str = "chat.example.com",
    serial: int = 0x04A3F2C1,
    days: int = 90,
) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Müller, "Sons" + Co'),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_START)
        .not_valid_after(_START + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(key, hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


KEYS: dict[str, Key] = {
    "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": ec.generate_private_key(ec.SECP384R1()),
    "rsa-2048": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("key_type", KEYS)
@pytest.mark.parametrize("days", [1, 90, 365 * 40])  # beyond 2050, times are written otherwise
def test_what_is_read_is_what_is_there(key_type: str, days: int) -> None:
    names = ("chat.example.com", "*.example.org", "192.0.2.7", "2001:db8::7")
    theirs = made(KEYS[key_type], names=names, days=days)
    ours = Certificate(der(theirs))
    assert ours.names == names
    assert ours.key_type == key_type
    assert int(ours.serial, 16) == theirs.serial_number
    assert ours.not_before == theirs.not_valid_before_utc.timestamp()
    assert ours.not_after == theirs.not_valid_after_utc.timestamp()
    assert ours.issuer == theirs.issuer.rfc4514_string()
    assert ours.is_self_signed
    assert ours.lifetime_s == days * 86400 + 1


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("chat.example.com", True),
        ("CHAT.example.com", True),
        ("a.example.org", True),
        ("a.b.example.org", False),
        ("example.org", False),
        ("example.com", False),
    ],
)
def test_which_names_it_covers(name: str, covered: bool) -> None:
    key = KEYS["ecdsa-p256"]
    ours = Certificate(der(made(key, names=("chat.example.com", "*.example.org"))))
    assert ours.covers(name) is covered


def test_a_serial_number_is_shown_without_its_sign() -> None:
    ours = Certificate(der(made(KEYS["ecdsa-p256"], serial=0xFF00AA)))
    assert ours.serial == "FF00AA"


def test_how_a_ca_calls_it() -> None:
    """RFC 9773, section 4.1: the sign of the serial number belongs to it there."""
    theirs = made(KEYS["ecdsa-p256"], serial=0x87654321)
    extension = theirs.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    key_id = extension.value.key_identifier or b""
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in
               (key_id, bytes.fromhex("0087654321"))]  # fmt: skip
    assert Certificate(der(theirs)).ari_id == ".".join(encoded)


def test_a_chain_in_its_order_whatever_is_in_between() -> None:
    first = made(KEYS["ecdsa-p256"], common_name="leaf", serial=1)
    second = made(KEYS["ecdsa-p384"], common_name="issuer", serial=2)
    pem = serialization.Encoding.PEM
    text = b"a comment\n" + first.public_bytes(pem) + b"\nanother\n" + second.public_bytes(pem)
    assert [each.serial for each in certificates_in(text)] == ["01", "02"]


@pytest.mark.parametrize("cut", [0, 1, 10, 100, 300])
def test_what_is_no_certificate(cut: int) -> None:
    whole = der(made(KEYS["ecdsa-p256"]))
    with pytest.raises(Unreadable):
        Certificate(whole[:cut])


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
)
def test_what_has_no_certificate_in_it(pem: bytes) -> None:
    with pytest.raises(Unreadable):
        certificates_in(pem)
