"""Rendered files on the controller's disk: a folder that holds them and nothing of anybody else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from deployer.errors import UsageError
from deployer.plan.rendered_files import RenderedFile, in_tree, within_tree

#: What we wrote, and how to tell whether somebody changed it since.
LIST = ".deployer-rendered.json"
_UNTOUCHED = "nothing was written"
_MOST_NAMED = 3


def refuse_folder(folder: Path) -> None:
    """Find out what stands in the way of rendering into `folder`, before any work is done for it.

    Raises:
        UsageError: something there is not ours, or was changed after we wrote it.
    """
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UsageError(f"--render {folder}: that is not a folder; {_UNTOUCHED}")
        if not folder.parent.is_dir():
            raise UsageError(f"--render {folder}: there is no folder {folder.parent}; {_UNTOUCHED}")
        _refuse_others(folder)
    except OSError as error:
        raise _failed(folder, error) from error


def write_folder(folder: Path, files: Iterable[RenderedFile]) -> None:
    """Write `files` below `folder`, a folder for each host; what an earlier run wrote goes.

    Modes and owners are not those of the host, and a link leads within its host's folder.

    Raises:
        UsageError: something there is not ours, or the disk has no room.
    """
    refuse_folder(folder)
    tree: dict[str, RenderedFile] = {}
    for host, its in groupby(sorted(files, key=attrgetter("host", "path")), attrgetter("host")):
        tree |= {f"{_folder_of(host)}/{path}": each for path, each in in_tree(its).items()}
    try:
        _remove(folder)
        folder.mkdir(exist_ok=True)
        # First the list: a run that is cut short leaves nothing that the next one does not know.
        seals = {path: _seal_of(path, each) for path, each in tree.items()}
        _put(folder / LIST, (json.dumps(seals, indent=1) + "\n").encode())
        for path, each in tree.items():
            place = folder / path
            if any(above.is_symlink() for above in place.parents if folder in above.parents):
                raise UsageError(
                    f"--render {folder}: {each.path} of {each.host} lies behind a link to another "
                    "link, where it cannot be shown",
                    hint="Give the path that the links lead to.",
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            if each.content is None:
                place.symlink_to(within_tree(_on_its_host(path), each.goal))
            else:
                _put(place, each.content)
    except OSError as error:
        raise _failed(folder, error) from error


def _folder_of(host: str) -> str:
    """A host's name as the name of a folder."""
    if host in (".", "..", LIST) or "/" in host:
        raise UsageError(
            f"the host {host!r} cannot have a folder of that name; {_UNTOUCHED}",
            hint="Give it another name in the inventory, and its address as ansible_host.",
        )
    return host


def _refuse_others(folder: Path) -> None:
    listed = _listed(folder)
    if listed is None:
        others = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
        if others:
            raise UsageError(
                f"--render {folder}: it holds files that no rendering has written: "
                f"{_few(others)}; {_UNTOUCHED}",
                hint="Name an empty folder, or one that is not there yet.",
            )
        return
    others = sorted(
        path for path, seal in _found(folder) if path != LIST and listed.get(path) != seal
    )
    if others:
        raise UsageError(
            f"--render {folder}: changed or added since it was written: "
            f"{_few(others)}; {_UNTOUCHED}",
            hint="Move them away if they matter, or name another folder.",
        )


def _few(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _listed(folder: Path) -> Mapping[str, str] | None:
    """What an earlier run wrote, or `None` where none did."""
    try:
        seals = json.loads((folder / LIST).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return seals if isinstance(seals, dict) else None


def _found(folder: Path) -> Iterator[tuple[str, str]]:
    for place, folders, names in os.walk(folder):
        here = Path(place)
        for name in (*names, *(each for each in folders if (here / each).is_symlink())):
            path = here / name
            yield str(path.relative_to(folder)), _seal(path)


def _seal(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "special"


def _on_its_host(path: str) -> str:
    """What lies at ``HOST/etc/x`` as the host has it."""
    return "/" + path.partition("/")[2]


def _seal_of(path: str, file: RenderedFile) -> str:
    if file.content is None:
        return f"-> {within_tree(_on_its_host(path), file.goal)}"
    return hashlib.sha256(file.content).hexdigest()


def _remove(folder: Path) -> None:
    """Take away what an earlier run wrote, and the folders that are empty then."""
    emptied: set[Path] = set()
    # Only what was found by looking: the list is a file like any other, and may name anything.
    for path in [path for path, _ in _found(folder) if path != LIST]:
        place = folder / path
        place.unlink()
        emptied |= {each for each in place.parents if folder in each.parents}
    for each in sorted(emptied, key=lambda path: -len(path.parts)):
        if not any(each.iterdir()):
            each.rmdir()


def _put(place: Path, content: bytes) -> None:
    """A whole file or none."""
    temporary = place.with_name(f".{place.name}.new")
    temporary.write_bytes(content)
    temporary.replace(place)


def _failed(folder: Path, error: OSError) -> UsageError:
    where = f": {error.filename}" if error.filename else ""
    return UsageError(
        f"--render {folder}: {error.strerror or error}{where}; no host was touched",
        hint="It needs a folder that belongs to you, on a disk with some space.",
    )
