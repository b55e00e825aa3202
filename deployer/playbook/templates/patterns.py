"""Regular expressions that always end: Python's engine if it is fast, otherwise one with a limit.

A pattern such as ``(a+)+$`` can take Python's engine years. How the number of steps grows with the
length of the text is estimated from the pattern: if few steps are certain to suffice, Python's
engine is used, otherwise the module `regex`, which has the same syntax and a time limit.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from deployer.model import Value
from deployer.playbook.templates import limits

_FEW_STEPS = 3_000_000
_LONGEST_PATTERN = 20_000
_TIMEOUT_S = 2.0
_MANY = 100
#: Where the inner pattern is in the parser's node.
_INNER = {"SUBPATTERN": -1, "ASSERT": 1, "ASSERT_NOT": 1, "ATOMIC_GROUP": None}
_NO_QUANTIFIER = re.compile(r"\\.|(\{)(?!\d*,?\d*\})", re.DOTALL)


def find(how: str, pattern: str, flags: int, text: str) -> Value:
    """The first match: `how` is ``search``, ``match`` or ``fullmatch``.

    Raises: LimitError, re.error.
    """
    compiled, options = _engine(pattern, flags, len(text))
    return _in_time(pattern, lambda: getattr(compiled, how)(text, **options))


def find_all(pattern: str, flags: int, text: str) -> list[Value]:
    """Like `re.findall`. Raises: LimitError, re.error."""
    compiled, options = _engine(pattern, flags, len(text))

    def found() -> Iterator[Value]:
        length = 0
        for match in compiled.finditer(text, **options):
            groups = match.groups("")
            value = match.group() if not groups else groups if len(groups) > 1 else groups[0]
            length += sum(map(len, groups or (match.group(),)))
            limits.check_text(length)
            yield value

    return list(_in_time(pattern, lambda: limits.bounded_list(found())))


def replace(pattern: str, flags: int, replacement: str, text: str, count: int) -> tuple[str, int]:
    """Like `re.subn`. Raises: LimitError, re.error."""
    compiled, options = _engine(pattern, flags, len(text))
    most = (len(text) + 1) * (len(replacement) + 1)
    given: Any = replacement
    if most > limits.MAX_TEXT or ("\\" in replacement and "(?" in pattern):
        given = _counted(replacement, len(text))
    found = _in_time(pattern, lambda: compiled.subn(given, text, count=count, **options))
    return str(found[0]), int(found[1])


def _counted(replacement: str, length: int) -> Callable[[Any], str]:
    total = length

    def expand(match: Any) -> str:
        nonlocal total
        limits.step()
        text = str(match.expand(replacement))
        total += len(text)
        limits.check_text(total)
        return text

    return expand


def _in_time(pattern: str, work: Callable[[], Any]) -> Any:
    limits.step()
    try:
        return work()
    except TimeoutError:
        shown = pattern if len(pattern) <= 60 else f"{pattern[:60]}…"
        raise limits.LimitError(
            f"the regular expression {shown!r} takes longer than {_TIMEOUT_S:g} s: nested or "
            "adjacent repetitions can match the same text in too many ways"
        ) from None


def _engine(pattern: str, flags: int, length: int) -> tuple[Any, dict[str, float]]:
    """The compiled pattern of the right engine, and the options of its methods."""
    if not isinstance(pattern, str):
        raise TypeError("a regular expression must be a string")
    if len(pattern) > _LONGEST_PATTERN:
        raise limits.LimitError(f"a regular expression is longer than {_LONGEST_PATTERN:,}")
    compiled, power, choices = _analysed(pattern, flags)
    if choices < 20 and (length + 2) ** power * 2**choices <= _FEW_STEPS:
        return compiled, {}
    return _bounded(pattern, flags), {"timeout": _TIMEOUT_S}


@functools.lru_cache(maxsize=512)
def _bounded(pattern: str, flags: int) -> Any:
    import regex

    # {e} is an approximate match in `regex`, and three plain characters in `re`.
    literal = _NO_QUANTIFIER.sub(lambda match: r"\{" if match[1] else match[0], pattern)
    return regex.compile(literal, flags)


@functools.lru_cache(maxsize=512)
def _analysed(pattern: str, flags: int) -> tuple[Any, int, int]:
    """The compiled pattern; its steps are at most ``length ** power * 2 ** choices``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiled = re.compile(pattern, flags)
        parser: Any = re._parser  # type: ignore[attr-defined]
        growth = _Growth()
        growth.visit(parser.parse(pattern, flags))
    return compiled, growth.power + 1, growth.choices


class _Growth:
    """Counts what multiplies the steps of a search."""

    def __init__(self) -> None:
        self.power = 0
        self.choices = 0

    def visit(self, items: Any, *, is_repeated: bool = False) -> None:
        for operator, argument in items:
            name = str(operator)
            if name.endswith("REPEAT"):
                self._repeat(*argument, is_repeated=is_repeated)
            elif name == "BRANCH":
                self.choices += _MANY if is_repeated else len(argument[1]) - 1
                self._visit_all(argument[1], is_repeated)
            elif name == "GROUPREF":
                self.power += 1
            elif name == "GROUPREF_EXISTS":
                self.choices += 1
                self._visit_all(argument[1:], is_repeated)
            elif name in _INNER:
                inner = argument if _INNER[name] is None else argument[_INNER[name]]
                self.visit(inner, is_repeated=is_repeated)

    def _visit_all(self, parts: Any, is_repeated: bool) -> None:
        for each in parts:
            self.visit(each or (), is_repeated=is_repeated)

    def _repeat(self, low: int, high: int, inner: Any, *, is_repeated: bool) -> None:
        if is_repeated:
            self.choices += _MANY  # repetitions of repetitions
        elif low != high:
            self.choices += 1 if high == 1 else 0
            self.power += 1 if high != 1 else 0
        self.visit(inner, is_repeated=is_repeated or high != 1)
