"""Filters that write a value into a file of a certain syntax, so that it keeps its meaning.

Each refuses what the syntax cannot express; no value becomes a directive, a word or a variable.
Those of the proxies' configurations are in `deployer.proxies`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable

from deployer.model import Value
from deployer.proxies import PROXIES

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.~/=:-]+")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.~/=@+,-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError("must be a string or a number")
    text = str(value)
    if "\0" in text:
        raise ValueError("a NUL character cannot be written")
    text.encode()  # raises UnicodeEncodeError for half a surrogate pair
    return text


def systemd_value(value: object) -> str:
    """The whole value of a setting that is not split into words, such as ``User=``.

    Source: systemd.syntax(7): a backslash at the end continues the line; ``%`` is a specifier.
    """
    text = _text(value)
    if _CONTROL.search(text) or text.endswith("\\") or text != text.strip():
        raise ValueError(f"{text!r} cannot be the value of a unit's setting")
    return text.replace("%", "%%")


def systemd_word(value: object) -> str:
    """One word of a command line, such as ``ExecStart=``: not the first one if it has a prefix.

    Source: systemd.service(5), COMMAND LINES: quotes and backslashes as in C, % and $ doubled.
    """
    text = _text(value)
    if _PLAIN_WORD.fullmatch(text):
        return text
    quoted = json.dumps(text).replace("\x7f", "\\x7f")
    # JSON writes two escapes for a character outside of the first plane, systemd reads one.
    quoted = re.sub(r"\\\\|\\u(d[89ab]..)\\u(d[c-f]..)", _one_escape, quoted)
    return quoted.replace("%", "%%").replace("$", "$$")


def _one_escape(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[0]
    high, low = int(found[1], 16), int(found[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def systemd_path(value: object) -> str:
    """One path in a list, such as ``ReadWritePaths=``: quoted, but without escapes or variables."""
    text = _text(value)
    if not text.startswith("/") or _CONTROL.search(text) or re.search(r"[\"'\\]", text):
        raise ValueError(f"{text!r} cannot be a path in a unit")
    text = text.replace("%", "%%")
    return text if _PLAIN_PATH.fullmatch(text) else f'"{text}"'


def systemd_environment(value: object) -> str:
    r"""The value of a variable in an ``EnvironmentFile=``, in double quotes.

    Source: systemd.exec(5): a backslash escapes only ``" \ ` $``; systemd ignores variables with
    control characters other than tabs and line feeds.
    """
    text = str(value) if isinstance(value, bool) else _text(value)
    if _CONTROL.search(text.replace("\t", "").replace("\n", "")):
        raise ValueError(f"{text!r} cannot be the value of an environment variable of a unit")
    return '"' + re.sub(r'(["\\`$])', r"\\\1", text) + '"'


def shell_word(value: object) -> str:
    """One word for a POSIX shell."""
    return shlex.quote(_text(value))


def _of_proxy(name: str, function: str) -> Callable[[Value], str]:
    def filtered(value: Value) -> str:
        escaping = PROXIES[name].escaping  # type: ignore[index]
        return str(getattr(escaping, function)(_text(value)))

    return filtered


FILTERS: dict[str, Callable[..., Value]] = {
    "shell_word": shell_word,
    "systemd_environment": systemd_environment,
    "systemd_path": systemd_path,
    "systemd_value": systemd_value,
    "systemd_word": systemd_word,
    **{f"{name}_string": _of_proxy(name, "string") for name in PROXIES},
    **{f"{name}_header_value": _of_proxy(name, "header_value") for name in PROXIES},
}
