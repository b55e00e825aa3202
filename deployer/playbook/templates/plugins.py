"""Calls of filters, tests and functions: undefined arguments pass through, sizes are checked."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

from deployer.model import Value
from deployer.playbook.templates import limits
from deployer.playbook.templates.native import CONTAINERS, ITERATORS
from deployer.playbook.templates.undefined import ReadableUndefined, UsedError

#: Filters and tests that work on undefined values; for all others the result is the undefined one.
_TAKE_UNDEFINED = frozenset({"default", "d", "mandatory", "ternary", "type_debug"}) | {
    "defined",
    "undefined",
}
#: Filters whose numbers are widths or counts.
_TAKE_WIDTHS = frozenset({"batch", "center", "indent", "round", "slice", "tojson", "wordwrap"}) | {
    "comment",
    "to_json",
    "to_nice_json",
    "to_nice_yaml",
    "to_yaml",
    "truncate",
}
#: Filters that pass every item of a list on; for one that is undefined, so is the result.
_PASS_ON = frozenset({"batch", "flatten", "list", "reverse", "slice", "sort", "unique", "zip"})
#: Filters and tests whose time does not depend on what is inside of the items of a list.
_SHALLOW = frozenset(
    re.findall(
        r"\w+",
        """
        items method length count first last default d map select reject selectattr rejectattr list
        batch slice sum combine dict2items items2dict zip zip_longest extract attr ternary mandatory
        type_debug reverse random shuffle bool int float product permutations combinations flatten
        subelements rekey_on_member defined undefined none string number mapping iterable sequence
        boolean true false callable sameas truthy falsy integer odd even any all filter test
        contains in
        """,
    )
)
_MEMBERSHIP = ("contains", "in")
#: Filters of Jinja whose time may grow with the square of the text's length.
_SLOW = frozenset({"striptags", "title", "urlize", "wordcount", "wordwrap", "xmlattr"})
_WIDE_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})
_WIDE_FORMAT = re.compile(r"\d{7}")


def wrapped(name: str, function: Callable[..., Value], *, is_test: bool) -> Callable[..., Value]:
    """`function` as it is called by templates under `name`."""
    name = name.removeprefix("ansible.builtin.").strip()
    takes_undefined, passes_on = name in _TAKE_UNDEFINED, name in _PASS_ON

    @functools.wraps(function)
    def call(*args: Value, **kwargs: Value) -> Value:
        limits.step()
        if not takes_undefined:
            undefined = first_undefined(args, kwargs)
            if undefined is None and passes_on:
                lists = (each for each in args if isinstance(each, list))
                undefined = first_undefined(chain.from_iterable(lists), {})
            if undefined is not None:
                return undefined
        _check_arguments(name, args, kwargs)
        try:
            result = function(*args, **kwargs)
            if is_test:
                return bool(result)
            return checked(list(result) if isinstance(result, range) else result)
        except UsedError as error:
            return error.value

    return call


def _check_arguments(name: str, args: tuple[Value, ...], kwargs: Mapping[str, Value]) -> None:
    containers = [each for each in args if isinstance(each, CONTAINERS)]
    if containers and (name not in _SHALLOW or (name in _MEMBERSHIP and len(containers) > 1)):
        for each in containers:
            limits.check_size(each)
    if name in _SLOW:
        for each in args:
            limits.check_short(each)
    if name in _TAKE_WIDTHS:
        for each in (*args, *kwargs.values()):
            limits.check_width(each)


def first_undefined(args: Iterable[Value], kwargs: Mapping[str, Value]) -> ReadableUndefined | None:
    """The first undefined argument of a call."""
    for each in args:
        if isinstance(each, ReadableUndefined):
            return each
    for each in kwargs.values():
        if isinstance(each, ReadableUndefined):
            return each
    return None


def checked(result: Value) -> Value:
    """The result of a filter or call: iterators are lists, and no text is too long."""
    if isinstance(result, str):
        limits.check_text(len(result))
    elif isinstance(result, ITERATORS):
        return limits.bounded_list(result)
    return result


def check_call(function: Value, args: tuple[Value, ...], kwargs: Mapping[str, Value]) -> None:
    """Raises: LimitError, if a method of a text would return one that is too long."""
    text = getattr(function, "__self__", None)
    if not isinstance(text, (str, bytes)):
        return
    name = getattr(function, "__name__", "")
    if name in _WIDE_METHODS:
        for each in (*args, *kwargs.values()):
            limits.check_width(each)
        if name == "expandtabs" and args:
            limits.check_text(len(text) * int(args[0]))
    elif name == "replace" and len(args) >= 2:
        check_replacement(text, *args[:2])
    elif name == "join" and args and isinstance(args[0], (list, tuple)):
        limits.check_text(
            sum(len(each) + len(text) for each in args[0] if hasattr(each, "__len__"))
        )
    elif name in ("encode", "decode"):
        limits.check_encoding(str(args[0] if args else kwargs.get("encoding", "utf-8")))
    elif name == "translate" and args and isinstance(args[0], dict):
        longest = max((len(each) for each in args[0].values() if isinstance(each, str)), default=1)
        limits.check_text(len(text) * max(longest, 1))


def check_replacement(text: Value, old: Value, new: Value) -> None:
    """Raises: LimitError, if replacing `old` by `new` makes a text too long."""
    if all(isinstance(each, str) for each in (text, old, new)) or all(
        isinstance(each, bytes) for each in (text, old, new)
    ):
        limits.check_text(len(text) + text.count(old) * max(len(new) - len(old), 0))


def check_format(text: str, values: Iterable[Value]) -> None:
    """Raises: LimitError, if a ``%`` format has a width that is too large."""
    if _WIDE_FORMAT.search(text):
        raise limits.LimitError("a format has a width with more than six digits")
    if "*" in text:
        for each in values:
            limits.check_width(each)
