"""Certificate files for proxies, including those provided by the user (``issuer: provided``)."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.errors import SourceError
from deployer.sites.model import Site
from deployer.text.reading import read_limited

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """A certificate with its chain, leaf first, and its key; `key_pem` never shows in a `repr`.

    `root_pem` is the root that clients must trust, `None` for the system's trust store. `issuer` is
    the issuer's name in the leaf.
    """

    fullchain_pem: bytes
    key_pem: bytes = field(repr=False)
    root_pem: bytes | None
    issuer: str
    names: tuple[str, ...]
    not_after: datetime.datetime


def is_acme(site: Site) -> bool:
    """Whether an ACME issuer will ask for challenges on port 80 (RFC 8555, section 8.3)."""
    return site.tls.issuer not in ("none", "internal", "provided")


def provided(
    site: Site, base_dir: Path, *, now: datetime.datetime | None = None
) -> CertificateFiles:
    """Load and check the certificate files of a site; relative paths start at `base_dir`.

    Raises:
        SourceError: a file is missing or unreadable, the key is encrypted or does not match, the
            certificate does not cover the site's names or is not valid now, or the chain is
            incomplete, out of order, or does not lead to the site's `ca_bundle`.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    now = now or datetime.datetime.now(datetime.UTC)
    chain_path = _path(site, base_dir, site.tls.certificate, word="certificate")
    key_path = _path(site, base_dir, site.tls.key, word="key")
    chain = _load_chain(site, chain_path)
    key_pem = _read(site, key_path)
    leaf = chain[0]
    _check_key(site, _load_key(site, key_path, key_pem), leaf, key_path, chain_path)
    _check_chain(site, chain, chain_path)
    _check_time(site, chain, chain_path, now=now)
    names = names_of(leaf)
    missing = [name for name in site.names if not covers(names, name)]
    if missing:
        raise _error(
            site,
            f"the certificate {chain_path} is not for {', '.join(missing)}",
            f"It is for {', '.join(names) or 'no name'}.",
        )
    return CertificateFiles(
        # Re-encoded, because the file may also contain the key.
        fullchain_pem=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        key_pem=key_pem,
        root_pem=_root_of(site, chain, chain_path, base_dir),
        issuer=leaf.issuer.rfc4514_string(),
        names=names,
        not_after=leaf.not_valid_after_utc,
    )


def _root_of(
    site: Site, chain: Sequence[x509.Certificate], path: Path, base_dir: Path
) -> bytes | None:
    """The roots of the site's `ca_bundle`, else the root at the end of the chain, if it has one."""
    from cryptography.hazmat.primitives.serialization import Encoding

    if not site.tls.ca_bundle:
        is_root = chain[-1].issuer == chain[-1].subject
        return chain[-1].public_bytes(Encoding.PEM) if is_root else None
    bundle = base_dir / Path(os.path.expanduser(site.tls.ca_bundle))
    roots = _load_chain(site, bundle)
    if not any(root in chain or _has_issued(root, chain[-1]) for root in roots):
        raise _error(
            site,
            f"the chain in {path} does not lead to a certificate in {bundle}",
            f"Its last certificate was issued by {chain[-1].issuer.rfc4514_string()}: add the "
            "missing ones to the chain, or that CA's root to the ca_bundle.",
        )
    return b"".join(root.public_bytes(Encoding.PEM) for root in roots)


def _has_issued(root: x509.Certificate, certificate: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses in a certificate's subjectAltName, in order."""
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        str(name.value)
        for name in extension.value
        if isinstance(name, x509.DNSName | x509.IPAddress)
    )


def covers(names: Sequence[str], name: str) -> bool:
    """Whether one of a certificate's `names` matches `name`; a wildcard matches one label.

    Source: RFC 9525, section 6.3.
    """
    name = name.lower()
    _, _, parent = name.partition(".")
    return any(known.lower() in (name, f"*.{parent}") for known in names)


def _path(site: Site, base_dir: Path, value: str | None, *, word: str) -> Path:
    if not value:
        raise _error(
            site,
            f"{site.domain} has `issuer: provided` without `{word}:`",
            f"Name the file: {word}: files/{site.domain}.pem",
        )
    return base_dir / Path(os.path.expanduser(value))


def _read(site: Site, path: Path) -> bytes:
    try:
        return read_limited(path)
    except OSError as error:
        raise _error(
            site,
            f"cannot read {path}: {error.strerror or error}",
            "Paths are relative to the playbook's folder.",
        ) from error


def _load_chain(site: Site, path: Path) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(_read(site, path))
    except ValueError as error:
        raise _error(
            site,
            f"{path} contains no readable certificate: {error}",
            "It must be in PEM format (-----BEGIN CERTIFICATE-----), the site's own first.",
        ) from error


def _load_key(site: Site, path: Path, pem: bytes) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise _error(
            site,
            f"the key {path} is encrypted",
            f"A proxy cannot ask for a passphrase: openssl pkey -in {path} -out plain.pem",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The parser's message could contain parts of the key.
        raise _error(
            site, f"{path} is not a readable private key", "It must be in PEM format."
        ) from error


def _check_key(
    site: Site, key: PrivateKeyTypes, leaf: x509.Certificate, key_path: Path, chain_path: Path
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spki) != leaf.public_key().public_bytes(*spki):
        raise _error(
            site,
            f"the key {key_path} does not belong to the first certificate in {chain_path}",
            "The site's own certificate comes first, then those of its issuers.",
        )


def _check_chain(site: Site, chain: Sequence[x509.Certificate], path: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    for number, (certificate, issuer) in enumerate(pairwise(chain), start=1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise _error(
                site,
                f"{path}: certificate {number + 1} did not issue certificate {number}",
                f"Certificate {number} was issued by {certificate.issuer.rfc4514_string()}: "
                "that one must come next, and each only once.",
            ) from error
    if len(chain) == 1 and _issuer_is_published(chain[0]):
        raise _error(
            site,
            f"{path} contains only the site's certificate, without its issuer's",
            f"Add the certificate of {chain[0].issuer.rfc4514_string()} to the file: browsers may "
            "fetch it, other clients refuse the connection.",
        )


def _issuer_is_published(leaf: x509.Certificate) -> bool:
    """Whether the leaf has the URL of its issuer's certificate, as leaves of intermediates do.

    A private root that signs leaves directly gives no URL; then the leaf alone is sufficient.
    Source: RFC 5280, section 4.2.2.1, id-ad-caIssuers.
    """
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    try:
        extension = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return False
    return any(
        access.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        for access in extension.value
    )


def _check_time(
    site: Site, chain: Sequence[x509.Certificate], path: Path, *, now: datetime.datetime
) -> None:
    for number, certificate in enumerate(chain, start=1):
        until = certificate.not_valid_after_utc
        since = certificate.not_valid_before_utc
        if until <= now:
            raise _error(
                site,
                f"{path}: certificate {number} expired on {until:%Y-%m-%d %H:%M} UTC",
                "Replace it with a renewed one.",
            )
        if since > now:
            raise _error(
                site,
                f"{path}: certificate {number} is not valid before {since:%Y-%m-%d %H:%M} UTC",
                f"This machine's clock shows {now:%Y-%m-%d %H:%M} UTC.",
            )


def _error(site: Site, problem: str, hint: str) -> SourceError:
    return SourceError(problem, source=site.source, hint=hint)
