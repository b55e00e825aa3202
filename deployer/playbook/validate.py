"""A mapping of a file held against its model, every error at its own line with the nearest word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ValidationError

from deployer.playbook.filters import kind
from deployer.playbook.models import Misplaced, Model, Strict, model_in
from deployer.playbook.source import Problems, YamlMap, nearest, spot_of, value_at
from deployer.playbook.templar import is_template
from deployer.playbook.values import Unfit

_WANTED = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be a text",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "too_short": "must not be empty",
}


def validate(
    model: type[Model],
    node: YamlMap,
    problems: Problems,
    *,
    rendered: bool,
    is_secret: Callable[[], bool] = lambda: False,
    path: tuple[Any, ...] = (),
    root: Any = None,
) -> Model | None:
    """The model of a mapping, or `None` with its errors added to `problems`.

    Args:
        rendered: whether templates were rendered; before, a text with one is left alone.
        is_secret: whether the values of `node` must not be shown.

    A mapping that is right but for templates gives `None` too, without an error.
    """
    root = node if root is None else root
    _walk(model, node, path, root, problems)
    try:
        return model.validate(node)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            _add(each, path, root, problems, rendered=rendered, secret=is_secret())
    return None


def _walk(
    model: type[Strict], node: Any, path: tuple[Any, ...], root: Any, problems: Problems
) -> None:
    """Unknown keys, and keys that do not go together, in `node` and all below it."""
    if not isinstance(node, dict):
        return
    known = set(model.fields()) | set(model.other_words)
    for key in node:
        if key in known:
            continue
        why = model.refused.get(key, "") if isinstance(key, str) else ""
        spot = spot_of(root, *path, key, key=True)
        if why:
            problems.add(spot.error(f"'{key}' is not supported", hint=why))
        else:
            hint = nearest(str(key), known) or f"known here: {', '.join(sorted(known))}"
            problems.add(spot.error(f"unknown key '{key}'", hint=hint))
    for misplaced in model.together(node):
        _misplaced(misplaced, path, root, problems)
    for name, field in model.fields().items():
        inner = model_in(field.annotation)
        value = node.get(name)
        if inner is not None:
            many = value if isinstance(value, list) else [value]
            for number, each in enumerate(many):
                steps = (name, number) if isinstance(value, list) else (name,)
                _walk(inner, each, path + steps, root, problems)


def _misplaced(error: Misplaced, path: tuple[Any, ...], root: Any, problems: Problems) -> None:
    spot = spot_of(root, *path) if error.key is None else spot_of(root, *path, error.key, key=True)
    problems.add(spot.error(error.problem, hint=error.hint))


def _add(
    error: Any,
    path: tuple[Any, ...],
    root: Any,
    problems: Problems,
    *,
    rendered: bool,
    secret: bool,
) -> None:
    kind_of_error = error["type"]
    if kind_of_error == "extra_forbidden":
        return
    location = tuple(error["loc"])
    if kind_of_error == "missing":
        place = spot_of(root, *path, *location[:-1])
        problems.add(place.error(f"missing key '{location[-1]}'"))
        return
    value = value_at(root, path + location)
    if not rendered and is_template(value):
        return
    spot = spot_of(root, *path, *location)
    name = next((str(step) for step in reversed(location) if isinstance(step, str)), "value")
    problem, hint = _words(error, name, value, secret=secret)
    problems.add(spot.error(problem, hint=hint))


def _words(error: Any, name: str, value: Any, *, secret: bool) -> tuple[str, str]:
    kind_of_error = error["type"]
    context: Mapping[str, Any] = error.get("ctx") or {}
    cause = context.get("error")
    if isinstance(cause, Unfit):
        return f"{name}: {cause.text(secret=secret)}", ""
    shown = "(secret)" if secret else _shown(value)
    if kind_of_error == "literal_error":
        words = [
            word.strip("' ") for word in str(context["expected"]).replace(" or ", ",").split(",")
        ]
        hint = nearest(str(value), words) if not secret else ""
        return f"{name} must be {context['expected']}, not {shown}", hint
    if kind_of_error in _WANTED:
        return f"{name} {_WANTED[kind_of_error]}, not {shown}", ""
    if cause is not None:
        return f"{name}: {'(secret) cannot be used' if secret else cause}", ""
    return f"{name}: {str(error['msg']).lower()}, not {shown}", ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 60):
        return repr(value)
    return kind(value)
