"""Strings in nginx's configuration, as ngx_conf_read_token() reads them."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\s;{}\"'\\#$]")


def string(text: str) -> str:
    """`text` as one parameter of a directive, in quotes if it needs them.

    Raises:
        ValueError: it contains a dollar sign, for which nginx has no escape, or a control
            character.
    """
    if "$" in text:
        raise ValueError(f"nginx would read '$' in {text!r} as a variable")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{text!r} contains a control character")
    if text and not _SPECIAL.search(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def header_value(text: str) -> str:
    """`text` as the value of a header, in quotes.

    Raises:
        ValueError: it contains a control character.
    """
    # nginx has no escape for a dollar sign: the variable is one, see http.conf.j2.
    return "${deployer_dollar}".join(_quoted(part) for part in text.split("$")).join('""')


def _quoted(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"{text!r} contains a control character")
    return re.sub(r'(["\\])', r"\\\1", text)
