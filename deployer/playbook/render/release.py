"""A folder of the controller as a release: its entries, and the id computed from them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from deployer.playbook.load.library import Library
from deployer.playbook.yaml.source import Spot

#: The folder of releases, and the link to the active one, below the folder of a service.
FOLDER = "releases"
CURRENT = "current"
_MAX_ENTRIES = 5000
_ID_DIGITS = 12
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, folder or link of a release; `path` is relative to it.

    A file has `content`, a link has `target`; a folder has neither.
    """

    path: str
    mode: str
    content: bytes | None = None
    target: str = ""


def entries_of(
    source: Path, *, exclude: Sequence[str], library: Library, spot: Spot
) -> tuple[Entry, ...]:
    """All entries of `source`, folders before their contents; `exclude` are patterns of names.

    As in git, only the owner's execute permission of a file's mode counts, because umasks differ.
    Files that others cannot read on the controller are not readable by others on the host either.

    Raises: SourceError, for entries that cannot be part of a release, or cannot be read.
    """
    found: list[Entry] = []
    try:
        for path in _walk(source, exclude):
            found.append(_entry(path, source, library, spot))
            if len(found) > _MAX_ENTRIES:
                raise spot.error(
                    f"{source} contains more than {_MAX_ENTRIES:,} files",
                    hint="exclude what the service does not need",
                )
    except OSError as error:
        raise spot.error(f"cannot read {error.filename}: {error.strerror}") from None
    if not found:
        raise spot.error(f"{source} is empty", hint="a release requires at least one file")
    return tuple(found)


def id_of(entries: Sequence[Entry]) -> str:
    """The id of a release: twelve hexadecimal digits that depend only on its entries."""
    whole = hashlib.sha256()
    for entry in entries:
        content = hashlib.sha256(entry.content).hexdigest() if entry.content is not None else ""
        for part in (entry.path, entry.mode[:2], entry.target, content):
            whole.update(os.fsencode(part) + b"\0")
    return whole.hexdigest()[:_ID_DIGITS]


def _walk(folder: Path, exclude: Sequence[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if any(fnmatchcase(path.name, pattern) for pattern in exclude):
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, exclude)


def _entry(path: Path, source: Path, library: Library, spot: Spot) -> Entry:
    name = path.relative_to(source).as_posix()
    if path.is_symlink():
        return Entry(path=name, mode="", target=_target(path, source, spot))
    if path.is_dir():
        return Entry(path=name, mode="0755")
    if not path.is_file():
        raise spot.error(f"{path} is neither a file nor a folder")
    content = library.read(path, spot)
    mode = "0755" if path.stat().st_mode & 0o100 else "0644"
    is_closed = not path.stat().st_mode & 0o044
    if is_closed or _PRIVATE_KEY.search(content):
        mode = mode[:-1] + "0"
    return Entry(path=name, mode=mode, content=content)


def _target(link: Path, source: Path, spot: Spot) -> str:
    """The target of a link, which must be relative and within the release to work on the host."""
    target = link.readlink().as_posix()
    inside = PurePosixPath(link.relative_to(source)).parent / target
    depth = 0
    for part in inside.parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or inside.is_absolute():
            raise spot.error(
                f"the link {link} points outside {source}, to {target}",
                hint="replace it with a copy of its target",
            )
    return target
