"""Read a playbook, and check everything that does not depend on a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deployer.errors import SourceError, SourceErrors, UsageError
from deployer.playbook.inventory.load import Inventory, load_vars
from deployer.playbook.inventory.raw import check_names
from deployer.playbook.load.library import Library, LoadedPlay
from deployer.playbook.load.roles import RoleLoader, once
from deployer.playbook.load.tasks import Surroundings, parse_tasks
from deployer.playbook.playbook import Playbook
from deployer.playbook.schema.keys import PlayModel, SiteModel, check_serial
from deployer.playbook.schema.validate import validate
from deployer.playbook.templates.scope import Layer, Scope
from deployer.playbook.templates.templar import is_template
from deployer.playbook.yaml.file import load_yaml
from deployer.playbook.yaml.source import MergedVars, Problems, YamlList, YamlMap, spot_of

_HEADER = frozenset(
    ("name", "hosts", "become", "serial", "max_fail_percentage", "displaces", "project")
) | {"gather_facts", "any_errors_fatal"}


def load_playbook(
    path: Path,
    *,
    inventory: Inventory | None,
    extra_vars: Mapping[str, object] | None = None,
    role_paths: Sequence[Path] = (),
    become: bool = False,
) -> Playbook:
    """Read a playbook, its roles and its variable files, and check all of it.

    Args:
        inventory: if given, the hosts of each play must be in it.
        become: the default of `become` for plays.
        role_paths: further folders of roles, searched after those next to the playbook.

    Raises:
        UsageError: the file cannot be read.
        SourceErrors: all errors in the files, sorted by position.
    """
    nodes, file = load_yaml(path, what="playbook")
    spot = file.spot((1, 1))
    if nodes is None or nodes == []:
        raise spot.error("an empty playbook", hint="a playbook is a list of plays: - hosts: web")
    if not isinstance(nodes, YamlList):
        hint = "start the play with '- '" if isinstance(nodes, YamlMap) else ""
        raise spot.error("a playbook is a list of plays", hint=hint or "- hosts: web")
    library = Library(path.parent, tuple(role_paths), dict(extra_vars or {}))
    problems = Problems()
    plays: list[LoadedPlay] = []
    for number, node in enumerate(nodes):
        if not isinstance(node, YamlMap):
            problems.add(spot_of(nodes, number).error("a play is a mapping", hint="- hosts: web"))
            continue
        play = _play(node, library, problems, become=become)
        if play is not None:
            plays.append(play)
            if inventory is not None:
                try:
                    inventory.select(play.hosts)
                except UsageError as error:
                    problems.add(spot_of(node, "hosts").error(error.problem, hint=error.hint))
    _check_projects(plays, problems)
    problems.raise_if_any()
    return Playbook(path=path, plays=tuple(plays), library=library)


def _check_projects(plays: Sequence[LoadedPlay], problems: Problems) -> None:
    """A playbook is one project: hosts record its name with everything that its plays name."""
    named = [play for play in plays if play.project]
    for play in named[1:]:
        if play.project != named[0].project:
            problems.add(
                spot_of(play.node, "project").error(
                    f"project: {play.project}, but an earlier play has project: {named[0].project}",
                    hint="a playbook is one project; it is enough to name it in one play",
                )
            )


def _play(
    node: YamlMap, library: Library, problems: Problems, *, become: bool
) -> LoadedPlay | None:
    variables = node.get("vars")
    layers: list[Layer] = []
    if isinstance(variables, YamlMap):
        try:
            check_names(variables)
        except SourceErrors as error:
            problems.add(error)
        layers.append(Layer(variables))
    try:
        header = _header(node, layers, library)
    except SourceError as error:
        problems.add(error)
        return None
    model = validate(PlayModel, header.without("sites"), problems, rendered=True)
    _sites(node, problems)
    for each in _vars_files(node, layers, library, problems):
        layers.append(each)
    become = header.get("become", become) is True
    roles = []
    if isinstance(node.get("roles"), YamlList):
        roles = RoleLoader(library, problems, become).entries(node["roles"])
    around = Surroundings(library=library, folder=library.playbook_dir, become=become)
    handling = replace(around, handlers=True)
    tasks = parse_tasks(node.get("tasks"), around, problems)
    handlers = parse_tasks(node.get("handlers"), handling, problems)
    serial = _serial(node, header, problems)
    if model is None:
        return None
    merged, secret = _merged(layers)
    return LoadedPlay(
        name=model.name or model.hosts,
        hosts=model.hosts,
        become=become,
        serial=serial,
        max_fail_percentage=model.max_fail_percentage,
        vars=merged,
        secret_vars=secret,
        roles=once(roles),
        tasks=tasks,
        handlers=handlers,
        sites=tuple(sites) if isinstance(sites := node.get("sites"), YamlList) else (),
        displaces=tuple(word.strip().lower() for word in model.displaces),
        tags=frozenset(word.strip() for word in model.tags),
        project=model.project or "",
        source=spot_of(node).ref,
        node=node,
        library=library,
        layers=tuple(layers),
    )


def _serial(node: YamlMap, header: YamlMap, problems: Problems) -> tuple[int | str, ...]:
    try:
        return () if header.get("serial") is None else check_serial(header["serial"])
    except ValueError as error:
        problems.add(spot_of(node, "serial").error(f"serial: {error}"))
        return ()


def _merged(layers: Iterable[Layer]) -> tuple[MergedVars, MergedVars]:
    """The variables of all layers, and the secret ones; each variable is in one of both."""
    merged, secret = MergedVars(), MergedVars()
    for layer in layers:
        target, other = (secret, merged) if layer.secret else (merged, secret)
        for key in layer.values:
            other.pop(key, None)
        target.update(layer.values)
    return merged, secret


def _header(node: YamlMap, layers: list[Layer], library: Library) -> YamlMap:
    """A play with its settings rendered, which are needed before any host is known."""
    scope = Scope((*layers, Layer(library.extra_vars)), templar=library.templar)
    # As in Ansible, an empty `tasks:` is an empty list.
    return node.like(
        (key, library.templar.render(value, scope, spot_of(node, key)) if key in _HEADER else value)
        for key, value in node.items()
        if value is not None or key == "hosts"
    )


def _sites(node: YamlMap, problems: Problems) -> None:
    sites = node.get("sites")
    if not isinstance(sites, YamlList):
        if sites is not None:
            problems.add(spot_of(node, "sites").error("sites must be a list", hint="- domain: …"))
        return
    for number, site in enumerate(sites):
        if isinstance(site, YamlMap):
            validate(SiteModel, site, problems, rendered=False, path=("sites", number), root=node)
        else:
            problems.add(spot_of(sites, number).error("a site is a mapping", hint="- domain: …"))


def _vars_files(
    node: YamlMap, layers: list[Layer], library: Library, problems: Problems
) -> list[Layer]:
    found: list[Layer] = []
    entries = node.get("vars_files")
    if not isinstance(entries, YamlList):
        return found
    scope = Scope((*layers, Layer(library.extra_vars)), templar=library.templar)
    for number, entry in enumerate(entries):
        name = entry.get("file") if isinstance(entry, YamlMap) else entry
        secret = isinstance(entry, YamlMap) and entry.get("secret") is True
        spot = spot_of(entries, number)
        if not isinstance(name, str):
            continue
        try:
            if is_template(name):
                name = str(library.templar.render(name, scope, spot))
            path = library.playbook_dir / name
            found.append(Layer(load_vars(path, secret=secret), secret=secret))
        except (SourceError, SourceErrors) as error:
            problems.add(error)
        except UsageError as error:
            problems.add(spot.error(error.problem, hint=error.hint))
    return found
