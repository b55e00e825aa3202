"""Certificates that ACME issued to this controller, kept as long as they fit a site.

For each combination of settings the folder holds one file with the key and the chain, so that the
two can never be a mixture of an old and a new one, and certbot's own folders:

    DOMAIN-DIGEST.pem             `DIGEST` is that of the CA's directory, the profile, key and names
    DOMAIN-DIGEST.state.json      the last attempt, and the CA's renewal window
    config/ work/ logs/           certbot's; config/live/DOMAIN-DIGEST is where the file comes from
    order/ order.lock             of the current order
    ledger.jsonl                  what was ordered when, for the CA's limits
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deployer.agent.certificates import terms
from deployer.agent.certificates.x509 import Certificate, Unreadable, certificates_in
from deployer.errors import UsageError
from deployer.model import Document
from deployer.private_folder import PrivateFolder

#: How a certificate is described everywhere: names, directory, key_type, profile and so on.
Settings = Document

_ORDERED_FOR = b"Ordered for: "


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate with its chain, leaf first, and its key; `key_pem` never shows in a `repr`.

    `directory` and `profile` are those of its order; `window` is the CA's renewal window (RFC
    9773), in seconds since the epoch, if it is known.
    """

    fullchain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    leaf: Certificate = field(repr=False, compare=False)
    directory: str
    profile: str | None
    window: tuple[float, float] | None = field(default=None, compare=False)

    @property
    def serial(self) -> str:
        """The serial number in hexadecimal digits."""
        return self.leaf.serial

    @property
    def due_at(self) -> float:
        """When it is due for renewal, in seconds since the epoch."""
        return terms.due_at(self.leaf, self.window)

    def is_for(self, settings: Settings) -> bool:
        """Whether it matches `settings`, even if it has expired."""
        return terms.is_for(self.leaf, settings, directory=self.directory, profile=self.profile)

    def fits(self, settings: Settings, now: float) -> bool:
        """Whether it matches `settings` and is not due for renewal."""
        return self.is_for(settings) and self.leaf.not_before <= now < self.due_at


def lineage_of(settings: Settings) -> str:
    """The name of this certificate, for us and certbot: different settings have different names.

    So a certificate of a staging CA, or for other names, never replaces it.
    """
    asked = [
        settings["directory"],
        settings.get("profile"),
        settings["key_type"],
        sorted(str(name).lower() for name in settings["names"]),
    ]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]
    domain = str(settings["domain"]).lower().replace("*", "wildcard").replace(":", "-")
    return f"{domain}-{digest}"


def read_pair(fullchain: bytes, key: bytes, settings: Settings) -> IssuedCertificate:
    """The pair that was ordered for `settings`.

    Raises:
        ValueError: it cannot be read, is no pair, or is for something different.
    """
    try:
        leaf = certificates_in(fullchain)[0]
    except Unreadable as error:
        raise ValueError(f"the chain cannot be read: {error}") from None
    _check_key(key, leaf)
    found = IssuedCertificate(
        fullchain_pem=fullchain,
        key_pem=key,
        leaf=leaf,
        directory=settings["directory"],
        profile=settings.get("profile"),
    )
    if not found.is_for(settings):
        names = ", ".join(leaf.names)
        raise ValueError(f"it is an {leaf.key_type} certificate for {names}, which was not ordered")
    return found


class CertificateStore:
    """The certificates in `folder`, which is created with mode 0700 when one is first kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = PrivateFolder(folder, owner="the certificates from ACME")

    def make(self) -> None:
        """Create the folder if it is missing, closed to others.

        Raises:
            UsageError: that fails, or it is open to others.
        """
        with self._files.locked():
            pass

    def newest(self, settings: Settings) -> IssuedCertificate | None:
        """The newest complete pair that was ordered for `settings`, even if it has expired.

        Including one that certbot got just before it, or we, were interrupted. An unreadable pair
        counts as absent: a new order replaces it.

        Raises:
            UsageError: the folder or a key in it is open to others or unreadable.
        """
        if not self.folder.exists():
            return None
        with self._files.locked():
            pairs = [self._kept(settings), self._of_certbot(settings)]
        found = [pair for pair in pairs if pair is not None]
        newest = max(found, key=lambda pair: pair.leaf.not_before, default=None)
        ari = self.state(settings).get("ari") or {}
        if newest is None or ari.get("serial") != newest.serial:
            return newest
        return replace(newest, window=(ari["start"], ari["end"]))

    def fitting(self, settings: Settings, now: float) -> IssuedCertificate | None:
        """A pair that fits, so no order is needed.

        Raises:
            UsageError: as `newest`.
        """
        found = self.newest(settings)
        return found if found is not None and found.fits(settings, now) else None

    def keep(self, settings: Settings) -> IssuedCertificate:
        """Keep the pair that certbot got for `settings`.

        Raises:
            UsageError: there is no complete pair, or the folder cannot be used.
        """
        with self._files.locked():
            found = self._of_certbot(settings)
            if found is None:
                raise UsageError(
                    f"certbot left no complete certificate in {self._live(settings)}; "
                    "no host was changed",
                    hint=f"Its log is in {self.folder / 'logs'}.",
                )
            about = json.dumps(
                {
                    "directory": settings["directory"],
                    "profile": settings.get("profile"),
                    "names": list(found.leaf.names),
                    "key_type": found.leaf.key_type,
                }
            )
            # Text before a PEM block is a comment: RFC 7468, section 2.
            content = _ORDERED_FOR + about.encode() + b"\n" + found.key_pem + found.fullchain_pem
            self._files.write(_file_of(settings), content, mode=0o600)
            return found

    def state(self, settings: Settings) -> dict[str, Any]:
        """What was recorded about the certificate for `settings`; empty if there is nothing.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            found = json.loads(self._files.read(_state_of(settings)) or b"{}")
        except ValueError:
            return {}  # it is useful, not necessary
        return found if isinstance(found, dict) else {}

    def note(self, settings: Settings, **details: Any) -> None:
        """Record `details` in addition to what was recorded before.

        Raises:
            UsageError: the folder cannot be used.
        """
        with self._files.locked():
            state = {**self.state(settings), **details}
            self._files.write(_state_of(settings), json.dumps(state).encode(), mode=0o600)

    def _kept(self, settings: Settings) -> IssuedCertificate | None:
        name = _file_of(settings)
        content = self._files.read(name)
        if content is None:
            return None
        if self._files.is_open_to_others(name):
            raise UsageError(
                f"{self.folder / name} holds a private key that others on this machine may read; "
                "no host was touched",
                hint=f"If no one else can have read it: chmod 600 {self.folder / name}",
            )
        start = content.find(b"-----BEGIN CERTIFICATE-----")
        begin = content.find(b"-----BEGIN ")
        try:
            return read_pair(content[start:], content[begin:start], settings)
        except ValueError:
            return None

    def _of_certbot(self, settings: Settings) -> IssuedCertificate | None:
        live = self._live(settings)
        try:
            fullchain = (live / "fullchain.pem").read_bytes()
            key = (live / "privkey.pem").read_bytes()
            return read_pair(fullchain, key, settings)
        except (OSError, ValueError):
            return None

    def _live(self, settings: Settings) -> Path:
        return self.folder / "config" / "live" / lineage_of(settings)


def _file_of(settings: Settings) -> str:
    return lineage_of(settings) + ".pem"


def _state_of(settings: Settings) -> str:
    return lineage_of(settings) + ".state.json"


def _check_key(key: bytes, leaf: Certificate) -> None:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        ours = load_pem_private_key(key, password=None).public_key()
        theirs = x509.load_der_x509_certificate(leaf.der).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"the key cannot be read: {error}") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if ours.public_bytes(*form) != theirs.public_bytes(*form):
        raise ValueError("the key does not match the certificate")
