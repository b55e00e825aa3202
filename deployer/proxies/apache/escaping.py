"""Strings in Apache's configuration, as ap_getword_conf() reads them."""

from __future__ import annotations

import re


def string(text: str) -> str:
    """`text` as one quoted argument of a directive.

    Raises:
        ValueError: it contains a reference to a defined variable, ``${…}``, which has no escape, or
            a control character.
    """
    if "${" in text:
        raise ValueError(f"Apache would replace '${{…}}' in {text!r}")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{text!r} contains a control character")
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def header_value(text: str) -> str:
    """`text` as the value of a header: mod_headers reads ``%`` and backslashes in it.

    Raises:
        ValueError: it contains a control character, or would be an expression.
    """
    if text.startswith("expr="):
        raise ValueError(f"Apache would evaluate {text!r} as an expression")
    text = text.replace("\\", "\\\\").replace("%", "%%")
    # ${DOLLAR} is a dollar sign, see shared.conf.j2.
    return "${DOLLAR}{".join(string(part)[1:-1] for part in text.split("${")).join('""')
