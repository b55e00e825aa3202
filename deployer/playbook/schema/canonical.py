"""Convert validated module arguments to the canonical modules and arguments of a plan."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployer.model import Value
from deployer.playbook.builtin import roles_path
from deployer.playbook.load.library import Library, LoadedRole
from deployer.playbook.render.units import check_unit, is_unit
from deployer.playbook.schema.modules import (
    Certificate,
    Command,
    Copy,
    File,
    Module,
    Package,
    Release,
    Service,
    Template,
    User,
)
from deployer.playbook.templates.loader import Includes
from deployer.playbook.templates.scope import Scope
from deployer.playbook.yaml.source import Spot, YamlMap, spot_of

Call = tuple[str, dict[str, Value]]
_MAX_FILES = 5000


@dataclass(frozen=True, slots=True)
class Place:
    """The context of a task: its variables, and where its files are searched."""

    library: Library
    role: LoadedRole | None
    scope: Scope
    node: YamlMap

    def spot(self, key: str) -> Spot:
        return spot_of(self.node, key)


def canonical(model: Module, place: Place) -> list[Call]:
    """The module calls of a task: one, or several for a copied folder.

    Raises: SourceError, if a file is missing or a template is missing or fails.
    """
    return _WRITERS[type(model)](model, place)


def _given(model: Module, *names: str) -> dict[str, object]:
    values = {name: getattr(model, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _package(model: Value, _place: Place) -> list[Call]:
    return [("package", {"names": list(model.name), "state": model.state})]


def _destination(model: Value, place: Place, source: Path) -> str:
    """The path of the file; a `dest` with a trailing slash is its folder."""
    folder = str(place.node.get("dest", "")).endswith("/")
    return posixpath.join(model.dest, source.name) if folder else str(model.dest)


def _copy(model: Value, place: Place) -> list[Call]:
    owned = _given(model, "owner", "group")
    mode = {} if model.mode in (None, "preserve") else {"mode": model.mode}
    if model.content is not None:
        if model.mode == "preserve":
            raise place.spot("mode").error("mode: preserve requires 'src'")
        content = model.content
        content = content if isinstance(content, bytes) else content.encode()
        return [("copy", {"dest": model.dest, "content": content, **mode, **owned})]
    if model.src is None:
        given = "content" if "content" in place.node else "src"
        raise place.spot(given).error(
            f"'{given}' has no value", hint="for an empty file, write content: ''"
        )
    spot = place.spot("src")
    source = place.library.find_file(model.src.rstrip("/") or "/", "files", place.role, spot)
    if source.is_dir():
        return _copy_folder(model, place, source)
    if model.directory_mode is not None:
        raise place.spot("directory_mode").error("'directory_mode' requires a folder as 'src'")
    if model.mode == "preserve":
        mode = {"mode": f"{source.stat().st_mode & 0o7777:04o}"}
    dest = _destination(model, place, source)
    return [("copy", {"dest": dest, "content": place.library.read(source, spot), **mode, **owned})]


def _copy_folder(model: Value, place: Place, source: Path) -> list[Call]:
    spot = place.spot("src")
    # As in rsync and Ansible, `src: dir/` means the contents, `src: dir` the folder itself.
    top = model.dest if model.src.endswith("/") else posixpath.join(model.dest, source.name)
    owned = _given(model, "owner", "group")
    folder_mode = {} if model.directory_mode is None else {"mode": model.directory_mode}
    calls: list[Call] = []
    for path in (source, *sorted(source.rglob("*"))):
        inner = path.relative_to(source).as_posix()
        dest = top if inner == "." else posixpath.join(top, inner)
        if path.is_dir():
            calls.append(("file", {"path": dest, "state": "directory", **folder_mode, **owned}))
            continue
        mode = {} if model.mode is None else {"mode": model.mode}
        if not path.is_file():
            raise spot.error(f"{path} is neither a file nor a folder")
        if model.mode == "preserve":
            mode = {"mode": f"{path.stat().st_mode & 0o7777:04o}"}
        content = place.library.read(path, spot)
        calls.append(("copy", {"dest": dest, "content": content, **mode, **owned}))
        if len(calls) > _MAX_FILES:
            raise spot.error(f"{source} contains more than {_MAX_FILES:,} files")
    return calls


def _template(model: Value, place: Place) -> list[Call]:
    spot = place.spot("src")
    library = place.library
    source = library.find_file(model.src, "templates", place.role, spot)
    if not source.is_file():
        raise spot.error(f"{source} is not a file")
    includes = Includes(
        folders=(*library.bases("templates", place.role), source.parent),
        roots=library.roots(place.role),
    )
    text = library.templar.file(source, includes, place.scope, spot)
    name = source.with_suffix("") if source.suffix == ".j2" else source
    dest = _destination(model, place, name)
    if source.is_relative_to(roles_path()) and is_unit(dest):
        check_unit(text, library.read(source, spot).decode(), spot)
    return [
        ("copy", {"dest": dest, "content": text.encode()} | _given(model, "mode", "owner", "group"))
    ]


def _file(model: Value, _place: Place) -> list[Call]:
    keys = ("path", "state", "src", "mode", "owner", "group")
    return [("file", _given(model, *keys))]


def _service(model: Value, _place: Place) -> list[Call]:
    return [("service", _given(model, "name", "state", "enabled", "listens"))]


def _user(model: Value, _place: Place) -> list[Call]:
    keys = ("name", "uid", "group", "append", "home", "shell", "comment", "system", "create_home")
    args = _given(model, *keys)
    if model.groups is not None:
        args["groups"] = list(model.groups)
    return [("user", args | {"state": model.state})]


def _command(model: Value, _place: Place) -> list[Call]:
    args: dict[str, Value] = {"argv": list(model.cmd or model.argv)}
    args |= _given(model, "chdir", "creates", "removes", "environment")
    if model.unless is not None:
        args["unless"] = list(model.unless)
    return [("command", args)]


def _certificate(model: Value, _place: Place) -> list[Call]:
    fitting = ("domain", "names", "directory", "key_type", "profile")
    ordered = ("staging_first", "serial", "forced", "strict")
    return [("certificate", {key: getattr(model, key) for key in (*fitting, *ordered)})]


def _release(model: Value, place: Place) -> list[Call]:
    """Create the release's files, build it, switch the link, and remove old releases."""
    from deployer.playbook.render.release import CURRENT, FOLDER, entries_of, id_of

    spot = place.spot("src")
    source = place.library.find_file(model.src.rstrip("/") or "/", "files", place.role, spot)
    if not source.is_dir():
        raise spot.error(f"{source} is not a folder")
    entries = entries_of(source, exclude=model.exclude or (), library=place.library, spot=spot)
    release = id_of(entries)
    releases, link = posixpath.join(model.dest, FOLDER), posixpath.join(model.dest, CURRENT)
    top = posixpath.join(releases, release)
    owned = _given(model, "owner", "group")
    folder = {"state": "directory", "mode": "0755"}
    calls: list[Call] = [
        ("file", {"path": model.dest, **folder}),
        ("file", {"path": releases, **folder}),
        ("file", {"path": top, **folder, **owned}),
    ]
    for entry in entries:
        path = posixpath.join(top, entry.path)
        if entry.target:
            calls.append(("file", {"path": path, "state": "link", "src": entry.target}))
        elif entry.content is None:
            calls.append(("file", {"path": path, **folder, **owned}))
        else:
            content = {"content": entry.content, "mode": entry.mode}
            former = posixpath.join(link, entry.path)
            calls.append(("copy", {"dest": path, **content, **owned, "former": former}))
    if model.build:
        if model.creates is None:
            raise place.spot("build").error(
                "'build' requires 'creates', to determine whether the build is done",
                hint="for websocket_app: app_built, the path that app_build creates",
            )
        creates = posixpath.join(top, model.creates)
        args = {"argv": list(model.build), "chdir": top, "creates": creates}
        calls.append(("command", args | _given(model, "environment")))
    calls.append(("file", {"path": link, "state": "link", "src": posixpath.join(FOLDER, release)}))
    calls.append(("releases", {"path": releases, "keep": model.keep, "link": link}))
    return calls


_WRITERS: dict[type[Module], Callable[[object, Place], list[Call]]] = {
    Certificate: _certificate,
    Package: _package,
    Copy: _copy,
    Template: _template,
    File: _file,
    Service: _service,
    User: _user,
    Command: _command,
    Release: _release,
}
