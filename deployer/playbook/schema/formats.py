"""The formats of role variables, which Ansible's types are too coarse for.

An option in ``meta/argument_specs.yml`` names its format in the last item of its description, which
Ansible shows and otherwise ignores::

    description: [The account of the service., "Format: account name"]

``or empty`` and ``or null`` after the name allow an empty string and null too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployer.model import Value
from deployer.playbook.schema import values
from deployer.playbook.schema.values import InvalidValue
from deployer.proxies import PROXIES

_PREFIX = "Format: "
#: Values that only deployer sets, from what it has checked otherwise.
OWN = "set by deployer"
_RANGE = re.compile(r"(.*) from (-?[0-9]+) to ([0-9]+)")
#: The longest string that Linux passes to a program (MAX_ARG_STRLEN, with the final NUL).
_LONGEST_WORD = 131_071
#: systemd reads lines of at most 1 MiB, and an escaped character may have six bytes.
_LONGEST_COMMAND = 100_000
_UNIT_SUFFIXES = (".service", ".socket", ".timer", ".target", ".mount", ".path", ".slice", ".scope")


@dataclass(frozen=True, slots=True)
class Format:
    """A named format: the check of a value, and what else is allowed; `words` as written."""

    name: str
    check: Callable[[Value], object]
    or_empty: bool = False
    or_null: bool = False
    words: str = ""

    @property
    def is_of_list(self) -> bool:
        """Whether it is the format of a list as a whole, not of its elements."""
        return self.name in _OF_LISTS

    def apply(self, value: Value) -> None:
        """Check `value`.

        Raises:
            InvalidValue: it does not have the format.
        """
        if value is None:
            if not self.or_null:
                raise InvalidValue(None, f"a value of the format '{self.name}'", "it is empty")
        elif not (value == "" and isinstance(value, str) and self.or_empty):
            self.check(value)


def format_in(description: object) -> Format | None:
    """The format that a description names, if it is a known one."""
    lines = description if isinstance(description, list) else [description]
    for line in lines:
        if isinstance(line, str) and line.startswith(_PREFIX):
            return _parsed(line.removeprefix(_PREFIX).strip().removesuffix("."))
    return None


def without_format(description: object) -> str:
    """A description as one text, without its format."""
    lines = description if isinstance(description, list) else [description]
    kept = (str(line) for line in lines if not str(line).startswith(_PREFIX))
    return " ".join(line for line in kept if line and line != "None")


def _parsed(text: str) -> Format | None:
    words = text
    bare = text.removesuffix(" or null")
    or_null, text = bare != text, bare
    bare = text.removesuffix(" or empty")
    or_empty, text = bare != text, bare
    found = _RANGE.fullmatch(text)
    if found is not None and found[1] in _NUMBERS:
        check = _within(_NUMBERS[found[1]], int(found[2]), int(found[3]))
        return Format(text, check, or_empty, or_null, words)
    known = FORMATS.get(text)
    return Format(text, known, or_empty, or_null, words) if known else None


# --- checks ---------------------------------------------------------------------------------------


def _encoded(value: Value, what: str) -> bytes:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidValue(value, what, "it must be a string")
    try:
        return str(value).encode()
    except UnicodeEncodeError:
        raise InvalidValue(value, what, "it is not valid Unicode") from None


def _string(value: Value, what: str) -> str:
    text, size = str(value), len(_encoded(value, what))
    if "\0" in text:
        raise InvalidValue(value, what, "it contains a NUL character")
    if size > _LONGEST_WORD:
        raise InvalidValue(value, what, f"it is longer than {_LONGEST_WORD:,} bytes")
    return text


def _line(value: Value) -> str:
    text = _string(value, "a line of text")
    for character in text:
        if not character.isprintable():
            shown = f"U+{ord(character):04X}"
            raise InvalidValue(value, "a line of text", f"the character {shown} is not allowed")
    if text != text.strip() or text.endswith("\\"):
        raise InvalidValue(value, "a line of text", "it must not end or begin with a space or '\\'")
    return text


def _matching(what: str, pattern: str, why: str = "") -> Callable[[Value], str]:
    def check(value: Value) -> str:
        text = _string(value, what)
        if not re.fullmatch(pattern, text):
            raise InvalidValue(value, what, why)
        return text

    return check


def _service(value: Value) -> str:
    what = "the name of a service"
    text = _matching(what, r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", _SERVICE_WHY)(value)
    if text.endswith(_UNIT_SUFFIXES):
        raise InvalidValue(value, what, "write it without the unit's suffix")
    return text


_SERVICE_WHY = "it must be letters, digits, '_', '.' and '-', and begin with none of the last two"


def _words(value: Value, what: str) -> list[str]:
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidValue(value, what, "write a list: [/path/of/program, argument]")
    words = []
    for each in value:
        hint = "quote it" if isinstance(each, bool) else ""
        if isinstance(each, bool) or not isinstance(each, (str, int, float)):
            raise InvalidValue(each, f"a word of {what}", hint)
        words.append(_string(each, f"a word of {what}"))
    if sum(len(word.encode()) for word in words) > _LONGEST_COMMAND:
        raise InvalidValue(value, what, f"it is longer than {_LONGEST_COMMAND:,} bytes")
    return words


def _program(value: Value) -> None:
    """A command whose first word systemd runs as it is.

    Its prefixes, such as ``+`` for full privileges, come before the path, quoted or not. It expands
    variables in arguments only, and rejects quotes and backslashes in the path: systemd.service(5).
    """
    what = "a command with the full path of a program"
    path = _words(value, what)[0]
    if not path.startswith("/"):
        raise InvalidValue(path, "the full path of a program", "it must start with '/'")
    if re.search(r"[\"'\\$]", path) or not path.isprintable() or path.endswith("/"):
        why = "quotes, '\\', '$' and control characters are not allowed"
        raise InvalidValue(path, "the full path of a program", why)
    values.file_path(path)


def _command(value: Value) -> None:
    if isinstance(value, str):
        words: tuple[str, ...] | list[str] = values.split_command(value)
    elif value == []:
        return
    else:
        words = _words(value, "a command")
    if not words[0] or words[0].startswith("-"):
        raise InvalidValue(value, "a command", "it must begin with the name of a program")


def _environment(value: Value) -> None:
    """Variables that systemd accepts from an EnvironmentFile=: it drops those with other values."""
    if not isinstance(value, Mapping):
        raise InvalidValue(value, "a mapping of environment variables")
    for key, each in value.items():
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", key):
            why = "a name has letters, digits and underscores"
            raise InvalidValue(key, "the name of an environment variable", why)
        if each is None or isinstance(each, (Mapping, list, tuple)):
            raise InvalidValue(each, f"a value for the environment variable {key}", "quote it")
        text = str(each) if isinstance(each, bool) else _string(each, f"a value for {key}")
        control = re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
        if control is not None:
            why = f"systemd allows no control character such as U+{ord(control[0]):04X}"
            raise InvalidValue(each, f"a value for the environment variable {key}", why)
        if len(key) + 1 + len(text.encode()) > _LONGEST_WORD:
            raise InvalidValue(each, f"a value for {key}", "it is too long")


def _address_range(value: Value) -> str:
    from deployer.playbook.schema.ranges import address_range

    return address_range(value)


def _snippet(name: str) -> Callable[[Value], None]:
    def check(value: Value) -> None:
        from deployer.proxies.snippets import SnippetError

        text = _encoded(value, "a snippet").decode()
        try:
            PROXIES[name].snippets.check(text)  # type: ignore[index]
        except SnippetError as error:
            raise InvalidValue("(not shown)", "a snippet", str(error)) from None

    return check


def _number(value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(value, "a number")
    if not math.isfinite(value):
        raise InvalidValue(value, "a number")
    return value


def _whole(value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValue(value, "a whole number")
    return value


def _within(check: Callable[[Value], float], low: int, high: int) -> Callable[[Value], float]:
    def inner(value: Value) -> float:
        number = check(value)
        if not low <= number <= high:
            raise InvalidValue(value, f"a number from {low:,} to {high:,}")
        return number

    return inner


def _boolean(value: Value) -> None:
    if not isinstance(value, bool):
        raise InvalidValue(value, "true or false")


def _time_span(value: Value) -> str:
    unit = "(us|usec|ms|msec|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|weeks?)?"
    return _matching("a time span", rf"([0-9]+(\.[0-9]+)? ?{unit} ?)+", "write 30min, 6h or 1d")(
        value
    )


def _plain_path(value: Value) -> str:
    return values.absolute_path(_string(value, "a path"))


def _file_path(value: Value) -> str:
    return values.file_path(_string(value, "a path"))


def _relative_path(value: Value) -> str:
    text = _line(value)
    if text.startswith(("/", "-")) or ".." in text.split("/"):
        raise InvalidValue(value, "a relative path", "'/' or '-' first, and '..' are not allowed")
    return text


def _access_log(value: Value) -> str:
    return "journal" if value == "journal" else _plain_path(value)


def _any_text(value: Value) -> str:
    return _encoded(value, "a text").decode()


def _content(value: Value) -> Value:
    return value if isinstance(value, (bytes, Mapping)) else _encoded(value, "a text")


def _own(value: Value) -> None:
    if value not in ([], ""):
        raise InvalidValue(value, "a value that can be set", "deployer sets this variable")


def _rank(value: Value) -> None:
    for each in value:
        if not isinstance(each, (bool, int)):
            _WORD(each)


_NUMBERS: dict[str, Callable[[Value], float]] = {"number": _number, "whole number": _whole}
_OF_LISTS = ("program and arguments", "command", "rank", OWN)
_WORD = _matching("a word", r"[A-Za-z0-9_:*.][A-Za-z0-9_.:*-]{0,253}")
_NO_SIGNS = r"\s\"'`;{}#<>$\x00-\x20\x7f"
#: Formats that users write, and below those of values that deployer computes for templates.
FORMATS: dict[str, Callable[[Value], object]] = {
    "account name": values.account,
    "service name": _service,
    "package name": values.package,
    "unit name": values.unit,
    "port": values.port,
    "port in URLs": _matching("a port", r":[0-9]{1,5}"),
    "host name": lambda value: values.domain(_string(value, "a host name"), wildcard=False),
    "domain": lambda value: values.domain(_string(value, "a domain")),
    "URL path": values.url_path,
    "request path": _matching("a path such as /health", r"/[!-~]{0,2000}"),
    "URL": _matching("a URL", r"https?://[A-Za-z0-9._~:/?&=%+@,\[\]-]+"),
    "plain path": _plain_path,
    "absolute path": _file_path,
    "relative path": _relative_path,
    "file name": _matching("a file name", r"[A-Za-z0-9_~*:][A-Za-z0-9_.~*:+-]{0,250}"),
    "line of text": _line,
    "address range": _address_range,
    "user and hash": _matching("a user", r"[A-Za-z0-9._@-]+:\$[A-Za-z0-9./$=,]+"),
    "user name": _matching("the name of a user", r"[A-Za-z0-9._@-]{1,100}"),
    "password hash": _matching("a hash", r"\$[A-Za-z0-9./$=,]+"),
    "server parameters": _matching("parameters", r"[a-z_]+(=[0-9]+s?)?( [a-z_]+(=[0-9]+)?)*"),
    "member parameters": _matching("parameters", r"( [a-z]+=[+A-Z0-9]+)+"),
    "server options": _matching(
        "options", r"( (weight|maxconn) [0-9]+)*( send-proxy(-v2)?)?( disabled)?( backup)?"
    ),
    "rate": _matching("a rate", r"[0-9]+r/[sm]"),
    **{f"{name} snippet": _snippet(name) for name in PROXIES},
    "header name": _matching("the name of a header", r"[A-Za-z0-9_-]{1,100}"),
    "header value": _matching("the value of a header", r"(?!expr=)[!-~]([ -~]{0,3998}[!-~])?"),
    "redirect target": _matching("a target", r"[A-Za-z0-9._~:/?@!&()*+,=%\[\]-]+"),
    "media type": _matching("a media type", r"[a-z]+/[a-z0-9.+-]+"),
    "text": _any_text,
    "content": _content,
    "boolean": _boolean,
    "program and arguments": _program,
    "command": _command,
    "environment": _environment,
    "version": _matching("a version", r"[0-9]+(\.[0-9]+)*[a-z]?", "write it as 1.22.1"),
    "time span": _time_span,
    "calendar event": _matching("a calendar event", r"[A-Za-z0-9*][A-Za-z0-9 *,:./~_+-]{0,199}"),
    "Python requirement": _matching(
        "a Python requirement", r"[A-Za-z0-9][A-Za-z0-9._-]*((>=|==|<=|<|>|~=)[0-9A-Za-z.]+)?"
    ),
    "log file": _access_log,
    **_NUMBERS,
    "certificate folder": _matching("a path", r"/[A-Za-z0-9_.*:/-]+"),
    "digits": _matching("hexadecimal digits", r"[0-9A-Za-z]+"),
    "end of names": _matching("the end of a name", r"\.[A-Za-z0-9.-]+"),
    "link name": _matching("the name of a link", r"[A-Za-z0-9_~!+,=@:.-]{1,255}"),
    "pattern": _matching("a pattern", rf"[^{_NO_SIGNS}]+"),
    "location pattern": _matching("a pattern", r"\^[A-Za-z0-9._~!&()*+,=:@/\\^$|?#\[\]-]+"),
    "PEM": _matching("PEM", r"(?=-----BEGIN )[A-Za-z0-9+/= \n\r-]+"),
    "proxy target": _matching(
        "a target", rf"[^{_NO_SIGNS}]+(\$\{{DOLLAR\}}\{{service_of_[0-9]+\}})?"
    ),
    "rank": _rank,
    OWN: _own,
    "route condition": _matching(
        "a condition", r" \{ var\(txn\.path\) -m (str|reg) [A-Za-z0-9._~!&()*+,=:@/\\^$|\[\]-]+ \}"
    ),
    "route path": _matching("a path", r"/(\{[A-Za-z0-9_]+\}(?=/|$)|[A-Za-z0-9._~!&()*+,=:@/-])*"),
    "server": _matching("a server", rf"[^{_NO_SIGNS}\\]+"),
    "word": _WORD,
}
