"""Write rendered files to a folder on the controller that contains nothing else."""

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

#: The list of written files with their hashes, to detect later changes.
LIST = ".deployer-rendered.json"
_UNTOUCHED = "nothing was written"
_MOST_NAMED = 3


def check_folder(folder: Path) -> None:
    """Check whether files can be rendered into `folder`, before any of them is rendered.

    Raises:
        UsageError: it contains files that deployer did not write, or that have changed since.
    """
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UsageError(f"--render {folder}: is not a folder; {_UNTOUCHED}")
        if not folder.parent.is_dir():
            raise UsageError(f"--render {folder}: folder {folder.parent} is missing; {_UNTOUCHED}")
        _check_contents(folder)
    except OSError as error:
        raise _failed(folder, error) from error


def write_folder(folder: Path, files: Iterable[RenderedFile]) -> None:
    """Write `files` below `folder`, one folder for each host, and delete those of an earlier run.

    Modes and owners are not those of the host, and links resolve within their host's folder.

    Raises:
        UsageError: the folder contains files that deployer did not write, or a write fails.
    """
    check_folder(folder)
    tree: dict[str, RenderedFile] = {}
    for host, its in groupby(sorted(files, key=attrgetter("host", "path")), attrgetter("host")):
        tree |= {f"{_folder_of(host)}/{path}": each for path, each in in_tree(its).items()}
    try:
        _remove(folder)
        folder.mkdir(exist_ok=True)
        # The list comes first, so that the next run knows all files that an interrupted run wrote.
        seals = {path: _seal_of(path, each) for path, each in tree.items()}
        _put(folder / LIST, (json.dumps(seals, indent=1) + "\n").encode())
        for path, each in tree.items():
            place = folder / path
            if any(above.is_symlink() for above in place.parents if folder in above.parents):
                raise UsageError(
                    f"--render {folder}: {each.path} of {each.host} is below a link to a link, "
                    "and cannot be shown",
                    hint="Use the path that the links resolve to.",
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            if each.content is None:
                place.symlink_to(within_tree(_on_its_host(path), each.goal))
            else:
                _put(place, each.content)
    except OSError as error:
        raise _failed(folder, error) from error


def _folder_of(host: str) -> str:
    """The name of a host's folder."""
    if host in (".", "..", LIST) or "/" in host:
        raise UsageError(
            f"the name of host {host!r} cannot be used for a folder; {_UNTOUCHED}",
            hint="Rename it in the inventory, and set its address as ansible_host.",
        )
    return host


def _check_contents(folder: Path) -> None:
    listed = _listed(folder)
    if listed is None:
        others = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
        if others:
            raise UsageError(
                f"--render {folder}: it contains files that deployer did not write: "
                f"{_few(others)}; {_UNTOUCHED}",
                hint="Name an empty or a new folder.",
            )
        return
    others = sorted(
        path for path, seal in _found(folder) if path != LIST and listed.get(path) != seal
    )
    if others:
        raise UsageError(
            f"--render {folder}: changed or added since it was written: "
            f"{_few(others)}; {_UNTOUCHED}",
            hint="Move them elsewhere if you need them, or name a different folder.",
        )


def _few(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _listed(folder: Path) -> Mapping[str, str] | None:
    """The files written by an earlier run with their seals; `None` if there was none."""
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
    """The path on the host of ``HOST/etc/x``."""
    return "/" + path.partition("/")[2]


def _seal_of(path: str, file: RenderedFile) -> str:
    if file.content is None:
        return f"-> {within_tree(_on_its_host(path), file.goal)}"
    return hashlib.sha256(file.content).hexdigest()


def _remove(folder: Path) -> None:
    """Delete what an earlier run wrote, and folders that are empty afterwards."""
    emptied: set[Path] = set()
    # Only paths found on disk: the list could contain any path.
    for path in [path for path, _ in _found(folder) if path != LIST]:
        place = folder / path
        place.unlink()
        emptied |= {each for each in place.parents if folder in each.parents}
    for each in sorted(emptied, key=lambda path: -len(path.parts)):
        if not any(each.iterdir()):
            each.rmdir()


def _put(place: Path, content: bytes) -> None:
    """Write a file atomically."""
    temporary = place.with_name(f".{place.name}.new")
    temporary.write_bytes(content)
    temporary.replace(place)


def _failed(folder: Path, error: OSError) -> UsageError:
    where = f": {error.filename}" if error.filename else ""
    return UsageError(
        f"--render {folder}: {error.strerror or error}{where}; no host was touched",
        hint="It must be a folder that you own, on a disk with free space.",
    )
