"""The keys of ``cors:``, which pages of other origins may read answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from deployer.model import Value
from deployer.playbook.schema import values
from deployer.playbook.schema.models import Check, Misplaced, Strict, field
from deployer.playbook.schema.types import Duration
from deployer.playbook.schema.values import InvalidValue

#: Methods of HTTP (RFC 9110, RFC 5789) and WebDAV; Fetch forbids CONNECT, TRACE and TRACK.
_METHOD = re.compile(r"[A-Z][A-Z-]{1,30}")
_FORBIDDEN = ("CONNECT", "TRACE", "TRACK")
_HEADER = re.compile(r"[A-Za-z0-9_-]{1,100}")


_ANY = ("any", "*", ["any"], ["*"])


def _origins(value: Value) -> tuple[str, ...]:
    if value in _ANY:
        return ("any",)
    given = value if isinstance(value, list) else [value]
    if not given:
        raise InvalidValue([], "a list of origins", "write any for all pages")
    return tuple(dict.fromkeys(values.origin(each) for each in given))


def _methods(value: Value) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    for each in given:
        if not isinstance(each, str) or not _METHOD.fullmatch(each):
            raise InvalidValue(each, "a method", "write it in upper case, as PUT")
        if each in _FORBIDDEN:
            raise InvalidValue(each, "a method of a page", "browsers refuse it")
    return tuple(dict.fromkeys(given))


def _headers(value: Value) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    for each in given:
        if not isinstance(each, str) or not _HEADER.fullmatch(each):
            why = "list each header" if each == "*" else "it has letters, digits, '-' and '_'"
            raise InvalidValue(each, "the name of a header", why)
    return tuple({each.lower(): each for each in given}.values())


_LIST = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class CorsModel(Strict):
    """Which pages of other origins may read answers; the proxy answers their preflights."""

    origins: Annotated[
        tuple[str, ...], Check(_origins, **_LIST, examples=["https://app.example.com"])
    ] = field(description="The origins of these pages, or any.")
    methods: Annotated[tuple[str, ...], Check(_methods, **_LIST)] = field(
        ("GET", "HEAD", "POST"), description="Methods that they may use."
    )
    headers: Annotated[tuple[str, ...], Check(_headers, **_LIST)] = field(
        ("Content-Type",), description="Headers that they may send."
    )
    expose: Annotated[tuple[str, ...], Check(_headers, **_LIST)] = field(
        (), description="Headers of answers that they may read, besides the usual ones."
    )
    credentials: bool = field(False, description="They may send cookies and passwords.")
    max_age: Duration = field(600.0, description="How long browsers keep the answer.")

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if node.get("credentials") is True and node.get("origins") in _ANY:
            hint = "list the origins: any page could use the cookies of its visitors"
            yield Misplaced("credentials", "'credentials' requires a list of origins", hint)
