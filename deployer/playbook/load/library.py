"""The files read by one load of a playbook, shared by all hosts: roles, templates, files."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployer.model import Play, Role, Task, Value
from deployer.playbook.builtin import roles_path
from deployer.playbook.schema.argument_specs import Options
from deployer.playbook.templates.scope import Layer
from deployer.playbook.templates.templar import Templar
from deployer.playbook.yaml.source import Spot, YamlMap, nearest
from deployer.playbook.yaml.vault import HEADER
from deployer.text.reading import MAX_COPIED_BYTES, read_limited

#: How much the files of one playbook may have in total, in memory.
_MAX_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTask(Task):
    """A task with the positions of its parts.

    `node` is the task, `args_node` its arguments; `conditions` are the `when` of its blocks and
    itself with their positions; `layers` are the variables of its blocks and itself. What an
    `absent` task names should be removed.
    """

    node: YamlMap
    args_node: YamlMap
    conditions: tuple[tuple[object, Spot], ...] = ()
    layers: tuple[Layer, ...] = ()
    handler: bool = False
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRole(Role):
    """A role with the layers of its variables, lowest first, and its conditions' positions.

    `call` distinguishes calls of the same role with different variables, except those of sites,
    which are `for_sites`. What an `absent` role names should be removed.
    `options` is its argument specification, if it has one; `spot` is its position in the playbook.
    """

    folder: Path
    spot: Spot
    options: Options | None = None
    stage: int = 0
    call: str = ""
    for_sites: bool = False
    absent: bool = False
    default_layers: tuple[Layer, ...] = ()
    var_layers: tuple[Layer, ...] = ()
    conditions: tuple[tuple[object, Spot], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPlay(Play):
    """A play with the layers of its variables, lowest first, and its library."""

    node: YamlMap
    library: Library
    layers: tuple[Layer, ...] = ()


@dataclass(slots=True)
class Library:
    """The folders of a playbook, and the files read from them."""

    playbook_dir: Path
    role_paths: tuple[Path, ...] = ()
    extra_vars: Mapping[str, object] = field(default_factory=dict)
    templar: Templar = field(default_factory=Templar)
    files: dict[Path, bytes] = field(default_factory=dict)
    read_bytes: int = 0
    role_files: dict[Path, Value] = field(default_factory=dict)

    def role_folders(self) -> tuple[Path, ...]:
        """The folders that are searched for roles, in order; the built-in roles come last."""
        return (self.playbook_dir / "roles", *self.role_paths, roles_path())

    def find_role(self, name: str, spot: Spot) -> Path:
        """The folder of a role.

        Raises: SourceError, with the folders that were searched and a similar name.
        """
        folders: Sequence[Path] = self.role_folders()
        if not name.strip() or name in (".", ".."):
            raise spot.error(f"'{name}' is not the name of a role")
        if "/" in name:
            folders = (self.playbook_dir,)
        for folder in folders:
            if (folder / name).is_dir() and not _is_overlay(folder, name):
                return folder / name
        known = {
            each.name
            for folder in folders
            if folder.is_dir()
            for each in folder.iterdir()
            if each.is_dir()
        }
        searched = ", ".join(str(folder) for folder in folders)
        near = nearest(name, known)
        hint = f"{near}\n      searched: {searched}" if near else f"searched: {searched}"
        raise spot.error(f"no role '{name}'", hint=hint)

    def bases(self, kind: str, role: LoadedRole | None) -> tuple[Path, ...]:
        """The folders that are searched for files and included templates, in order.

        Each file of a built-in role can be overridden in ``roles/NAME`` next to the playbook.
        """
        bases = [role.folder / kind, role.folder] if role else []
        if role and role.folder.parent == roles_path():
            bases.insert(0, self.playbook_dir / "roles" / role.folder.name / kind)
        return (*bases, self.playbook_dir / kind, self.playbook_dir)

    def roots(self, role: LoadedRole | None) -> tuple[Path, ...]:
        """The folders in which included templates must be, links followed."""
        return (self.playbook_dir,) if role is None else (role.folder, self.playbook_dir)

    def find_file(self, name: str, kind: str, role: LoadedRole | None, spot: Spot) -> Path:
        """A file of a role or playbook; `kind` is ``files`` or ``templates``.

        Raises: SourceError, with the paths that were searched and a similar name.
        """
        path = Path(os.path.expanduser(name))
        # If `path` is absolute, joining any base to it gives just that path.
        places = list(dict.fromkeys(base / path for base in self.bases(kind, role)))
        for place in places:
            if _exists(place):
                return place
        names = {
            str(each.relative_to(place.parent))
            for place in places
            if place.parent.is_dir()
            for each in place.parent.iterdir()
        }
        near = nearest(path.name, names)
        searched = "searched: " + ", ".join(str(place) for place in places)
        what = "template" if kind == "templates" else "file"
        raise spot.error(
            f"no {what} '{name}'", hint=f"{near}\n      {searched}" if near else searched
        )

    def read(self, path: Path, spot: Spot) -> bytes:
        """The content of a file, which is read only once.

        Raises: SourceError, if it cannot be read.
        """
        if path not in self.files:
            try:
                data = read_limited(path, MAX_COPIED_BYTES)
            except OSError as error:
                raise spot.error(f"cannot read {path}: {error.strerror}") from None
            if data.startswith(HEADER.encode()):
                raise spot.error(
                    f"{path} is encrypted with Ansible Vault, which only variables may be",
                    hint="write its content as an encrypted variable, and copy that: content",
                )
            self.files[path] = data
            self.read_bytes += len(data)
            if self.read_bytes > _MAX_BYTES:
                raise spot.error(
                    f"the files of this playbook have more than {_MAX_BYTES >> 20} MiB in total",
                    hint="let the host get large files from a package or with a guarded command",
                )
        return self.files[path]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long
        return False


def _is_overlay(folder: Path, name: str) -> bool:
    """Whether a folder only overrides templates and files of a built-in role."""
    if not (roles_path() / name).is_dir() or folder == roles_path():
        return False
    parts = {each.name for each in (folder / name).iterdir() if not each.name.startswith(".")}
    return bool(parts) and parts <= {"templates", "files"}
