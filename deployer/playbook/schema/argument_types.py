"""The types of role arguments, with the conversions that Ansible makes.

Source: ansible.module_utils.common.validation. `strict` is for the built-in roles, whose templates
rely on the types: a list is not a string there, and true is not a number.
"""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Callable, Mapping

from deployer.model import Value
from deployer.playbook.schema.values import InvalidValue

_TRUE = ("y", "yes", "on", "1", "true", "t")
_FALSE = ("n", "no", "off", "0", "false", "f")
_UNITS = {letter: 1 << 10 * power for power, letter in enumerate("BKMGTPEZY")}
_LONGEST_NUMBER = 40
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*([BKMGTPEZY]?)(b|ib|its?|ytes?)?", re.IGNORECASE)


def _string(value: Value, strict: bool) -> Value:
    if isinstance(value, str):
        return value
    if strict and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise InvalidValue(value, "a string", "quote it" if isinstance(value, bool) else "")
    return str(value)


def _bool(value: Value, strict: bool) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, (str, int, float)):
        text = value.strip().lower() if isinstance(value, str) else f"{value:g}"
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
    raise InvalidValue(value, "true or false")


def _int(value: Value, strict: bool) -> Value:
    what = "a whole number"
    if isinstance(value, int) and not (strict and isinstance(value, bool)):
        return value
    if not isinstance(value, (str, float)) or len(str(value)) > _LONGEST_NUMBER:
        raise InvalidValue(value, what)
    try:
        exact = decimal.Decimal(value)
        if not exact.is_finite() or abs(exact.adjusted()) > _LONGEST_NUMBER or exact != int(exact):
            raise InvalidValue(value, what)
    except decimal.DecimalException:
        raise InvalidValue(value, what) from None
    return int(exact)


def _float(value: Value, strict: bool) -> Value:
    if isinstance(value, (int, float)) and not (strict and isinstance(value, bool)):
        return value
    if not isinstance(value, (str, bytes)) or len(value) > _LONGEST_NUMBER:
        raise InvalidValue(value, "a number")
    try:
        number = float(value)
    except ValueError:
        raise InvalidValue(value, "a number") from None
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _list(value: Value, strict: bool) -> Value:
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, str):
        return [] if strict and not value else value.split(",")
    if isinstance(value, (int, float)) and not (strict and isinstance(value, bool)):
        return [str(value)]
    raise InvalidValue(value, "a list")


def _dict(value: Value, strict: bool) -> Value:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str) and value.startswith("{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidValue(value, "a mapping") from None
        return found
    if isinstance(value, str) and "=" in value:
        return _pairs(value)
    raise InvalidValue(value, "a mapping")


def _pairs(text: str) -> dict[str, str]:
    """``k1=v1, k2="v 2"`` as a mapping."""
    fields = re.findall(r"""((?:\\.|"[^"]*"|'[^']*'|[^\s,])+)""", text.strip(), re.DOTALL)
    found = {}
    for field in fields:
        bare = re.sub(r"""\\(.)|["']""", lambda match: match[1] or "", field, flags=re.DOTALL)
        key, sign, value = bare.partition("=")
        if not sign:
            raise InvalidValue(text, "a mapping", f"{bare!r} is not key=value")
        found[key] = value
    return found


def _raw(value: Value, strict: bool) -> Value:
    return value


def _json(value: Value, strict: bool) -> Value:
    if isinstance(value, (str, bytes, list, tuple, Mapping)):
        return value
    raise InvalidValue(value, "JSON")


def _size(value: Value, strict: bool) -> Value:
    text = str(value)[: _LONGEST_NUMBER + 1]
    match = _SIZE.fullmatch(text.strip())
    if match is None or isinstance(value, bool):
        raise InvalidValue(value, "a size", "write 512K, 16M or 1G")
    return round(float(match[1]) * _UNITS[match[2].upper() or "B"])


TYPES: dict[str, Callable[[Value, bool], Value]] = {
    "str": _string,
    "list": _list,
    "dict": _dict,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "path": _string,
    "raw": _raw,
    "sid": _string,
    "json": _json,
    "jsonarg": _json,
    "bytes": _size,
    "bits": _size,
}


def converted(kind: str, value: Value, *, strict: bool) -> Value:
    """`value` as Ansible's type `kind`.

    Raises:
        InvalidValue: it cannot be converted.
    """
    return TYPES[kind](value, strict)


def chosen(value: str, choices: tuple[Value, ...]) -> Value:
    """The choice that `value` means: YAML turns an unquoted ``no`` into false."""
    for word, spellings in (("True", _TRUE), ("False", _FALSE)):
        if value == word:
            meant = [each for each in choices if isinstance(each, str) and each in spellings]
            if len(meant) == 1:
                return meant[0]
    return value
