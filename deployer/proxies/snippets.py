"""The interface of a proxy's module that checks snippets of its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class SnippetError(ValueError):
    """A snippet that would not stay in its place; `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")


class Snippets(Protocol):
    """``snippets.py`` of a proxy."""

    #: The places of a site's snippets, with what they are called in the configuration.
    PLACES: Mapping[str, str]
    #: What a route's snippet is in.
    OF_ROUTES: str

    def check(self, text: str) -> None:
        """Check that `text` neither ends the block around it nor leaves one open.

        Raises:
            SnippetError: it does.
        """


def reject_control_characters(text: str) -> None:
    """Reject characters that no configuration needs.

    Raises:
        SnippetError: there is one.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if _CONTROL.search(line):
            raise SnippetError(number, "it contains a control character")
