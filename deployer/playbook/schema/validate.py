"""Validate a mapping of a file with its model; every error has its line and a suggestion."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic_core import ValidationError

from deployer.model import Value
from deployer.playbook.schema.models import Model, Strict
from deployer.playbook.schema.values import InvalidValue
from deployer.playbook.templates.kinds import kind
from deployer.playbook.templates.templar import is_template
from deployer.playbook.yaml.source import Problems, YamlMap, nearest, spot_of, value_at
from deployer.sites.secret_headers import secret_texts

_WANTED = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be a string",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
}


def validate(
    model: type[Model],
    node: YamlMap,
    problems: Problems,
    *,
    rendered: bool,
    is_secret: Callable[[], bool] = lambda: False,
    path: tuple[Value, ...] = (),
    root: Value = None,
) -> Model | None:
    """The model of a mapping, or `None` with its errors added to `problems`.

    A mapping that cannot be validated yet because of its templates is also `None`, without errors.

    Args:
        rendered: whether templates were rendered; if not, strings with templates are not checked.
        is_secret: whether the values of `node` must not be shown.
    """
    report = _Report(node if root is None else root, path, problems)
    report.walk(model, node, path)
    try:
        return model.validate(node)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            report.add(each, rendered=rendered, secret=is_secret())
    return None


class _Report:
    """Collects the errors of one mapping with their positions."""

    def __init__(self, root: Value, path: tuple[Value, ...], problems: Problems) -> None:
        self.root = root
        self.path = path
        self.problems = problems
        self.explained: set[tuple[Value, ...]] = set()

    def walk(self, model: type[Strict], node: Value, path: tuple[Value, ...]) -> None:
        """Report unknown keys and invalid combinations of keys in `node` and everything below."""
        if not isinstance(node, dict):
            return
        self._hide(node.get("headers"))
        known = set(model.fields()) | set(model.key_aliases)
        for key in node:
            if key not in known:
                self._unknown(model, key, path, known)
        for each in model.combination_errors(node):
            place = path if each.key is None else (*path, each.key)
            if each.key is not None:
                self.explained.add(place)
            spot = spot_of(self.root, *place, key=each.key is not None)
            self.problems.add(spot.error(each.problem, hint=each.hint))
        for name, field in model.fields().items():
            value = node.get(name)
            if field.model is not None and isinstance(value, list):
                for number, each_value in enumerate(value):
                    self.walk(field.model, each_value, (*path, name, number))
            elif field.model is not None:
                self.walk(field.model, value, (*path, name))

    def _hide(self, headers: object) -> None:
        """Make sure that no error quotes the values of headers."""
        if isinstance(headers, Mapping):
            self.problems.hidden |= secret_texts(headers.items())

    def _unknown(
        self, model: type[Strict], key: Value, path: tuple[Value, ...], known: set[str]
    ) -> None:
        spot = spot_of(self.root, *path, key, key=True)
        why = model.refused.get(key, "") if isinstance(key, str) else ""
        if why:
            self.problems.add(spot.error(f"'{key}' is not supported", hint=why))
            return
        near = nearest(str(key), known)
        if near:
            # The error about the misspelt key is sufficient: do not report it as missing too.
            self.explained.add((*path, near.removeprefix("did you mean '").removesuffix("'?")))
        hint = near or f"known keys: {', '.join(sorted(known))}"
        if "role" in known and not near:
            hint = "put a role's variables under vars: {…}"
        self.problems.add(spot.error(f"unknown key '{key}'", hint=hint))

    def add(self, error: Value, *, rendered: bool, secret: bool) -> None:
        """Report an error of the validation engine, unless a better one was reported already."""
        # The location contains the tag of a tagged union, which is not a key of the file.
        location = tuple(step for step in error["loc"] if step not in ("mapping", "other"))
        place = (*self.path, *location)
        if error["type"] == "extra_forbidden" or place in self.explained:
            return
        if error["type"] == "missing":
            spot = spot_of(self.root, *place[:-1])
            self.problems.add(spot.error(f"missing key '{location[-1]}'"))
            return
        value = value_at(self.root, place)
        if not rendered and is_template(value):
            return
        cause = (error.get("ctx") or {}).get("error")
        if isinstance(cause, InvalidValue) and cause.key is not None:
            place = (*place, cause.key)
            if not rendered and is_template(value_at(self.root, place)):
                return
        elif isinstance(cause, InvalidValue) and isinstance(value, list):
            wrong = [number for number, each in enumerate(value) if each == cause.value]
            if not rendered and not wrong and any(is_template(each) for each in value):
                return
            place = (*place, *wrong[:1])
            if not rendered and is_template(value_at(self.root, place)):
                return
        is_key = isinstance(cause, InvalidValue) and cause.key is not None
        spot = spot_of(self.root, *place, key=is_key)
        name = next((str(step) for step in reversed(location) if isinstance(step, str)), "value")
        problem, hint = _words(error, name, value, secret=secret)
        self.problems.add(spot.error(problem, hint=hint))


def _words(error: Value, name: str, value: Value, *, secret: bool) -> tuple[str, str]:
    kind_of_error = error["type"]
    context: Mapping[str, Value] = error.get("ctx") or {}
    cause = context.get("error")
    if isinstance(cause, InvalidValue):
        return f"{name}: {cause.text(secret=secret)}", ""
    shown = "(secret)" if secret else _shown(value)
    if kind_of_error == "literal_error":
        words = [
            word.strip("' ") for word in str(context["expected"]).replace(" or ", ",").split(",")
        ]
        hint = nearest(str(value), words) if not secret else ""
        return f"{name} must be {context['expected']}, not {shown}", hint
    if kind_of_error == "too_short":
        return f"{name} must not be empty", ""
    if kind_of_error in _WANTED:
        return f"{name} {_WANTED[kind_of_error]}, not {shown}", ""
    if cause is not None:
        return f"{name}: {'(secret) cannot be used' if secret else cause}", ""
    return f"{name}: {str(error['msg']).lower()}, not {shown}", ""


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 60):
        return repr(value)
    return kind(value)
