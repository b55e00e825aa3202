"""The values of a site's own request headers that must not be shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deployer.sites.model import Site

#: Headers whose values say nothing about who sends them.
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "pragma", "user-agent"}
)
#: Shorter values are words that any answer may hold; in a request they are hidden nevertheless.
_LENGTH = 6


def is_secret_header(name: str) -> bool:
    """Whether a header of that name may have a secret value."""
    return name.lower() not in _HARMLESS


def words_of(value: str) -> list[str]:
    """The words of a value, each followed by what separates it from the next one.

    A service may quote a single one: the token after ``Bearer``, the value of a cookie.
    """
    return re.split(r"([;,=\s]+)", value)


def secret_texts(headers: Iterable[tuple[object, object]]) -> frozenset[str]:
    """The secret values of `headers`, and their words."""
    values = [str(value) for name, value in headers if is_secret_header(str(name))]
    texts = {text for value in values for text in (value, *words_of(value)[::2])}
    return frozenset(text for text in texts if len(text) >= _LENGTH)


def secrets_of_site(site: Site) -> frozenset[str]:
    """The secret values in the headers of all checks of `site`, and their words."""
    checks = [*site.verify, *(route.probe for route in site.routes if route.probe)]
    return secret_texts(header for check in checks for header in check.headers)
