"""The versions of a certificate on this host, and the link to the one that the proxy reads.

A version is a folder with a chain and its key, named by the certificate's serial number:

    /var/lib/deployer/certificates/LINEAGE/versions/SERIAL/   fullchain.pem, privkey.pem, about.json
    /etc/ssl/deployer/DOMAIN/current                          → one of them

The proxy reads ``current/fullchain.pem`` and ``current/privkey.pem``, so a certificate and its key
always change together, by one rename. Versions outlive a reverted commit: an issued certificate is
not ordered twice.
"""

from __future__ import annotations

import json
import os
import ssl
import time

from deployer.agent.certificates import terms
from deployer.agent.certificates.x509 import Certificate, Unreadable, certificates_in
from deployer.agent.commit.replace import replace_link
from deployer.agent.errors import StepError, os_words
from deployer.agent.files import names_in, read_json, remove_tree, sync_folder, write_synced
from deployer.agent.settings import ETC, STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from deployer.agent.settings import Json


SETTINGS = os.path.join(ETC, "deployer", "certificates")
SERVED = os.path.join(ETC, "ssl", "deployer")
KEPT = os.path.join(STATE, "certificates")

FULLCHAIN, PRIVKEY = "fullchain.pem", "privkey.pem"
_ABOUT = "about.json"
#: How many versions are kept in addition to the one in use: undoing a renewal needs one.
_KEPT_VERSIONS = 4


def lineage_of(domain: str) -> str:
    """The name of a domain's files: the star of a wildcard becomes a word."""
    return domain.replace("*", "wildcard")


def all_settings() -> Iterator[Json]:
    """The settings of every certificate on this host, sorted by domain."""
    for name in sorted(names_in(SETTINGS)):
        if name.endswith(".json"):
            settings = read_json(os.path.join(SETTINGS, name))
            if settings is not None:
                yield settings


def settings_of(domain: str) -> Json | None:
    """The settings of one certificate, or `None` if this host has none for the domain."""
    return read_json(os.path.join(SETTINGS, lineage_of(domain) + ".json"))


class Version:
    """One certificate with its key, in `folder`; `about` is what it was ordered with."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(os.path.join(folder, FULLCHAIN), "rb") as file:
            self.fullchain = file.read()
        self.certificate: Certificate = certificates_in(self.fullchain)[0]
        self.about: Json = read_json(os.path.join(folder, _ABOUT)) or {}

    @property
    def serial(self) -> str:
        return self.certificate.serial

    def is_for(self, settings: Json) -> bool:
        """Whether it matches `settings`, regardless of its end."""
        return terms.is_for(
            self.certificate,
            settings,
            directory=self.about.get("directory"),
            profile=self.about.get("profile"),
        )

    def attributes(self, state: Json, now: float) -> Json:
        """Its attributes in a probe."""
        return {
            "names": sorted(self.certificate.names),
            "directory": self.about.get("directory"),
            "key_type": self.certificate.key_type,
            "profile": self.about.get("profile"),
            "serial": self.serial,
            "not_after": rfc3339(self.certificate.not_after),
            "due": due_at(self.certificate, state) <= now,
        }


def rfc3339(seconds: float) -> str:
    """A time in the format of RFC 3339, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def due_at(certificate: Certificate, state: Json) -> float:
    """When to renew it; `state` has the CA's window if it is known."""
    asked = state.get("ari") or {}
    is_its = asked.get("serial") == certificate.serial
    return terms.due_at(certificate, (asked["start"], asked["end"]) if is_its else None)


class Versions:
    """The versions of one domain's certificate."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.folder = os.path.join(KEPT, lineage_of(domain))
        self._versions = os.path.join(self.folder, "versions")
        self.served = os.path.join(SERVED, domain)
        self.link = os.path.join(self.served, "current")

    # --- what is there ----------------------------------------------------------------------------

    def current(self) -> Version | None:
        """The version that the proxy reads."""
        try:
            return Version(os.path.realpath(self.link)) if os.path.islink(self.link) else None
        except (OSError, Unreadable):
            return None

    def all(self) -> list[Version]:
        """Every readable version, the latest first."""
        found = []
        for name in names_in(self._versions):
            try:
                found.append(Version(os.path.join(self._versions, name)))
            except (OSError, Unreadable):
                continue
        found.sort(key=lambda each: (each.certificate.not_before, each.serial), reverse=True)
        return found

    def fitting(self, settings: Json, now: float) -> Version | None:
        """A version that matches `settings` and is not due."""
        state = self.state()
        for version in self.all():
            begins = version.certificate.not_before
            if version.is_for(settings) and begins <= now < due_at(version.certificate, state):
                return version
        return None

    # --- what is done -----------------------------------------------------------------------------

    def add(self, fullchain: bytes, privkey: bytes, about: Json) -> Version:
        """Store a new version; a mismatched pair is refused.

        Raises:
            StepError: the key is not the certificate's.
        """
        certificate = certificates_in(fullchain)[0]
        folder = os.path.join(self._versions, certificate.serial)
        if os.path.isdir(folder):
            return Version(folder)  # it may be in use, so it stays
        unfinished = folder + ".new"
        self._make_folders()
        remove_tree(unfinished)
        os.mkdir(unfinished, 0o700)
        write_synced(os.path.join(unfinished, FULLCHAIN), fullchain)
        write_synced(os.path.join(unfinished, PRIVKEY), privkey)
        write_synced(os.path.join(unfinished, _ABOUT), json.dumps(about).encode())
        try:
            check_pair(unfinished)
        except ValueError as error:
            remove_tree(unfinished)
            raise StepError(f"the new certificate cannot be used: {error}") from None
        sync_folder(unfinished)
        os.rename(unfinished, folder)
        sync_folder(self._versions)
        return Version(folder)

    def use(self, version: Version) -> None:
        """Let the proxy read `version` from its next reload on."""
        for folder in (os.path.dirname(self.served), self.served):
            if not os.path.isdir(folder):
                os.makedirs(folder, 0o755)
                os.chmod(folder, 0o755)  # noqa: S103 - names of certificates are no secret
        replace_link(self.link, version.folder)

    def prune(self) -> None:
        """Remove old versions, but never the one in use."""
        current = os.path.realpath(self.link)
        others = [version.folder for version in self.all() if version.folder != current]
        for folder in others[_KEPT_VERSIONS:]:
            remove_tree(folder)

    def _make_folders(self) -> None:
        for folder in (STATE, KEPT, self.folder, self._versions):
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)

    # --- what became of it ------------------------------------------------------------------------

    def state(self) -> Json:
        """The last attempt and the CA's window, as noted."""
        return read_json(os.path.join(self.folder, "state.json")) or {}

    def note(self, **details: Any) -> None:
        """Add `about` to the recorded state."""
        self._make_folders()
        state = {**self.state(), **details}
        write_synced(os.path.join(self.folder, "state.json"), json.dumps(state).encode())


def check_pair(folder: str) -> None:
    """Raises: ValueError: the chain and the key in `folder` do not belong together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(
            os.path.join(folder, FULLCHAIN),
            os.path.join(folder, PRIVKEY),
            password=lambda: "",  # without a terminal, a prompt would wait forever
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("the key is another certificate's") from None
        raise ValueError(f"OpenSSL refuses it: {error.reason or error}") from None
    except OSError as error:
        raise ValueError(os_words(error)) from None
