"""Filters of Jinja whose memory or time would not be bounded by the size of their arguments."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import filters as jinja
from jinja2 import pass_eval_context

from deployer.model import Value
from deployer.playbook.templates import limits
from deployer.playbook.templates.kinds import required_text
from deployer.playbook.templates.plugins import check_format, check_replacement


@pass_eval_context
def replace(context: Value, value: Value, old: str, new: str, count: int | None = None) -> str:
    check_replacement(str(value), str(old), str(new))
    return jinja.do_replace(context, value, old, new, count)


def format_text(value: str, *args: Value, **kwargs: Value) -> str:
    check_format(str(value), (*args, *kwargs.values()))
    return jinja.do_format(value, *args, **kwargs)


@pass_eval_context
def join(context: Value, value: Value, separator: str = "", attribute: Value = None) -> str:
    values = list(value)
    limits.check_size(values)
    limits.check_text(len(values) * len(str(separator)))
    return jinja.sync_do_join(context, values, separator, attribute)


def indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = required_text(value)  # Jinja would add to a list in place
    size = len(width) if isinstance(width, str) else int(width)
    limits.check_text(len(text) + (text.count("\n") + 1) * size)
    return jinja.do_indent(text, width, first, blank)


def precision(value: float, precision: int = 0, method: Value = "common") -> float:
    if isinstance(precision, int) and abs(precision) > 300:
        raise limits.LimitError("the precision is larger than 300")
    return jinja.do_round(value, precision, method)


def string(value: Value) -> str:
    if not isinstance(value, str):
        limits.check_size(value)
    return str(value)


def pretty(value: Value) -> str:
    limits.check_size(value)
    return jinja.do_pprint(value)


@pass_eval_context
def tojson(context: Value, value: Value, indent: int | None = None) -> str:
    limits.check_size(value)
    return jinja.do_tojson(context, value, indent)


FILTERS: dict[str, Callable[..., Value]] = {
    "format": format_text,
    "indent": indent,
    "join": join,
    "pprint": pretty,
    "replace": replace,
    "round": precision,
    "string": string,
    "tojson": tojson,
}
