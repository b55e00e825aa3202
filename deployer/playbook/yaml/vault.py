"""Values and files that ``ansible-vault`` has encrypted.

Source: "Format of files encrypted with Ansible Vault" in Ansible's vault guide: AES-256 in CTR
mode, with keys from PBKDF2 and an HMAC over the ciphertext, all as text in hexadecimal.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from deployer.errors import UsageError
from deployer.text.reading import read_limited

HEADER = "$ANSIBLE_VAULT;"
_ITERATIONS = 10_000
_PROGRAM_TIMEOUT_S = 60.0

_HINT = (
    "name the file of its password in ansible.cfg: [defaults] vault_password_file, "
    "or as ANSIBLE_VAULT_PASSWORD_FILE"
)


class SecretText(str):
    """A text that was encrypted; the program never shows it."""

    __slots__ = ()


class VaultError(Exception):
    """Why a text cannot be decrypted; `hint` is what to do."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class _Passwords:
    """Those of this process, from the files named by the settings."""

    def __init__(self) -> None:
        self.known: tuple[bytes, ...] = ()


_PASSWORDS = _Passwords()


def unlock(passwords: Iterable[bytes]) -> None:
    """Use these passwords for all files that are read from now on."""
    _PASSWORDS.known = tuple(passwords)


def is_encrypted(text: str) -> bool:
    """Whether a text is the content of an encrypted file."""
    return text.startswith(HEADER)


def decrypt(text: str) -> str:
    """The plain text. Raises: VaultError."""
    if not _PASSWORDS.known:
        raise VaultError("encrypted with Ansible Vault, and no password is known", _HINT)
    for password in _PASSWORDS.known:
        plain = _decrypted(text, password)
        if plain is not None:
            return plain
    raise VaultError("encrypted with Ansible Vault, and the password is not the right one", _HINT)


@lru_cache(maxsize=1024)
def _decrypted(text: str, password: bytes) -> str | None:
    """The plain text; `None` if the password is a different one. Raises: VaultError."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    header, _, body = text.strip().partition("\n")
    parts = header.strip().split(";")
    if len(parts) < 3 or parts[0] + ";" != HEADER or parts[2] != "AES256":
        raise VaultError("not in the format of Ansible Vault, version 1.1 or 1.2 with AES256")
    try:
        salt, digest, sealed = (
            binascii.unhexlify(each)
            for each in binascii.unhexlify("".join(body.split())).split(b"\n", 2)
        )
    except (ValueError, binascii.Error):
        raise VaultError("damaged: not in the format of Ansible Vault") from None
    derived = hashlib.pbkdf2_hmac("sha256", password, salt, _ITERATIONS, 80)
    cipher_key, hmac_key, start = derived[:32], derived[32:64], derived[64:]
    if not hmac.compare_digest(hmac.digest(hmac_key, sealed, "sha256"), digest):
        return None
    decryptor = Cipher(algorithms.AES(cipher_key), modes.CTR(start)).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    plain = padded[: -padded[-1]] if padded else b""  # PKCS #7
    try:
        return plain.decode()
    except UnicodeDecodeError:
        raise VaultError("encrypted with Ansible Vault, but not a text in UTF-8") from None


def password_from(path: Path) -> bytes:
    """The password in a file, or printed by a program. Raises: UsageError."""
    what = f"vault password file {path}"
    try:
        if path.is_file() and os.access(path, os.X_OK):
            found = _printed(path, what)
        else:
            found = read_limited(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a valid file name"
        raise UsageError(f"cannot read {what}: {why}") from None
    if not found.strip():
        raise UsageError(f"{what} is empty")
    return found.strip()


def _printed(path: Path, what: str) -> bytes:
    import subprocess

    try:
        run = subprocess.run(
            [str(path.absolute())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROGRAM_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{what} is a program that did not end in time") from None
    if run.returncode != 0:
        said = run.stderr.decode(errors="replace").strip()
        raise UsageError(f"{what} is a program that failed: {said or run.returncode}")
    return run.stdout
