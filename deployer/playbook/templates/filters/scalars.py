"""True and false, numbers, sizes, dates, defaults, and values that depend on a seed."""

from __future__ import annotations

import datetime
import math
import re
import time
from collections.abc import Callable

from jinja2.exceptions import TemplateRuntimeError

from deployer.model import Value
from deployer.playbook.templates.kinds import kind
from deployer.playbook.templates.undefined import ReadableUndefined

_TRUE, _FALSE = ("yes", "on", "true", "1"), ("no", "off", "false", "0")
_SIZES = {unit: 1 << 10 * power for power, unit in enumerate("BKMGTPEZY")}
_PREFIXES = ("byte", "kilo", "mega", "giga", "tera", "peta", "exa", "zeta", "yotta")
_UNITS = dict(zip("BKMGTPEZY", _PREFIXES, strict=True))


def to_bool(value: object) -> bool:
    """As in Ansible, everything but a word for true, and the number 1, is false."""
    if isinstance(value, (str, int)):
        return str(value).lower() in _TRUE
    return isinstance(value, float) and value == 1


def truthy(value: object, convert_bool: bool = False) -> bool:
    if convert_bool and isinstance(value, str):
        word = value.lower().strip()
        if word in (*_TRUE, "y", "t"):
            return True
        if word in (*_FALSE, "n", "f"):
            return False
    return bool(value)


def falsy(value: object, convert_bool: bool = False) -> bool:
    return not truthy(value, convert_bool)


def ternary(
    value: Value, true_value: object, false_value: object, none_value: object = None
) -> Value:
    if value is None and none_value is not None:
        return none_value
    return true_value if bool(value) else false_value


def default(value: Value, default_value: Value = "", boolean: bool = False) -> Value:
    if not isinstance(boolean, bool):
        raise TypeError(f"the second argument of default must be true or false, not {boolean!r}")
    if isinstance(value, ReadableUndefined) or (boolean and not value):
        return default_value
    return value


def mandatory(value: Value, message: str = "") -> Value:
    if isinstance(value, ReadableUndefined):
        if message:
            raise TemplateRuntimeError(str(message))
        value._fail_with_undefined_error()
    return value


def type_debug(value: Value) -> str:
    from deployer.playbook.templates.native import final

    if isinstance(value, ReadableUndefined):
        return "UndefinedMarker"
    if isinstance(value, (str, bool, int, float, type(None), tuple)):
        names = (str, bool, int, float, tuple)
        return next((each.__name__ for each in names if isinstance(value, each)), "NoneType")
    if isinstance(value, (dict, list)):
        return "dict" if isinstance(value, dict) else "list"
    return type(final(value)).__name__


def logarithm(value: float, base: float = math.e) -> float:
    return math.log10(value) if base == 10 else math.log(value, base)


def root(value: float, base: float = 2) -> float:
    return math.sqrt(value) if base == 2 else math.pow(value, 1.0 / float(base))


def human_readable(value: Value, isbits: bool = False, unit: str | None = None) -> str:
    if not isinstance(value, (int, float)):
        raise TypeError(f"human_readable requires a number, not {kind(value)}")
    name, size = "B", 1
    for name, size in reversed(_SIZES.items()):
        if (unit is None and value >= size) or (unit is not None and unit.upper() == name):
            break
    base = "bits" if isbits else "Bytes"
    return f"{value / size:.2f} {name + base[0] if size != 1 else base}"


def human_to_bytes(value: object, default_unit: str | None = None, isbits: bool = False) -> int:
    match = re.search(r"^([0-9]*\.?[0-9]+)(?:\s*([A-Za-z]+))?\s*$", str(value)[:100])
    if match is None:
        raise ValueError(f"human_to_bytes cannot read {value!r}")
    number, unit = float(match[1]), match[2] or default_unit
    if unit is None:
        return round(number)
    letter = unit[0].upper()
    if letter not in _SIZES:
        raise ValueError(f"'{unit}' is not a unit; the first letter must be one of {'BKMGTPEZY'}")
    if len(unit) > 1:
        long = "bit" if isbits else "byte"
        words = _UNITS[letter] + long if letter != "B" else long
        short = letter + long[0] if isbits else letter + "B"
        if letter == "B":
            short = "b" if isbits else "B"
        if unit.lower() != words and unit != short:
            raise ValueError(f"'{unit}' is not a unit; write {short} or {letter}")
    return round(number * _SIZES[letter])


def to_datetime(value: str, format: str = "%Y-%m-%d %H:%M:%S") -> datetime.datetime:
    return datetime.datetime.strptime(value, format)  # noqa: DTZ007 - as in Ansible


def strftime(text: str, second: float | None = None, utc: bool = False) -> str:
    if second is None or not utc:
        raise ValueError(
            "strftime requires a time and utc=true: a plan must not depend on when or where it is "
            "made"
        )
    return time.strftime(text, time.gmtime(float(second)))


def _seeded(seed: Value) -> Value:
    from random import Random

    if seed is None:
        raise ValueError(
            "the same playbook must always give the same plan: give it a seed, "
            "such as seed=inventory_hostname"
        )
    return Random(seed)  # noqa: S311 - not for secrets


def random(
    end: Value, start: int | None = None, step: int | None = None, seed: Value = None
) -> Value:
    chooser = _seeded(seed)
    if isinstance(end, int):
        return chooser.randrange(start or 0, end, step or 1)
    if start or step:
        raise ValueError("start and step require a number")
    return chooser.choice(list(end))


def shuffle(values: Value, seed: Value = None) -> list[Value]:
    chooser = _seeded(seed)
    found = list(values)
    chooser.shuffle(found)
    return found


def is_nan(value: Value) -> bool:
    return isinstance(value, (int, float)) and math.isnan(value)


FILTERS: dict[str, Callable[..., Value]] = {
    "bool": to_bool,
    "d": default,
    "default": default,
    "human_readable": human_readable,
    "human_to_bytes": human_to_bytes,
    "log": logarithm,
    "mandatory": mandatory,
    "pow": math.pow,
    "random": random,
    "root": root,
    "shuffle": shuffle,
    "strftime": strftime,
    "ternary": ternary,
    "to_datetime": to_datetime,
    "type_debug": type_debug,
}

TESTS: dict[str, Callable[..., bool]] = {
    "falsy": falsy,
    "isnan": is_nan,
    "nan": is_nan,
    "truthy": truthy,
}
