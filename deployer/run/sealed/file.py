"""Sealed plans on the controller's disk: the secret file, and the project's key."""

from __future__ import annotations

import datetime
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from deployer import __version__
from deployer.errors import UsageError
from deployer.private_folder import PrivateFolder, write_atomically
from deployer.run.sealed.model import SealedPlan, sealed_from_json, sealed_to_json
from deployer.run.sealed.signature import (
    FORMAT_VERSION,
    KEY_BYTES,
    is_sealed,
    sealed_text,
    unsealed,
)
from deployer.text.reading import MAX_COPIED_BYTES, read_limited

_KEY = "key"
_UNTOUCHED = "no host was touched"


# --- the file -------------------------------------------------------------------------------------


def check_writable(path: Path) -> None:
    """Check in advance that a sealed plan can be written to `path`.

    Raises:
        UsageError: its folder does not exist, or `path` is something other than a sealed plan.
    """
    try:
        if not path.parent.is_dir():
            raise UsageError(f"--out {path}: the folder {path.parent} does not exist; {_UNTOUCHED}")
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(
                f"--out {path}: exists and is not a regular file; it is left alone; {_UNTOUCHED}"
            )
        with path.open("rb") as file:
            beginning = file.read(256)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _failed("write", path, error) from error
    if beginning and not is_sealed(beginning):
        raise UsageError(
            f"--out {path}: exists and is not a sealed plan; it is left alone; {_UNTOUCHED}",
            hint="Name another file, or remove that one.",
        )


def write_sealed(path: Path, sealed: SealedPlan, *, project: Path) -> None:
    """Seal a plan with the key of the project in the folder `project`; only the owner may read it.

    Raises:
        UsageError: `path` is something else, or cannot be written.
    """
    key = _SealKey(project).get_or_create()
    document = {"deployer": __version__, "project": _named(project, path), **sealed_to_json(sealed)}
    text = sealed_text(document, key=key)
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        write_atomically(path, text, mode=0o600, temporary=temporary)
    except OSError as error:
        raise _failed("write", path, error) from error


def read_sealed(path: Path) -> SealedPlan:
    """The plan that was sealed, if it is complete and unaltered.

    Raises:
        UsageError: it is not, or the key that sealed it is not here.
    """
    try:
        text = read_limited(path, MAX_COPIED_BYTES)
    except OSError as error:
        raise _failed("read", path, error) from error
    document = unsealed(
        text, name=str(path), key=lambda claimed: _key_for(path, str(claimed.get("project")))
    )
    try:
        return sealed_from_json(document)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} was made by deployer {document.get('deployer')}; this version, {__version__}, "
            f"cannot read it; {_UNTOUCHED}",
            hint="Apply it with that version, or plan again with this one.",
        ) from error


def is_open_to_others(path: Path) -> bool:
    """Whether other users of this machine may read or write the file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def about(path: Path, sealed: SealedPlan) -> Mapping[str, object]:
    """The sealed plan that is applied, for ``--json``."""
    return {
        "file": str(path),
        "format_version": FORMAT_VERSION,
        "created_at": sealed.created_at,
        "who": sealed.who,
        "from": sealed.origin,
        "playbook": sealed.playbook,
    }


def origin_words(sealed: SealedPlan, *, now: datetime.datetime) -> str:
    """The origin of a plan: ``planned 3 h ago by ada on desk from /srv/site.yml``."""
    made = datetime.datetime.fromisoformat(sealed.created_at)
    age = _age_words((now - made).total_seconds()) or f"at {sealed.created_at}"
    return f"planned {age} by {sealed.who} on {sealed.origin} from {sealed.playbook}"


def _age_words(seconds: float) -> str:
    """``3 h ago``; empty if the clocks of then and now disagree."""
    if seconds < 0:
        return ""
    for unit, length_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _failed(doing: str, path: Path, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) else None
    return UsageError(f"cannot {doing} the sealed plan {path}: {reason or error}; {_UNTOUCHED}")


# --- the key --------------------------------------------------------------------------------------


class _SealKey(PrivateFolder):
    """The key of the project in a folder, next to its internal CA."""

    def __init__(self, project: Path) -> None:
        super().__init__(project / ".deployer" / "seal", owner="the key that seals plans")

    def get_or_create(self) -> bytes:
        """The key, created at its first use."""
        with self.locked():
            key = self.existing()
            if key is None:
                key = secrets.token_bytes(KEY_BYTES)
                self.write(_KEY, key, mode=0o600)
            return key

    def existing(self) -> bytes | None:
        """The key, or `None` if there is none.

        Raises:
            UsageError: it is not a key, or other users of this machine may have written or read it.
        """
        key = self.read(_KEY)
        if key is None:
            return None
        path = self.path / _KEY
        if len(key) != KEY_BYTES:
            raise UsageError(
                f"{path} is not a key that seals plans: it has {len(key)} bytes; {_UNTOUCHED}",
                hint="Restore it from a backup. Or remove it: the next `deployer plan --out` "
                "creates a new one, and plans sealed before can no longer be applied.",
            )
        for place in (path, self.path):
            about = place.stat()
            if about.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(about.st_mode) & 0o077:
                raise UsageError(
                    f"others on this machine may read or write {place}, so they could seal plans "
                    f"too; {_UNTOUCHED}",
                    hint=f"If no one else can have done so: chown it to yourself, and chmod "
                    f"{'700' if place.is_dir() else '600'} {place}",
                )
        return key


def _named(project: Path, path: Path) -> str:
    """The project's folder in the file: relative if both can be moved as one."""
    folder, place = project.resolve(), path.parent.resolve()
    return os.path.relpath(folder, place) if place.is_relative_to(folder) else str(folder)


def _key_for(path: Path, project: str) -> bytes:
    folder = path.parent / project
    try:
        key = _SealKey(folder).existing()
    except (ValueError, OSError):  # an altered file may name anything
        key = None
    if key is None:
        raise UsageError(
            f"{path} was sealed by a different controller, or its key is gone: there is none in "
            f"{folder / '.deployer' / 'seal'}; {_UNTOUCHED}",
            hint="Apply it where it was planned, or plan again here: "
            "deployer plan SITE.yml --out FILE",
        )
    return key
