"""Render a playbook for one host: look up variables, render templates, check every value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from deployer.agent.proxies import PROXIES
from deployer.errors import SourceError, SourceErrors
from deployer.model import Host, Play, Value
from deployer.playbook.inventory.load import Inventory
from deployer.playbook.load.library import LoadedPlay, LoadedRole, LoadedTask
from deployer.playbook.load.roles import RoleLoader
from deployer.playbook.playbook import (
    Playbook,
    Plays,
    Rendered,
    RenderedTask,
    RenderOptions,
    SiteRoles,
)
from deployer.playbook.render.arguments import check_arguments
from deployer.playbook.render.selection import Selection, origin_of, site_of
from deployer.playbook.render.site import to_site
from deployer.playbook.render.tags import selected
from deployer.playbook.render.variables import HostVariables, texts
from deployer.playbook.schema.canonical import Place, canonical
from deployer.playbook.schema.modules import MODULES
from deployer.playbook.schema.validate import validate
from deployer.playbook.templates.scope import Layer, Scope
from deployer.playbook.yaml.source import (
    Problems,
    SourceFile,
    YamlMap,
    nearest,
    spot_of,
)
from deployer.sites.model import Site
from deployer.sites.secret_headers import secrets_of_site

_MAX_LOOP = 10_000


def render(
    plays: Plays,
    host: Host,
    *,
    inventory: Inventory,
    facts: Mapping[str, Value],
    site_roles: SiteRoles,
    options: RenderOptions,
) -> Rendered:
    """Render the plays whose pattern matches `host`; see `playbook.render_host`.

    Raises: SourceErrors, with all errors for this host.
    """
    if isinstance(plays, Playbook):
        chosen: Sequence[Play] = [play for play in plays.plays if _names(play, host, inventory)]
    else:
        chosen = (plays,) if isinstance(plays, Play) else plays
    problems = Problems()
    tasks: list[RenderedTask] = []
    handlers: list[RenderedTask] = []
    sites: list[Site] = []
    secrets: set[str] = set()
    displaces: set[str] = set()
    selection = Selection()
    absent_sites: set[str] = set()
    renderers = []
    for play in chosen:
        assert isinstance(play, LoadedPlay)  # noqa: S101 - load_playbook makes no other
        renderer = _PlayRenderer(play, host, inventory, facts, options, problems)
        renderer.selection = selection
        renderer.render_sites()
        renderers.append(renderer)
    _serve_together(renderers)
    for renderer in renderers:
        renderer.is_without_sites = renderer is renderers[-1] and not sites
        renderer.run(site_roles)
        tasks += renderer.tasks
        handlers += (each for each in renderer.used_handlers() if each not in handlers)
        sites += renderer.sites
        displaces.update(play.displaces, *(site.displaces for site in renderer.sites))
        absent_sites |= renderer.absent_sites
        secrets |= renderer.secrets
        secrets |= frozenset().union(*map(secrets_of_site, renderer.sites))
    problems.mask(secrets)
    problems.raise_if_any()
    return Rendered(
        tasks=tuple(tasks),
        handlers=tuple(handlers),
        sites=tuple(sites),
        displaces=frozenset(displaces),
        secrets=frozenset(secrets),
        skipped=selection.skipped,
        absent_sites=frozenset(absent_sites),
    )


def _serve_together(renderers: Sequence[_PlayRenderer]) -> None:
    """Let the last play with sites serve those of all plays, if its proxy has one file for all."""
    shared = [
        each
        for each in renderers
        if each.sites and all(PROXIES[site.proxy].shared_file for site in each.sites)
    ]
    if len(shared) < 2:
        return
    *earlier, last = shared
    last.served = tuple(site for each in shared for site in each.sites)
    last.serves_also = tuple(each.play for each in earlier)
    for each in earlier:
        each.served = ()


def _names(play: Play, host: Host, inventory: Inventory) -> bool:
    return any(each.name == host.name for each in inventory.select(play.hosts))


class _PlayRenderer:
    """One play for one host."""

    def __init__(
        self,
        play: LoadedPlay,
        host: Host,
        inventory: Inventory,
        facts: Mapping[str, Value],
        options: RenderOptions,
        problems: Problems,
    ) -> None:
        self.play = play
        self.library = play.library
        self.options = options
        self.variables = HostVariables(
            play, host, inventory, facts=facts, extra_vars=options.extra_vars
        )
        self.scope, self.state = self.variables.scope, self.variables.state
        self.host = self.variables.host
        self.problems = problems
        self.tasks: list[RenderedTask] = []
        self.sites: tuple[Site, ...] = ()
        self.served: tuple[Site, ...] = ()
        self.serves_also: tuple[LoadedPlay, ...] = ()
        self.absent_sites: set[str] = set()
        self.selection = Selection()
        self.is_without_sites = False
        self.handlers: dict[str, RenderedTask] = {}
        self.secrets: frozenset[str] = frozenset()
        self._notified: set[str] = set()
        self._by_place: dict[tuple[int, str], str | None] = {}

    def render_sites(self) -> None:
        """The sites of the play, which it serves itself unless `served` is changed."""
        self.secrets = self.variables.secrets()
        self.sites = self.served = self._render_sites()

    def run(self, site_roles: SiteRoles) -> None:
        calls = self._site_calls(site_roles)
        own = list(self.variables.roles)
        self.variables.add_roles(calls)
        before = len(self.problems.errors)
        check_arguments(self.variables, self.variables.roles, self.problems)
        if len(self.problems.errors) > before:
            return
        self._render_handlers()
        for role in own:
            self._role(role)
        for task in self.play.tasks:
            self._task(cast(LoadedTask, task), None)
        for role in calls:
            self._role(role)

    def used_handlers(self) -> list[RenderedTask]:
        """The handlers that tasks of this host may notify, in the order of their definition."""
        return [each for name, each in self.handlers.items() if name in self._notified]

    # --- sites ------------------------------------------------------------------------------------

    def _render_sites(self) -> tuple[Site, ...]:
        scope = self.scope(None)
        found: list[Site] = []
        names: dict[str, Site] = {}
        for node in self.play.sites:
            self.state.touched_secret = False
            try:
                rendered = self.library.templar.render(node, scope, spot_of(node))
                site = to_site(
                    rendered,
                    self.library,
                    self.problems,
                    is_secret=lambda: self.state.touched_secret,
                )
            except SourceError as error:
                self.problems.add(error)
                continue
            if site is None:
                continue
            is_absent = rendered.get("state") == "absent"
            for name in site.names:
                if name in names:
                    self.problems.add(
                        spot_of(node, "domain").error(
                            f"two sites of {self.host.name} have the name '{name}'",
                            hint=f"the first is at {names[name].source}",
                        )
                    )
                names.setdefault(name, site)
            if is_absent:
                self.absent_sites.add(site.domain)
            else:
                found.append(site)
        return tuple(found)

    def _site_calls(self, site_roles: SiteRoles) -> list[LoadedRole]:
        if self.problems.errors or not (self.served or self.is_without_sites):
            return []
        roles: list[LoadedRole] = []
        for call in site_roles(self.served):
            source = call.source or self.play.source
            file = SourceFile(source.file if source else "")
            spot = file.spot((source.line, source.column) if source else (1, 1))
            found = Problems()
            try:
                loader = RoleLoader(self.library, found, self.play.become)
                loaded = loader.load(call.role, spot, values=call.vars)
                roles += (replace(role, stage=call.stage, for_sites=True) for role in loaded)
            except (SourceError, SourceErrors) as error:
                found.add(error)
            for each in found.errors:
                self.problems.add(each)
        for role in roles if self.serves_also else ():
            self._refuse_differences(role)
        return roles

    def _refuse_differences(self, role: LoadedRole) -> None:
        """Plays whose sites are served together must agree on the variables of the role."""
        given = {name for layer in role.var_layers for name in layer.values}
        names = {name for layer in role.default_layers for name in layer.values} - given
        own = _play_values(self.play)
        for play in self.serves_also:
            values = _play_values(play)
            for name in sorted(names):
                if own.get(name) != values.get(name):
                    source = self.play.source
                    self.problems.add(
                        SourceError(
                            f"{name} differs between two plays for {self.host.name} whose sites"
                            f" are served together; the other play is at {play.source}",
                            source=source,
                            hint="Set it in the inventory, or to the same value in both plays.",
                        )
                    )

    # --- tasks ------------------------------------------------------------------------------------

    def _role(self, role: LoadedRole) -> None:
        for task in role.tasks:
            self._task(cast(LoadedTask, task), role)

    def _task(self, task: LoadedTask, role: LoadedRole | None) -> None:
        tags = task.tags | self.play.tags | (role.tags if role else frozenset())
        if role is not None and role.for_sites:
            tags = tags.union(*(play.tags for play in self.serves_also))
        if not selected(tags, wanted=self.options.tags, skipped=self.options.skip_tags):
            return
        try:
            for name in task.notify:
                self._handler_name(name, task, role, self.scope(role, task.layers), check=True)
            rendered = self._rendered(task, role, tags)
            self.tasks += rendered
        except (SourceError, SourceErrors) as error:
            self.problems.add(error)

    def _rendered(
        self, task: LoadedTask, role: LoadedRole | None, tags: frozenset[str]
    ) -> list[RenderedTask]:
        self.selection.begin()
        if "loop" not in task.node:
            return self._once(task, role, tags, self.scope(role, task.layers), secret=False)
        found: list[RenderedTask] = []
        self.state.touched_secret = False
        items = self._items(task, self.scope(role, task.layers))
        secret = self.state.touched_secret
        for item in items:
            layer = Layer({"item": item}, raw=True, secret=secret)
            scope = self.scope(role, (*task.layers, layer))
            rendered = self._once(task, role, tags, scope, secret=secret)
            label = item if isinstance(item, (str, int, float)) and not secret else None
            found += (
                each if label is None or each.name != task.name else _labelled(each, label)
                for each in rendered
            )
        return found

    def _items(self, task: LoadedTask, scope: Scope) -> list[Value]:
        spot = spot_of(task.node, "loop")
        items = self.library.templar.render(task.node["loop"], scope, spot)
        if not isinstance(items, (list, tuple)):
            hint = 'write loop: "{{ mapping | dict2items }}"' if isinstance(items, Mapping) else ""
            raise spot.error("loop requires a list", hint=hint)
        if len(items) > _MAX_LOOP:
            raise spot.error(f"loop has {len(items):,} items; at most {_MAX_LOOP:,} are allowed")
        return list(items)

    def _once(
        self,
        task: LoadedTask,
        role: LoadedRole | None,
        tags: frozenset[str],
        scope: Scope,
        *,
        secret: bool,
    ) -> list[RenderedTask]:
        templar, state = self.library.templar, self.state
        if not self._applies(task, role, scope):
            return []
        state.touched_secret = False
        name = templar.render(task.name, scope, spot_of(task.node, "name"))
        if state.touched_secret:
            name = task.name
        state.touched_secret = secret
        node = templar.render(task.args_node, scope, spot_of(task.node))
        model = validate(
            MODULES[task.module],
            node,
            self.problems,
            rendered=True,
            is_secret=lambda: state.touched_secret,
        )
        if model is None:
            return []
        self._check_rendered(task, node)
        calls = canonical(model, Place(self.library, role, scope, node))
        touched = state.touched_secret
        notify = tuple(
            dict.fromkeys(
                each
                for word in task.notify
                if (each := self._handler_name(word, task, role, scope)) is not None
            )
        )
        if not task.handler:
            self._notified.update(notify)
        return [
            RenderedTask(
                name=str(name),
                module=module,
                args=args,
                notify=notify,
                tags=tags,
                no_log=task.no_log,
                secret=touched or task.no_log or self._holds_secret(args),
                stage=role.stage if role else 0,
                source=task.source,
                origin=origin_of(task, role),
                site=site_of(role, scope),
                absent=task.absent or (role is not None and role.absent),
            )
            for module, args in calls
        ]

    def _applies(self, task: LoadedTask, role: LoadedRole | None, scope: Scope) -> bool:
        """Whether the conditions of a task apply to this host, and to this item of its loop."""
        conditions = (*(role.conditions if role else ()), *task.conditions)
        condition = self.library.templar.condition
        is_chosen = all(condition(each, scope, spot) for each, spot in conditions)
        if not task.handler:
            self.selection.add(origin_of(task, role), is_chosen=is_chosen)
        return is_chosen

    def _check_rendered(self, task: LoadedTask, node: YamlMap) -> None:
        state, canonical_name = node.get("state"), MODULES[task.module].canonical
        if task.handler:
            return
        if canonical_name == "service" and state in ("restarted", "reloaded"):
            raise spot_of(node, "state").error(
                f"state: {state} requires a handler: a plan cannot determine whether it is done"
            )
        if canonical_name == "command" and not {"creates", "removes", "unless"} & set(node):
            raise spot_of(node).error("a command requires 'creates', 'removes' or 'unless'")

    def _holds_secret(self, args: Mapping[str, object]) -> bool:
        if not self.secrets:
            return False
        return any(secret in text for text in texts(args) for secret in self.secrets)

    # --- handlers ---------------------------------------------------------------------------------

    def _render_handlers(self) -> None:
        places: list[tuple[LoadedRole | None, tuple[Value, ...]]] = [
            *((role, role.handlers) for role in self.variables.roles),
            (None, self.play.handlers),
        ]
        for role, handlers in places:
            for handler in handlers:
                try:
                    self._handler(handler, role)
                except (SourceError, SourceErrors) as error:
                    # Its own error is sufficient: the tasks that notify it are valid.
                    self._by_place.setdefault((id(role), handler.name), None)
                    self.problems.add(error)

    def _handler(self, handler: LoadedTask, role: LoadedRole | None) -> None:
        rendered = self._rendered(handler, role, handler.tags)
        key = (id(role), handler.name)
        if not rendered:
            self._by_place[key] = None
            return
        if len(rendered) > 1:
            raise spot_of(handler.node, "loop").error(
                "a handler cannot loop over several items; write one for each"
            )
        task = rendered[0]
        name = task.name
        same = self.handlers.get(name)
        if same is not None and (same.module, same.args) != (task.module, task.args):
            # Two roles may each have a "restart app": both run, under different names.
            name = f"{role.name if role else self.play.name} : {name}"
        self._by_place[key] = name
        self._by_place[(id(role), task.name)] = name
        self.handlers.setdefault(name, _renamed(task, name))

    def _handler_name(
        self,
        word: str,
        task: LoadedTask,
        role: LoadedRole | None,
        scope: Scope,
        *,
        check: bool = False,
    ) -> str | None:
        """The handler that a task notifies: of its own role, else of the play, else of any role."""
        spot = spot_of(task.node, "notify")
        if check and "{{" in word:
            return None
        name = str(self.library.templar.render(word, scope, spot))
        for place in (role, None, *self.variables.roles):
            if (id(place), name) in self._by_place:
                return self._by_place[(id(place), name)]
        known = {name for _, name in self._by_place}
        raise spot.error(
            f"no handler '{name}'",
            hint=nearest(name, known) or f"handlers: {', '.join(sorted(known)) or 'none'}",
        )


def _labelled(task: RenderedTask, label: object) -> RenderedTask:
    return _renamed(task, f"{task.name} ({label})")


def _renamed(task: RenderedTask, name: str) -> RenderedTask:
    from dataclasses import replace

    return replace(task, name=name)


def _play_values(play: LoadedPlay) -> dict[str, object]:
    """The variables of a play itself, as they are written."""
    return {str(key): value for layer in play.layers for key, value in layer.values.items()}
