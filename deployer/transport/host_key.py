"""The host key, which is checked before the login."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.errors import HostKeyError
from deployer.transport.known_hosts import KNOWN_HOSTS, KnownKey, fingerprint, remember
from deployer.transport.settings import SshSettings

if TYPE_CHECKING:
    from paramiko import PKey, SSHClient

#: What a key of this type can sign with (RFC 8332 for RSA).
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


class HostKeyPolicy:
    """Paramiko's policy for every host key, since Paramiko itself knows none."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._known = KNOWN_HOSTS.keys(settings.key_name, files=settings.known_hosts_files)

    def preferred(self, algorithms: Sequence[str]) -> list[str]:
        """`algorithms` with those of known keys first, so that the host presents that key.

        Source: ssh_config(5), HostKeyAlgorithms.
        """
        known = [
            algorithm
            for key in self._known
            if not key.marker
            for algorithm in _SIGNATURES.get(key.key_type, (key.key_type,))
        ]
        return sorted(algorithms, key=lambda algorithm: algorithm not in known)

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Accept a known key. Raises: HostKeyError."""
        blob, key_type = key.asbytes(), key.get_name()
        text = base64.b64encode(blob).decode()
        same = [known for known in self._known if known.key == text]
        if any(known.marker == "@revoked" for known in same):
            self._refuse_revoked(key_type, blob, same)
        if any(not known.marker for known in same):
            return
        others = [known for known in self._known if not known.marker]
        if others:
            self._refuse_changed(key_type, blob, others)
        if not self._settings.accept_new:
            self._refuse_unknown(key_type, blob)
        self._remember(key_type, text)

    def _remember(self, key_type: str, key: str) -> None:
        settings = self._settings
        try:
            remember(settings.remember_in, name=settings.key_name, key_type=key_type, key=key)
        except OSError as error:
            raise HostKeyError(
                f"the new host key cannot be written to {settings.remember_in}: {error.strerror}",
                host=settings.host,
                doing="connecting",
            ) from error

    def _refuse_unknown(self, key_type: str, blob: bytes) -> None:
        settings = self._settings
        looked_in = ", ".join(dict.fromkeys(settings.known_hosts_files)) or "no file"
        port = "" if settings.port == 22 else f"-p {settings.port} "
        raise HostKeyError(
            f"the host key of {settings.key_name} is not known\n"
            f"  presented {key_type} {fingerprint(blob)}\n"
            f"  looked in {looked_in}\n"
            "Nothing was sent to the host.",
            host=settings.host,
            hint="If that is its fingerprint, accept it with --accept-new, or by: "
            f"ssh-keyscan {port}{settings.hostname} >> {settings.remember_in}",
        )

    def _refuse_changed(self, key_type: str, blob: bytes, known: Sequence[KnownKey]) -> None:
        settings = self._settings
        same_type = [key for key in known if key.key_type == key_type]
        expected = (same_type or list(known))[0]
        raise HostKeyError(
            f"the host key of {settings.key_name} has changed\n"
            f"  known     {expected.key_type} {expected.fingerprint}  {expected.place}\n"
            f"  presented {key_type} {fingerprint(blob)}\n"
            "Another machine may be impersonating it, or it was reinstalled. "
            "Nothing was sent to the host.",
            host=settings.host,
            hint=f"If it was reinstalled: ssh-keygen -R '{settings.key_name}' -f {expected.file}",
        )

    def _refuse_revoked(self, key_type: str, blob: bytes, known: Sequence[KnownKey]) -> None:
        place = next(key.place for key in known if key.marker == "@revoked")
        raise HostKeyError(
            f"the host key {key_type} {fingerprint(blob)} of {self._settings.key_name} "
            f"is revoked by {place}",
            host=self._settings.host,
            doing="connecting",
        )
