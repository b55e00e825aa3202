"""The configuration of a host's proxies as a plan would leave it, from the present files. Pure.

The result of commands, of packages' own scripts and of files whose content is unknown cannot be
predicted: those are left as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from posixpath import dirname, join, normpath

from deployer.plan.forecast import effects
from deployer.plan.model import Change, Plan
from deployer.plan.removal import REASON
from deployer.proxies import PROXIES
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import ServedName, served_names
from deployer.resources import PATH_KINDS

#: Folders that hold more than a proxy's configuration: new files there belong to no proxy.
_SHARED_FOLDERS = frozenset({"/", "/etc", "/etc/ssl", "/usr/share", "/usr/local/etc"})


@dataclass(slots=True)
class _Files:
    """What a plan does to paths: the new text, or `None` for a removed path or folder."""

    texts: dict[str, str | None] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def names_left(states: Sequence[ProxyState], plan: Plan) -> tuple[ServedName, ...]:
    """The names that are served after `plan`.

    A name that the files alone do not show, as a macro's, is left where its proxy keeps running.
    """
    running = still_running(states, plan)
    read = {_key(each) for each in served_names(map(_from_files, running))}
    unread = (each for each in served_names(running) if _key(each) not in read)
    return (*served_names(after(running, plan)), *unread)


def files_taken_back(
    states: Iterable[ProxyState], plan: Plan, *, undoes: bool, own: Collection[str]
) -> frozenset[str]:
    """The configuration files that earlier generations brought, and that `plan` changes on purpose.

    A plan that `undoes` generations changes nothing else; others remove what is left over, and
    change the files that the playbook itself wrote, which are `own`.
    """
    changed = {
        normpath(change.name)
        for change in plan.changes
        if change.kind in PATH_KINDS
        and change.action != "no-op"
        and (undoes or change.reason == REASON or change.name in own)
    }
    return frozenset(
        each.path
        for state in states
        for each in state.config
        if not changed.isdisjoint((each.path, each.real_path))
    )


def after(states: Iterable[ProxyState], plan: Plan) -> tuple[ProxyState, ...]:
    """The proxies that still run after `plan`, with the configuration that they then have."""
    files = _files(plan.changes)
    return tuple(_with(state, files) for state in still_running(states, plan))


def still_running(states: Iterable[ProxyState], plan: Plan) -> tuple[ProxyState, ...]:
    """The proxies that `plan` does not stop."""
    stopped = {unit for unit, action in effects(plan).items() if action == "stop"}
    return tuple(state for state in states if _unit_of(state) not in stopped)


def _unit_of(state: ProxyState) -> str:
    """The unit whose end is the end of this proxy: several may run the same program."""
    return state.unit.removesuffix(".service") or PROXIES[state.proxy].unit


def _from_files(state: ProxyState) -> ProxyState:
    return PROXIES[state.proxy].names.with_files(state, state.config)


def _key(served: ServedName) -> tuple[str, int, str]:
    return served.name, served.port, served.socket


def _files(changes: Iterable[Change]) -> _Files:
    found = _Files()
    for change in changes:
        if change.kind not in PATH_KINDS or change.action == "no-op":
            continue
        path = normpath(change.name)
        found.links.pop(path, None)
        if change.after is None:
            found.texts[path] = None
        elif change.kind == "link":
            target = str(change.after.get("target", ""))
            found.links[path] = normpath(join(dirname(path), target))
        elif change.after_content is not None:
            found.texts[path] = change.after_content.decode("utf-8", "replace")
    return found


def _with(state: ProxyState, files: _Files) -> ProxyState:
    kept = []
    for each in state.config:
        changed = _changed(each, files)
        if changed is not None:
            kept.append(changed)
    known = {path for each in state.config for path in (each.path, each.real_path)}
    config = (*kept, *_new(state, files, known))
    if config == state.config:
        return state
    return PROXIES[state.proxy].names.with_files(state, config)


def _changed(file: ConfigFile, files: _Files) -> ConfigFile | None:
    """`file` as the plan leaves it; `None` if it is removed."""
    for path in dict.fromkeys((file.path, file.real_path or file.path)):
        if path in files.links and path == file.path:
            text = files.texts.get(files.links[path])
            return file if text is None else replace(file, text=text)
        if _is_removed(path, files):
            return None
        text = files.texts.get(path)
        if text is not None:
            return replace(file, text=text)
    return file


def _is_removed(path: str, files: _Files) -> bool:
    if path in files.texts:
        return files.texts[path] is None
    folder = dirname(path)
    while folder not in ("", "/"):
        if files.texts.get(folder, "") is None:
            return True
        folder = dirname(folder)
    return False


def _new(state: ProxyState, files: _Files, known: set[str]) -> list[ConfigFile]:
    """New files in the folders of the configuration; whether they are included, it shows itself."""
    folders = {dirname(each.path) for each in state.config} - _SHARED_FOLDERS
    tops = tuple(f"{folder}/" for folder in folders)
    texts = {path: text for path, text in files.texts.items() if text is not None}
    texts |= {link: texts[to] for link, to in files.links.items() if to in texts}
    return [
        ConfigFile(path=path, text=text)
        for path, text in texts.items()
        if path not in known and path.startswith(tops)
    ]
