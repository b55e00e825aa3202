"""Roles: folders with ``defaults/ vars/ tasks/ handlers/ templates/ files/ meta/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import SourceError, SourceErrors
from deployer.model import Value
from deployer.playbook.inventory.load import load_vars
from deployer.playbook.inventory.raw import check_names
from deployer.playbook.inventory.variables import check_place
from deployer.playbook.load.library import Library, LoadedRole, LoadedTask
from deployer.playbook.load.tasks import Surroundings, conditions_of, load_tasks, words
from deployer.playbook.schema.argument_specs import Options, options_in
from deployer.playbook.templates.scope import Layer
from deployer.playbook.yaml.file import load_yaml
from deployer.playbook.yaml.source import (
    MergedVars,
    Problems,
    SourceFile,
    Spot,
    YamlList,
    YamlMap,
    spot_of,
)

_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class RoleLoader:
    """Loads roles from `library`; with `become`, their tasks become root by default."""

    library: Library
    problems: Problems
    become: bool

    def entries(self, nodes: YamlList, *, chain: tuple[str, ...] = ()) -> list[LoadedRole]:
        """The roles of a list of entries, each preceded by its dependencies."""
        found: list[LoadedRole] = []
        for number, entry in enumerate(nodes):
            try:
                if isinstance(entry, str):
                    found += self.load(entry, spot_of(nodes, number), chain=chain)
                elif isinstance(entry, YamlMap):
                    name = entry.get("role", entry.get("name"))
                    if isinstance(name, str):
                        key = "role" if "role" in entry else "name"
                        found += self.load(name, spot_of(entry, key), entry=entry, chain=chain)
            except (SourceError, SourceErrors) as error:
                self.problems.add(error)
        return found

    def load(
        self,
        name: str,
        spot: Spot,
        *,
        entry: YamlMap | None = None,
        values: Mapping[str, object] | None = None,
        chain: tuple[str, ...] = (),
    ) -> list[LoadedRole]:
        """A role, preceded by its dependencies.

        Args:
            entry: the mapping of the role in the playbook, with its vars, tags and when.
            values: variables that are never rendered as templates.
            chain: the roles that depend on it, to report circular dependencies.
        """
        if name in chain or len(chain) > _MAX_DEPTH:
            raise spot.error(f"circular dependency of roles: {' → '.join([*chain, name])}")
        library = self.library
        folder = library.find_role(name, spot)
        is_absent = entry is not None and entry.get("state") == "absent"
        before = [] if is_absent else self._dependencies(folder, (*chain, name))
        defaults, own = _vars(folder, "defaults", library), _vars(folder, "vars", library)
        var_layers = [Layer(own)] if own else []
        tags: frozenset[str] = frozenset()
        conditions: tuple[tuple[object, Spot], ...] = ()
        if entry is not None:
            conditions = tuple(conditions_of(entry, library, self.problems))
            tags = frozenset(words(entry.get("tags")))
            if isinstance(entry.get("vars"), YamlMap):
                check_names(entry["vars"])
                check_place(entry["vars"])
                var_layers.append(Layer(entry["vars"]))
        if values:
            var_layers.append(Layer(dict(values), raw=True))
        merged = MergedVars()
        for layer in var_layers:
            merged.update(layer.values)
        tasks, handlers = _task_lists(folder, library, self.problems, become=self.become)
        role = LoadedRole(
            name=name.rpartition("/")[2],
            path=str(folder),
            defaults=defaults,
            vars=merged,
            tasks=tasks,
            handlers=handlers,
            tags=tags,
            when=tuple(str(condition) for condition, _ in conditions),
            source=spot.ref,
            spot=spot,
            options=_options(folder, library),
            folder=folder,
            default_layers=(Layer(defaults),) if defaults else (),
            var_layers=tuple(var_layers),
            conditions=conditions,
            call=_call_of(entry),
            absent=is_absent,
        )
        return [*before, role]

    def _dependencies(self, folder: Path, chain: tuple[str, ...]) -> list[LoadedRole]:
        meta = _main(folder, "meta", self.library)
        nodes = meta.get("dependencies") if isinstance(meta, YamlMap) else None
        return self.entries(nodes, chain=chain) if isinstance(nodes, YamlList) else []


def _call_of(entry: YamlMap | None) -> str:
    """A short hash of the variables of a call as written; empty if it has none."""
    if entry is None or not entry.get("vars"):
        return ""
    import hashlib
    import json

    text = json.dumps(entry["vars"], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _task_lists(
    folder: Path, library: Library, problems: Problems, *, become: bool
) -> tuple[tuple[LoadedTask, ...], tuple[LoadedTask, ...]]:
    """A role's tasks and handlers, read once.

    Lists with errors are not kept, so that every host that needs the role reports the same errors.
    """
    key = folder / ("become" if become else "plain")
    if key in library.role_files:
        found: tuple[tuple[LoadedTask, ...], tuple[LoadedTask, ...]] = library.role_files[key]
        return found
    before = len(problems.errors)
    lists = []
    for part in ("tasks", "handlers"):
        path = _main_path(folder, part)
        around = Surroundings(
            library=library, folder=folder / part, become=become, handlers=part == "handlers"
        )
        lists.append(load_tasks(path, around, problems) if path else ())
    if len(problems.errors) == before:
        library.role_files[key] = (lists[0], lists[1])
    return lists[0], lists[1]


def once(roles: list[LoadedRole]) -> tuple[LoadedRole, ...]:
    """`roles` without repetitions with the same variables, as in Ansible."""
    found: list[LoadedRole] = []
    for role in roles:
        same = any(
            role.folder == each.folder
            and role.vars == each.vars
            and role.when == each.when
            and role.absent == each.absent
            for each in found
        )
        if not same:
            found.append(role)
    return tuple(found)


def _main_path(folder: Path, part: str) -> Path | None:
    for suffix in (".yml", ".yaml"):
        path = folder / part / f"main{suffix}"
        if path.is_file():
            return path
    return None


def _main(folder: Path, part: str, library: Library) -> object:
    path = _main_path(folder, part)
    if path is None:
        return None
    if path not in library.role_files:
        library.role_files[path] = load_yaml(path, what=f"role's {part}")[0]
    return library.role_files[path]


def _options(folder: Path, library: Library) -> Options | None:
    """The argument specification, from its own file or from ``meta/main.yml``."""
    key = folder / "argument_specs"
    if key not in library.role_files:
        names = ("argument_specs.yml", "argument_specs.yaml")
        path = next((p for p in (folder / "meta" / name for name in names) if p.is_file()), None)
        document = (
            _main(folder, "meta", library)
            if path is None
            else load_yaml(path, what="argument specification")[0]
        )
        spot = SourceFile(str(path or folder / "meta")).spot((1, 1))
        library.role_files[key] = options_in(document, spot)
    options: Options | None = library.role_files[key]
    return options


def _vars(folder: Path, part: str, library: Library) -> Mapping[str, Value]:
    path = _main_path(folder, part)
    if path is None:
        return {}
    if path not in library.role_files:
        loaded = load_vars(path)
        check_place(loaded)
        library.role_files[path] = loaded
    variables: Mapping[str, Value] = library.role_files[path]
    return variables
