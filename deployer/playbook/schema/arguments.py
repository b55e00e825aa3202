"""Values of role arguments, checked against the options of a specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deployer.model import Value
from deployer.playbook.schema.argument_specs import Option, Options
from deployer.playbook.schema.argument_types import chosen, converted
from deployer.playbook.schema.formats import OWN
from deployer.playbook.schema.values import InvalidValue
from deployer.playbook.yaml.source import nearest


@dataclass(frozen=True, slots=True)
class ArgumentError:
    """An error at `path`, which begins with the name of a variable."""

    path: tuple[Value, ...]
    problem: InvalidValue | str
    hint: str = ""
    hidden: bool = False

    def text(self, *, secret: bool) -> str:
        """The message; without the value if it is `secret`."""
        if isinstance(self.problem, str):
            return self.problem
        words = self.problem.text(secret=secret or self.hidden)
        return f"{_place(self.path)}: {words}"


def _place(path: tuple[Value, ...]) -> str:
    text = str(path[0])
    for step in path[1:]:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text


class Arguments:
    """Checks values; `strict` is for the built-in roles.

    Keys of the variables `own`, which deployer has set, may be missing in the specification.
    """

    def __init__(self, *, strict: bool, own: frozenset[str] = frozenset()) -> None:
        self._strict = strict
        self._own = own
        self.errors: list[ArgumentError] = []

    def check(
        self, options: Options, values: Mapping[str, Value], path: tuple[Value, ...] = ()
    ) -> dict[str, Value]:
        """The values, converted to their types; `errors` has what is wrong with them."""
        found: dict[str, Value] = {}
        for name, option in options.items():
            key = next((key for key in (name, *option.aliases) if key in values), None)
            if key is None:
                if option.required:
                    self._missing(option, path)
                continue
            try:
                found[name] = self._value(option, values[key], (*path, key))
            except InvalidValue as error:
                self._invalid(option, (*path, key), error)
        return found

    def _missing(self, option: Option, path: tuple[Value, ...]) -> None:
        where = f" in {_place(path)}" if path else ""
        problem = f"the required {'key' if path else 'variable'} '{option.name}'{where} is missing"
        self.errors.append(ArgumentError(path or (option.name,), problem, option.description))

    def _invalid(self, option: Option, path: tuple[Value, ...], error: InvalidValue) -> None:
        self.errors.append(ArgumentError(path, error, hidden=option.no_log))

    def _value(self, option: Option, value: Value, path: tuple[Value, ...]) -> Value:
        if value is None:
            return self._null(option)
        if _is_default(option, value):
            return value
        if isinstance(value, bool) and option.type == "str" and option.choices:
            value = chosen(str(value), option.choices)
        is_of_list = option.format is not None and option.format.is_of_list
        is_own = option.format is not None and option.format.name == OWN and path[0] in self._own
        if option.format is not None and is_of_list and not is_own:
            option.format.apply(value)  # before a string becomes a list
        result = converted(option.type, value, strict=self._strict)
        if option.elements and isinstance(result, (list, tuple)):
            result = self._elements(option, result, path)
        self._choices(option, result, path)
        if option.options is not None:
            self._mappings(option, result, path)
        if option.format is not None and not (is_of_list or option.elements):
            option.format.apply(result)
        return result

    def _null(self, option: Option) -> None:
        if self._strict and not (option.format and option.format.or_null):
            raise InvalidValue(None, "a value", "it is empty (null)")

    def _elements(self, option: Option, value: Value, path: tuple[Value, ...]) -> list[Value]:
        found = []
        each_format = None if option.format is None or option.format.is_of_list else option.format
        for number, each in enumerate(value):
            try:
                element = converted(option.elements, each, strict=self._strict)
                if each_format is not None:
                    each_format.apply(element)
                found.append(element)
            except InvalidValue as error:
                self._invalid(option, (*path, number), error)
        return found

    def _choices(self, option: Option, value: Value, path: tuple[Value, ...]) -> None:
        if option.choices is None:
            return
        for each in value if isinstance(value, list) else [value]:
            meant = chosen(each, option.choices) if isinstance(each, str) else each
            if meant not in option.choices:
                words = ", ".join(map(str, option.choices))
                near = nearest(str(each), map(str, option.choices)) if len(str(each)) < 80 else ""
                raise InvalidValue(each, f"one of {words}", near)

    def _mappings(self, option: Option, value: Value, path: tuple[Value, ...]) -> None:
        options = option.options or {}
        elements = value if isinstance(value, (list, tuple)) else [value]
        for number, each in enumerate(elements):
            place = (*path, number) if isinstance(value, (list, tuple)) else path
            if not isinstance(each, Mapping):
                self.errors.append(ArgumentError(place, InvalidValue(each, "a mapping")))
                continue
            known = {word for one in options.values() for word in (one.name, *one.aliases)}
            for key in each:
                if key not in known and path[0] not in self._own:
                    hint = nearest(str(key), known) or f"known keys: {', '.join(sorted(known))}"
                    problem = f"unknown key '{key}' in {_place(place)}"
                    self.errors.append(ArgumentError((*place, key), problem, hint))
            self.check(options, each, place)
            try:
                broken = list(_broken_rules(option.rules, each))
            except (TypeError, ValueError, AttributeError):
                broken = ["a rule of its argument specification is malformed"]
            for problem in broken:
                self.errors.append(ArgumentError(place, f"{_place(place)}: {problem}"))


def _is_default(option: Option, value: Value) -> bool:
    """Whether `value` is the documented default, which needs no check; a template is none."""
    if not option.has_default or type(value) is not type(option.default):
        return False
    return bool(value == option.default) and "{{" not in str(value)


def _broken_rules(rules: Mapping[str, Value], given: Mapping[str, Value]) -> Iterator[str]:
    """The rules about several keys that `given` breaks."""
    for words in _word_lists(rules.get("mutually_exclusive")):
        there = [word for word in words if word in given]
        if len(there) > 1:
            yield f"{' and '.join(there)} cannot be used together"
    for words in _word_lists(rules.get("required_together")):
        if len(_missing(words, given)) not in (0, len(words)):
            yield f"{', '.join(words)} must be used together"
    for words in _word_lists(rules.get("required_one_of")):
        if len(_missing(words, given)) == len(words):
            yield f"one of {', '.join(words)} is required"
    yield from _broken_conditions(rules, given)


def _broken_conditions(rules: Mapping[str, Value], given: Mapping[str, Value]) -> Iterator[str]:
    for rule in rules.get("required_if") or ():
        key, value, wanted, any_of = (*rule, False)[:4]
        missing = _missing(wanted, given)
        is_broken = len(missing) == len(wanted) if any_of else bool(missing)
        if key in given and given[key] == value and is_broken:
            yield f"{key} is {value}, so it requires {', '.join(missing)}"
    for key, wanted in dict(rules.get("required_by") or {}).items():
        missing = _missing([wanted] if isinstance(wanted, str) else wanted, given)
        if given.get(key) is not None and missing:
            yield f"{key} requires {', '.join(missing)}"


def _missing(words: Value, given: Mapping[str, Value]) -> list[str]:
    return [str(word) for word in words if word not in given]


def _word_lists(rule: Value) -> list[list[str]]:
    """A rule as a list of lists; one list may be written without the outer one."""
    if not isinstance(rule, list):
        return []
    return [list(each) for each in rule] if all(isinstance(e, list) for e in rule) else [rule]
