"""Limits on the time and memory of one rendering, so that no value can exhaust the controller.

Text and containers have a maximum size, and every loop, call and filter counts as a step, at which
the CPU time is compared with the limit. What no step interrupts is bounded before it runs: widths,
repetitions, powers (`sandbox`), and regular expressions (`patterns`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from deployer.model import Value

#: The longest text that an expression may produce, in characters.
MAX_TEXT = 8 * 1024 * 1024
#: How many values a list or mapping may contain, at all depths; shared parts count each time.
MAX_VALUES = 200_000
#: The largest number that is accepted as a width, an indentation or a count.
MAX_WIDTH = 1_000_000
#: The largest integer; Python writes none with more than 4,300 digits.
MAX_BITS = 13_000
#: CPU time of one expression, and of all expressions of one host.
EXPRESSION_S = 5.0
HOST_S = 30.0
#: How much text the expressions of one host may produce in total.
HOST_TEXT = 512 * 1024 * 1024

#: The longest text for filters whose time grows with the square of its length.
MAX_SLOW = 100_000
ENCODINGS = frozenset(
    [
        "utf-8",
        "utf8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "ascii",
        "us-ascii",
        "latin-1",
        "latin1",
        "iso-8859-1",
        "iso-8859-15",
        "cp437",
        "cp850",
        "cp1252",
        "windows-1252",
    ]
)
_STEPS_PER_CHECK = 32


class LimitError(Exception):
    """A rendering exceeds a limit."""


class _Running(threading.local):
    began = 0.0
    deadline = math.inf
    steps = 0


_running = _Running()


def begin(allowed_s: float) -> bool:
    """Start to count, unless this thread already does; returns whether `end` must be called."""
    if _running.deadline != math.inf:
        return False
    _running.began = time.thread_time()
    _running.deadline = _running.began + min(allowed_s, EXPRESSION_S)
    return True


def end() -> float:
    """Stop counting; returns the CPU time that was used."""
    _running.deadline = math.inf
    return time.thread_time() - _running.began


def step() -> None:
    """Count one step. Raises: LimitError, if the time is up."""
    _running.steps += 1
    if _running.steps % _STEPS_PER_CHECK == 0 and time.thread_time() > _running.deadline:
        spent_s = _running.deadline - _running.began
        raise LimitError(f"it is not done after {spent_s:.2g} s of computing time")


class Counted:
    """An iterable whose items count as steps."""

    def __init__(self, values: Iterable[Value]) -> None:
        self._values = values

    def __iter__(self) -> Iterator[Value]:
        for value in self._values:
            step()
            yield value


class CountedSized(Counted):
    """The same with a length, for ``loop.length`` and ``loop.last``."""

    def __len__(self) -> int:
        return len(self._values)  # type: ignore[arg-type]


def counted(values: Iterable[Value]) -> Counted:
    """`values`, whose items count as steps."""
    return CountedSized(values) if hasattr(values, "__len__") else Counted(values)


def bounded_list(values: Iterable[Value]) -> list[Value]:
    """The items of an iterator. Raises: LimitError, if there are too many."""
    found = list(islice(counted(values), MAX_VALUES + 1))
    check_count(len(found))
    return found


def check_count(count: int) -> None:
    """Raises: LimitError, if a list of this length is too long."""
    if count > MAX_VALUES:
        raise LimitError(f"a list would have more than {MAX_VALUES:,} values")


def check_text(length: int) -> None:
    """Raises: LimitError, if a text of this length is too long."""
    if length > MAX_TEXT:
        raise LimitError(f"a text would have more than {MAX_TEXT:,} characters")


def check_width(number: object) -> None:
    """Raises: LimitError, if `number` is too large for a width or count."""
    if isinstance(number, int) and abs(number) > MAX_WIDTH:
        raise LimitError(f"the number {shortened(number)} is larger than {MAX_WIDTH:,}")


def check_short(text: object) -> None:
    """Raises: LimitError, if a text is too long for a filter that is slow for long ones."""
    if isinstance(text, str) and len(text) > MAX_SLOW:
        raise LimitError(f"a text has more than {MAX_SLOW:,} characters, too many for this filter")


def check_encoding(name: str) -> None:
    """Raises: LimitError, for an encoding whose time is not linear, or that is not one."""
    if str(name).lower().replace("_", "-") not in ENCODINGS:
        raise LimitError(f"the encoding {name!r} is not supported; write utf-8 or latin-1")


def shortened(number: int) -> str:
    """An integer as text; a very large one as a power of ten."""
    if number.bit_length() < 64:
        return f"{number:,}"
    return f"10^{int(number.bit_length() * 0.30103)}"


def check_size(value: Value) -> None:
    """Raises: LimitError, if a list or mapping is too large with its shared parts expanded.

    Linear in the number of distinct values: doubling a list forty times is found at once.
    """
    sizes: dict[int, tuple[int, int]] = {}
    values, text = _size(value, sizes)
    if values > MAX_VALUES:
        raise LimitError(f"a value contains more than {MAX_VALUES:,} values")
    check_text(text)


def _size(value: Value, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    if isinstance(value, str):
        return 1, len(value)
    if isinstance(value, dict):
        inner: Iterable[Value] = (*value.keys(), *value.values())
    elif isinstance(value, (list, tuple)):
        inner = value
    else:
        return 1, 0
    if id(value) in sizes:
        return sizes[id(value)]
    values, text = 1, 0
    for each in inner:
        more, longer = _size(each, sizes)
        values, text = values + more, text + longer
    sizes[id(value)] = values, text
    return values, text
