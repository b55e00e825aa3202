"""Strings in HAProxy's configuration: section 2.2, "Quoting and escaping", of its manual."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\s\"'\\#$]")


def string(text: str) -> str:
    """`text` as one word, in single quotes if it needs them: nothing is special within them.

    Raises:
        ValueError: it contains a control character.
    """
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{text!r} contains a control character")
    if text and not _SPECIAL.search(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def header_value(text: str) -> str:
    """`text` as a format string without variables.

    Raises:
        ValueError: it contains a control character.
    """
    return string(text.replace("%", "%%"))
