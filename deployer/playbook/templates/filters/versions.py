"""Comparison of versions: loose by default, strict, or semantic, as in Ansible."""

from __future__ import annotations

import operator as operators
import re
from collections.abc import Callable

from jinja2.exceptions import TemplateRuntimeError

from deployer.model import Value

_SAME = {
    **dict.fromkeys(("==", "=", "eq"), "eq"),
    **dict.fromkeys(("<", "lt"), "lt"),
    **dict.fromkeys(("<=", "le"), "le"),
    **dict.fromkeys((">", "gt"), "gt"),
    **dict.fromkeys((">=", "ge"), "ge"),
    **dict.fromkeys(("!=", "<>", "ne"), "ne"),
}
_SEMANTIC = (
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
_STRICT = r"(\d+)\.(\d+)(?:\.(\d+))?(?:([ab])(\d+))?"
_MOST_DIGITS = 300


def version(
    value: object,
    other: object,
    operator: str = "eq",
    strict: bool | None = None,
    version_type: str | None = None,
) -> bool:
    """Compare versions: ``is version('1.25', '>=')``."""
    if strict is not None and version_type is not None:
        raise TemplateRuntimeError("version takes 'strict' or 'version_type', not both")
    if not value or not other:
        raise TemplateRuntimeError("a version to compare is empty")
    if operator not in _SAME:
        raise TemplateRuntimeError(f"version supports {' '.join(_SAME)}, not {operator!r}")
    kind = "strict" if strict else version_type or "loose"
    if kind not in _KEYS:
        raise TemplateRuntimeError(f"version_type must be one of {', '.join(_KEYS)}, not {kind!r}")
    texts = str(value), str(other)
    if max(map(len, texts)) > _MOST_DIGITS:
        raise TemplateRuntimeError("a version to compare is too long")
    left, right = map(_KEYS[kind], texts)
    try:
        return bool(getattr(operators, _SAME[operator])(left, right))
    except TypeError:
        raise TemplateRuntimeError(
            f"the versions {texts[0]!r} and {texts[1]!r} cannot be compared: "
            "a number is next to a word"
        ) from None


def _loose(text: str) -> Value:
    parts = [part for part in re.split(r"(\d+|[a-z]+|\.)", text) if part and part != "."]
    return [int(part) if part.isdecimal() else part for part in parts]


def _strict(text: str) -> Value:
    match = re.fullmatch(_STRICT, text, re.ASCII)
    if match is None:
        raise TemplateRuntimeError(f"{text!r} is not a strict version, such as 1.2.3 or 1.2b1")
    numbers = tuple(int(part or 0) for part in match.group(1, 2, 3))
    return numbers, (match[4], int(match[5])) if match[4] else ("c", 0)


def _semantic(text: str) -> Value:
    match = re.match(_SEMANTIC, text, re.ASCII)
    if match is None or match.end() != len(text):
        raise TemplateRuntimeError(f"{text!r} is not a semantic version, such as 1.2.3-rc.1")
    numbers = tuple(int(part) for part in match.group(1, 2, 3))
    if match[4] is None:
        return numbers, (1,)
    words = match[4].split(".")
    return numbers, (
        0,
        [(0, int(each), "") if each.isdecimal() else (1, 0, each) for each in words],
    )


_KEYS: dict[str, Callable[[str], Value]] = {
    "loose": _loose,
    "strict": _strict,
    "semver": _semantic,
    "semantic": _semantic,
}

TESTS: dict[str, Callable[..., bool]] = {"version": version, "version_compare": version}
