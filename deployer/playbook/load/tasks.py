"""Lists of tasks: check keywords, and flatten blocks and included files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deployer.errors import SourceError, SourceErrors, UsageError
from deployer.model import Value
from deployer.playbook.inventory.raw import check_names
from deployer.playbook.inventory.variables import check_place
from deployer.playbook.load.library import Library, LoadedTask
from deployer.playbook.schema.keys import TaskKeywords
from deployer.playbook.schema.modules import MODULES, REFUSED_MODULES
from deployer.playbook.schema.validate import validate
from deployer.playbook.templates.scope import Layer
from deployer.playbook.templates.templar import is_template
from deployer.playbook.yaml.file import load_yaml
from deployer.playbook.yaml.source import Problems, Spot, YamlList, YamlMap, nearest, spot_of

_PREFIXES = ("ansible.builtin.", "ansible.legacy.")
#: Modules that hints do not suggest: an alias, and those that only built-in roles use.
_NOT_SUGGESTED = ("systemd_service", "certificate", "release")
_INCLUDES = ("import_tasks", "include_tasks")
_BLOCK_KEYS = frozenset(
    {"block", "name", "when", "tags", "become", "no_log", "vars", "notify", "state"}
)
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The context of a list of tasks: inherited keywords, and the folder of its files."""

    library: Library
    folder: Path
    become: bool
    handlers: bool = False
    conditions: tuple[tuple[object, Spot], ...] = ()
    layers: tuple[Layer, ...] = ()
    tags: frozenset[str] = frozenset()
    notify: tuple[str, ...] = ()
    no_log: bool = False
    absent: bool = False
    depth: int = field(default=0)


def parse_tasks(nodes: object, around: Surroundings, problems: Problems) -> tuple[LoadedTask, ...]:
    """The tasks of a list; errors are added to `problems`."""
    found: list[LoadedTask] = []
    if not isinstance(nodes, YamlList):
        return ()
    for number, node in enumerate(nodes):
        if not isinstance(node, YamlMap):
            problems.add(
                spot_of(nodes, number).error(
                    "a task is a mapping", hint="write - name: …, and a module"
                )
            )
            continue
        try:
            found += _parse(node, around, problems)
        except (SourceError, SourceErrors) as error:
            problems.add(error)
    return tuple(found)


def load_tasks(path: Path, around: Surroundings, problems: Problems) -> tuple[LoadedTask, ...]:
    """The tasks of a file, which contains a list of them or is empty."""
    nodes, file = load_yaml(path, what="task file")
    if nodes is None:
        return ()
    if not isinstance(nodes, YamlList):
        raise file.spot((1, 1)).error("a task file is a list of tasks", hint="start each with '- '")
    return parse_tasks(nodes, around, problems)


def _parse(node: YamlMap, around: Surroundings, problems: Problems) -> Sequence[LoadedTask]:
    if "block" in node:
        return _block(node, around, problems)
    names = [key for key in node if _short(key) in MODULES or _short(key) in _INCLUDES]
    if len(names) > 1:
        raise spot_of(node, names[1], key=True).error(
            f"a task has one module, not both {names[0]} and {names[1]}"
        )
    if not names:
        raise _no_module(node, problems)
    key = names[0]
    keywords = node.without(key)
    if _short(key) == "command":
        keywords = keywords.without("environment")
    validate(TaskKeywords, keywords, problems, rendered=False)
    inner = _inherit(node, around, problems)
    if _short(key) in _INCLUDES:
        return _include(node, key, inner, problems)
    args = _arguments(node, key)
    model = MODULES[_short(key)]
    validate(model, args, problems, rendered=False)
    _check_templates(args, around.library, problems)
    task = LoadedTask(
        name=_name(node, key, args),
        module=_short(key),
        args=args,
        when=tuple(str(condition) for condition, _ in inner.conditions),
        loop=node.get("loop"),
        notify=inner.notify,
        tags=inner.tags,
        become=node.get("become"),
        no_log=inner.no_log,
        vars=node.get("vars") or {},
        source=spot_of(node).ref,
        node=node,
        args_node=args,
        conditions=inner.conditions,
        layers=inner.layers,
        handler=around.handlers,
        absent=inner.absent,
    )
    if "loop" in node:
        _check_templates(node.like([("loop", node["loop"])]), around.library, problems)
    _check_kind(task, problems)
    return [task]


def _short(key: object) -> str:
    text = str(key)
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


def _no_module(node: YamlMap, problems: Problems) -> SourceError:
    known = {*TaskKeywords.fields(), *TaskKeywords.refused, "block", "environment"}
    others = [key for key in node if key not in known]
    for key in others:
        why = REFUSED_MODULES.get(_short(key), "")
        if why:
            return spot_of(node, key, key=True).error(
                f"the module '{key}' is not supported", hint=why
            )
    validate(TaskKeywords, node.without(*map(str, others)), problems, rendered=False)
    modules = ", ".join(name for name in MODULES if name not in _NOT_SUGGESTED)
    if not others:
        return spot_of(node).error("a task without a module", hint=f"modules: {modules}")
    key = others[0]
    last = str(key).rpartition(".")[2]
    hint = nearest(_short(key), [*MODULES, *TaskKeywords.fields()]) or nearest(last, MODULES)
    return spot_of(node, key, key=True).error(
        f"no module '{key}'", hint=hint or f"modules: {modules}"
    )


def _name(node: YamlMap, key: object, args: YamlMap) -> str:
    if isinstance(node.get("name"), str):
        return str(node["name"])
    subject = next((args[k] for k in ("name", "dest", "path", "cmd") if k in args), "")
    if isinstance(subject, list):
        subject = ", ".join(map(str, subject))
    return f"{_short(key)} {subject}".strip()


def words(value: Value) -> list[str]:
    """The words of a list or a comma-separated string; empty for anything else."""
    if value is None:
        return []
    found = value.split(",") if isinstance(value, str) else value
    return [str(word).strip() for word in found] if isinstance(found, list) else []


def _inherit(node: YamlMap, around: Surroundings, problems: Problems) -> Surroundings:
    """The context inside a task, block or include: the outer one plus its own keywords."""
    conditions = list(around.conditions)
    conditions += conditions_of(node, around.library, problems)
    layers = around.layers
    variables = node.get("vars")
    if isinstance(variables, YamlMap):
        check_names(variables)
        check_place(variables)
        layers = (*layers, Layer(variables))
    tags = words(node.get("tags"))
    for tag in tags:
        if is_template(tag):
            problems.add(spot_of(node, "tags").error("a tag is a word, not a template"))
    if is_template(node.get("state")):
        hint = "write state: absent with a when"
        spot = spot_of(node, "state")
        problems.add(spot.error("a task's state is a word, not a template", hint=hint))
    become = node.get("become")
    if become is False and around.become:
        problems.add(
            spot_of(node, "become").error(
                "become: false on a task, in a play with become: true",
                hint="a run uses one user on a host: set become on the play",
            )
        )
    notify = node.get("notify")
    handlers = [notify] if isinstance(notify, str) else words(notify)
    return replace(
        around,
        conditions=tuple(conditions),
        layers=layers,
        tags=around.tags | frozenset(filter(None, tags)),
        notify=(*around.notify, *handlers),
        no_log=around.no_log or node.get("no_log") is True,
        absent=around.absent or node.get("state") == "absent",
    )


def conditions_of(node: YamlMap, library: Library, problems: Problems) -> list[tuple[object, Spot]]:
    """The conditions of a `when` with their positions; their syntax is checked."""
    when = node.get("when")
    if when is None:
        return []
    many = isinstance(when, YamlList)
    found = []
    for number, each in enumerate(when if isinstance(when, YamlList) else [when]):
        spot = spot_of(node, "when", number) if many else spot_of(node, "when")
        found.append((each, spot))
        if isinstance(each, str):
            try:
                if is_template(each):
                    raise spot.error(
                        "'when' is already an expression", hint="remove the {{ }} around it"
                    )
                library.templar.check(each, spot, expression=True)
            except SourceError as error:
                problems.add(error)
    return found


def _block(node: YamlMap, around: Surroundings, problems: Problems) -> Sequence[LoadedTask]:
    for key in node:
        if key in _BLOCK_KEYS:
            continue
        why = TaskKeywords.refused.get(str(key), "")
        spot = spot_of(node, key, key=True)
        if why:
            problems.add(spot.error(f"'{key}' is not supported", hint=why))
        else:
            problems.add(
                spot.error(f"unknown key '{key}' in a block", hint=nearest(str(key), _BLOCK_KEYS))
            )
    if not isinstance(node["block"], YamlList):
        raise spot_of(node, "block").error("a block is a list of tasks")
    validate(
        TaskKeywords,
        node.like((k, v) for k, v in node.items() if k in _BLOCK_KEYS - {"block"}),
        problems,
        rendered=False,
    )
    return parse_tasks(node["block"], _deeper(_inherit(node, around, problems), node), problems)


def _deeper(around: Surroundings, node: YamlMap) -> Surroundings:
    if around.depth >= _MAX_DEPTH:
        raise spot_of(node).error(f"tasks are included or nested more than {_MAX_DEPTH} levels")
    return replace(around, depth=around.depth + 1)


def _include(
    node: YamlMap, key: object, around: Surroundings, problems: Problems
) -> Sequence[LoadedTask]:
    value = node[key]
    spot = spot_of(node, key)
    name = value.get("file") if isinstance(value, YamlMap) and set(value) == {"file"} else value
    if not isinstance(name, str) or not name:
        raise spot.error(f"{key} requires a file name")
    if is_template(name):
        raise spot.error(
            f"the file of {key} is read before any host is known, so it cannot be a template",
            hint="import each file with a when",
        )
    if "loop" in node:
        raise spot_of(node, "loop", key=True).error(
            f"'loop' cannot be used with {key}", hint="put the loop on the tasks in the file"
        )
    path = around.folder / name
    try:
        return load_tasks(path, _deeper(around, node), problems)
    except (SourceError, SourceErrors):
        raise
    except UsageError as error:
        raise spot.error(error.problem, hint=error.hint) from None


def _arguments(node: YamlMap, key: object) -> YamlMap:
    """The arguments of a module, with aliases replaced."""
    value, module = node[key], _short(key)
    model = MODULES[module]
    if isinstance(value, str) and module == "command":
        value = _free_form(node, key, value)
    elif value is None:
        value = YamlMap(node.file, node.marks[key][1])
    elif not isinstance(value, YamlMap):
        keys = model.fields()
        first = next((key for key in keys if keys[key].required), next(iter(keys)))
        raise spot_of(node, key).error(
            f"{module} requires a mapping", hint=f"write {module}: {{{first}: …}}"
        )
    args = YamlMap(value.file, value.mark)
    further = node.get("args")
    sources = [value, further] if isinstance(further, YamlMap) else [value]
    if module == "command" and "environment" in node:
        sources.append(node.like([("environment", node["environment"])]))
    for source in sources:
        for word, each in source.items():
            name = model.synonyms.get(word, word) if isinstance(word, str) else word
            if name in args:
                raise spot_of(source, word, key=True).error(f"'{name}' is given twice")
            args.put(name, each, source.marks[word])
    return args


def _free_form(node: YamlMap, key: object, text: str) -> YamlMap:
    args = YamlMap(node.file, node.marks[key][1])
    marks = node.marks[key]
    for match in re.finditer(r"(?:^|\s)(creates|removes|chdir)=(\{\{[^}]*\}\}\S*|[^\s'\"]+)", text):
        args.put(match[1], match[2], marks)
        text = text.replace(match[0], "", 1)
    args.put("cmd", text.strip(), marks)
    return args


def _check_templates(node: Value, library: Library, problems: Problems) -> None:
    """Compile every template below `node`, to find syntax errors without a host."""
    entries = node.items() if isinstance(node, YamlMap) else enumerate(node)
    for key, value in entries:
        if isinstance(value, (YamlMap, YamlList)):
            _check_templates(value, library, problems)
        elif is_template(value):
            try:
                library.templar.check(value, spot_of(node, key))
            except SourceError as error:
                problems.add(error)


def _check_kind(task: LoadedTask, problems: Problems) -> None:
    """Check what only handlers may do, and what only tasks may do."""
    args, canonical = task.args_node, MODULES[task.module].canonical
    state = args.get("state")
    if canonical == "service" and state in ("restarted", "reloaded") and not task.handler:
        problems.add(
            spot_of(args, "state").error(
                f"state: {state} requires a handler: a plan cannot determine whether it is done",
                hint="notify a handler that does it, and write state: started here",
            )
        )
    if canonical == "command" and not task.handler:
        if not {"creates", "removes", "unless"} & set(args):
            problems.add(
                spot_of(args).error(
                    "a command requires 'creates', 'removes' or 'unless'",
                    hint="without one, a plan cannot determine whether it has been done",
                )
            )
    elif task.handler and canonical not in ("service", "command"):
        problems.add(
            spot_of(task.node).error(
                f"a handler must be a service or a command, not {task.module}",
                hint="write it as a task",
            )
        )
