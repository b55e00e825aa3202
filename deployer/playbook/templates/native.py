"""The result of a template: a value of its own type, or text, by the rules of ansible-core 2.19.

A template with a single part, such as ``{{ x }}``, has the type of that part; several parts are
joined as text, in which ``None`` is empty. Iterators become lists, tuples too.
"""

from __future__ import annotations

import datetime
import types
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView

from jinja2 import Undefined
from jinja2.environment import TemplateModule
from jinja2.exceptions import TemplateRuntimeError
from markupsafe import Markup

from deployer.model import Value
from deployer.playbook.templates import limits
from deployer.playbook.templates.lazy import LAZY, changeable, is_changeable, whole
from deployer.playbook.templates.scope import OMIT
from deployer.playbook.templates.undefined import ReadableUndefined
from deployer.playbook.yaml.source import YamlList, YamlMap

#: What a filter or call may return and only be read once, or not at all as a value.
ITERATORS = (Iterator, ItemsView, KeysView, ValuesView)
CONTAINERS = (dict, list, tuple)
_METHODS = (types.BuiltinMethodType, types.MethodType, types.FunctionType)


def join(parts: Iterable[Value]) -> Value:
    """The value of a template with these parts."""
    found: list[Value] = []
    length = 0
    for part in _flat(parts):
        limits.step()
        found.append(part)
        if isinstance(part, str):
            length += len(part)
            limits.check_text(length)
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    texts = [text(part) for part in found if part is not OMIT]
    limits.check_text(sum(map(len, texts)))
    return "".join(texts)


def _flat(parts: Iterable[Value]) -> Iterator[Value]:
    for part in parts:
        if type(part) is TemplateModule:
            yield from _flat(part._body_stream)
        elif part is not None:
            yield part


def text(value: Value) -> str:
    """A part of a text."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, CONTAINERS):
        limits.check_size(value)
        if type(value).__name__ != "_GroupTuple":  # of groupby
            value = final(value)
    elif isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    else:
        _refuse_code(value)
    found = str(value)
    limits.check_text(len(found))
    return found


def shown(value: Value) -> str:
    """A value that is not a text, as part of ``a ~ b``."""
    if isinstance(value, CONTAINERS):
        limits.check_size(value)
    _refuse_code(value)
    return str(value)


def final(value: Value, done: dict[int, Value] | None = None) -> Value:
    """A value as it leaves a template: plain types, nothing undefined, nothing omitted inside."""
    kind = type(value)
    if kind is int and value.bit_length() > limits.MAX_BITS:
        raise limits.LimitError(f"the number {limits.shortened(value)} is too large")
    if kind in (str, int, float, bool, type(None), YamlMap, YamlList) or value is OMIT:
        return value  # positions are kept; what YAML files contain is rendered already
    if isinstance(value, ReadableUndefined):
        value._fail_with_undefined_error()
    if isinstance(value, ITERATORS) or kind is range:
        value = limits.bounded_list(value)
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)][1]
    found: Value
    if isinstance(value, LAZY):
        found = final(whole(value), done)
    elif isinstance(value, dict):
        found = {final(k, done): final(v, done) for k, v in value.items() if v is not OMIT}
    elif isinstance(value, (list, tuple)):
        found = [final(each, done) for each in value if each is not OMIT]
    elif isinstance(value, (set, frozenset)):
        found = sorted((final(each, done) for each in value), key=lambda each: str(each))
    else:
        return _scalar(value)
    done[id(value)] = (value, found)  # with `value`, so that its identity is not used again
    return found


def _scalar(value: Value) -> Value:
    if isinstance(value, Markup):
        return str(value)
    if isinstance(value, (str, int, float, bytes)):
        return value
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, Mapping):  # hostvars: rendered when it is used
        return value
    _refuse_code(value)
    if isinstance(value, Undefined):
        raise TemplateRuntimeError("the condition is false, and there is no 'else' with a value")
    raise TemplateRuntimeError(f"a value of the type {type(value).__name__} cannot be used")


def _refuse_code(value: Value) -> None:
    if isinstance(value, _METHODS):
        name = getattr(value, "__name__", "?")
        raise TemplateRuntimeError(
            f"'{name}' is a function, not a value: write {name}(), or ['{name}'] for a key"
        )


def thawed(value: Value, done: dict[int, Value] | None = None) -> Value:
    """A copy of a variable that a template may change, as in ``{% set _ = x.append(1) %}``."""
    if not isinstance(value, (dict, list)):
        return value
    done = {} if done is None else done
    if id(value) not in done:
        limits.step()
        if isinstance(value, LAZY) and not is_changeable(value):
            done[id(value)] = changeable(value)
        elif isinstance(value, dict):
            mapping: dict[Value, Value] = {}
            done[id(value)] = mapping
            mapping.update((key, thawed(each, done)) for key, each in value.items())
        else:
            values: list[Value] = []
            done[id(value)] = values
            values.extend(thawed(each, done) for each in value)
    return done[id(value)]


def with_newlines(template: str, result: Value, newline: str) -> Value:
    """`result` with as many line breaks at the end as the template has: Jinja removes one."""
    if not isinstance(result, str):
        return result
    missing = _newlines_at_end(template) - _newlines_at_end(result)
    return result + newline * missing if missing > 0 else result


def _newlines_at_end(text: str) -> int:
    return len(text) - len(text.rstrip("\n"))


def is_list(value: object) -> bool:
    """Whether Ansible treats `value` as a list: not text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
