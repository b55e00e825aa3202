"""A private certificate authority on the controller (``issuer: internal``), for labs and intranets.

The folder holds ``root.pem`` and ``root.key``, and for each site ``DOMAIN.pem`` with the key and
the certificate in one file, so that the two can never be a mixture of an old and a new one.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.certificates.internal_ca.store import CaStore
from deployer.errors import UsageError
from deployer.sites.certificate_files import CertificateFiles, names_of

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ROOT_LIFETIME = datetime.timedelta(days=3652)
LEAF_LIFETIME = datetime.timedelta(days=90)
#: Clocks of hosts and clients may be behind ours.
BACKDATE = datetime.timedelta(hours=1)


class InternalCa:
    """The authority that is kept in `folder`; it is made when it is first asked for anything."""

    def __init__(self, folder: Path) -> None:
        self._store = CaStore(folder)

    def root_pem(self, *, now: datetime.datetime | None = None) -> bytes:
        """The certificate that clients must trust.

        Raises:
            UsageError: the folder is broken, open to others, or locked for too long.
        """
        with self._store.locked():
            _, root = self._root(_now(now))
            return _pem(root)

    def certificate_for(
        self, names: Sequence[str], *, now: datetime.datetime | None = None
    ) -> CertificateFiles:
        """A certificate for these names, of which the first says which site it is.

        It is the same one on every call, until the names differ or a third of its time is left.

        Raises:
            UsageError: the folder is broken, open to others, or locked for too long.
        """
        moment = _now(now)
        wanted = tuple(dict.fromkeys(str(_general_name(name.lower()).value) for name in names))
        if not wanted or not re.fullmatch(r"[a-z0-9:*][a-z0-9.:*-]*", wanted[0]):
            raise UsageError(f"a certificate cannot be named after {(*names, '')[0]!r}")
        with self._store.locked():
            root_key, root = self._root(moment)
            kept = self._kept_leaf(wanted[0], root)
            if kept is not None:
                key, leaf = kept
                lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
                fresh = moment < leaf.not_valid_after_utc - lifetime / 3
                if fresh and set(names_of(leaf)) == set(wanted):
                    return _files(key, leaf, root)
            key, leaf = _new_leaf(wanted, now=moment, root_key=root_key, root=root)
            self._store.write(f"{wanted[0]}.pem", _key_pem(key) + _pem(leaf), mode=0o600)
            return _files(key, leaf, root)

    def _root(self, now: datetime.datetime) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        key_pem = self._store.read("root.key")
        certificate_pem = self._store.read("root.pem")
        if key_pem is None and certificate_pem is None:
            key, root = _new_root(now=now)
            # Should this run end in between, the next one replaces the key.
            self._store.write("root.key", _key_pem(key), mode=0o600)
            self._store.write("root.pem", _pem(root), mode=0o644)
            return key, root
        if certificate_pem is None and not self._store.has_leaves():
            self._store.remove("root.key")
            return self._root(now)
        if key_pem is None or certificate_pem is None:
            raise self._store.broken("root.pem" if key_pem else "root.key", "is missing")
        key = self._load_key("root.key", key_pem)
        root = self._load_certificate("root.pem", certificate_pem)
        if not _belongs(key, root):
            raise self._store.broken("root.key", "does not belong to root.pem")
        if root.not_valid_after_utc <= now:
            raise self._store.broken("root.pem", f"expired on {root.not_valid_after_utc:%Y-%m-%d}")
        return key, root

    def _kept_leaf(
        self, name: str, root: x509.Certificate
    ) -> tuple[EllipticCurvePrivateKey, x509.Certificate] | None:
        from cryptography.exceptions import InvalidSignature

        file = f"{name}.pem"
        pem = self._store.read(file)
        if pem is None:
            return None
        key = self._load_key(file, pem)
        leaf = self._load_certificate(file, pem)
        if not _belongs(key, leaf):
            raise self._store.broken(file, "has a key and a certificate that do not fit")
        try:
            leaf.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise self._store.broken(file, "was not issued by root.pem") from error
        return key, leaf

    def _load_key(self, file: str, pem: bytes) -> EllipticCurvePrivateKey:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise self._store.broken(file, "has no key that can be read") from error
        if not isinstance(key, EllipticCurvePrivateKey):
            raise self._store.broken(file, "has a key of another kind than we make")
        return key

    def _load_certificate(self, file: str, pem: bytes) -> x509.Certificate:
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise self._store.broken(file, "has no certificate that can be read") from error


def ephemeral(names: Sequence[str], *, now: datetime.datetime | None = None) -> CertificateFiles:
    """A certificate of an authority that is kept nowhere, where only its form matters."""
    moment = _now(now)
    root_key, root = _new_root(now=moment)
    key, leaf = _new_leaf(names, now=moment, root_key=root_key, root=root)
    return _files(key, leaf, root)


def _now(now: datetime.datetime | None) -> datetime.datetime:
    return now or datetime.datetime.now(datetime.UTC)


def _new_root(*, now: datetime.datetime) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    import secrets

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    # Four digits tell the roots of several folders apart in a trust store.
    title = f"deployer internal CA {secrets.token_hex(2)}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return key, builder.sign(key, hashes.SHA256())


def _new_leaf(
    names: Sequence[str],
    *,
    now: datetime.datetime,
    root_key: EllipticCurvePrivateKey,
    root: x509.Certificate,
) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    # A common name has at most 64 characters; without one, RFC 5280 wants the other names critical.
    common = [x509.NameAttribute(NameOID.COMMON_NAME, names[0])] if len(names[0]) <= 64 else []
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(common))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(min(now + LEAF_LIFETIME, root.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]),
            critical=not common,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )
    return key, builder.sign(root_key, hashes.SHA256())


def _key_usage(*words: str) -> x509.KeyUsage:
    from cryptography import x509

    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{word: word in words for word in every})


def _general_name(name: str) -> x509.GeneralName:
    import ipaddress

    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _belongs(key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    return key.public_key() == certificate.public_key()


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _files(
    key: EllipticCurvePrivateKey, leaf: x509.Certificate, root: x509.Certificate
) -> CertificateFiles:
    return CertificateFiles(
        fullchain_pem=_pem(leaf),
        key_pem=_key_pem(key),
        root_pem=_pem(root),
        issuer=root.subject.rfc4514_string(),
        names=names_of(leaf),
        not_after=leaf.not_valid_after_utc,
    )
