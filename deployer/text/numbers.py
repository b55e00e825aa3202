"""Whether a text from elsewhere is a number."""

from __future__ import annotations

#: Python refuses to convert thousands of digits, and nothing here counts that far.
_MOST_DIGITS = 18


def is_number(text: str) -> bool:
    """Whether a text consists of ASCII digits that `int` and `float` accept.

    `str.isdigit` is true for characters such as a superscript two, which they reject.
    """
    return len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()
