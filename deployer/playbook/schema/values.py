"""Checks of values that may reach a proxy's config, a command line or a unit, one for each type.

Every function takes a value of the playbook and returns its canonical form, or raises
`InvalidValue`. None of them accepts a character that could end a directive or string in a config.
"""

from __future__ import annotations

import re
import shlex

from deployer.model import Value
from deployer.playbook.yaml.source import OctalInt
from deployer.sites.model import Upstream
from deployer.text.numbers import is_number

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_URL_PATH = re.compile(r"[A-Za-z0-9._~@:+,=/-]")
_CONFIG_PATH = re.compile(r"[^\s;{}\"'$\\#`|&<>*?()\[\]\x00-\x20\x7f]")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST_COMMAND = 50_000
_MAX_SECONDS = 10 * 366 * 86400


class InvalidValue(ValueError):  # noqa: N818 - a verdict on a value; it becomes a SourceError
    """A value that is not `what` it must be; `why` is the reason or a hint.

    `key` is the key of the value in the mapping that was checked, if that is one.
    """

    def __init__(self, value: Value, what: str, why: str = "", *, key: str | None = None) -> None:
        super().__init__(value, what, why)
        self.value = value
        self.what = what
        self.why = why
        self.key = key

    def __str__(self) -> str:
        return self.text()

    def text(self, *, secret: bool = False) -> str:
        """The message; without the value and the reason if it is `secret`."""
        if secret:
            return f"(secret) is not {self.what}"
        shown = repr(self.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "…'"
        return f"{shown} is not {self.what}{': ' if self.why else ''}{self.why}"


def _text(value: object, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidValue(value, what, "it must be a string")
    return str(value)


def _character(text: str, allowed: re.Pattern[str]) -> str:
    """A message about the first character that is not allowed; empty if all are."""
    for character in text:
        if not allowed.fullmatch(character):
            shown = character if character.isprintable() else f"U+{ord(character):04X}"
            name = {" ": "a space", "\n": "a line break", "\t": "a tab"}.get(character)
            return f"{name or repr(shown)} is not allowed"
    return ""


def ip_address(text: str) -> str | None:
    """The canonical form of an IP address, or `None` for anything else."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not re.fullmatch(r"[0-9a-fA-F:.]+", bare) or not re.search(r"[:.]", bare):
        return None
    import ipaddress

    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


def domain(value: Value, *, wildcard: bool = True) -> str:
    """A host name in lower case and ASCII form, or an IP address.

    Source: RFC 1123, section 2.1; RFC 5890 for non-ASCII names.
    """
    what = "a domain"
    text = _text(value, what)
    address = ip_address(text)
    if address is not None:
        return address
    name = text.lower().removesuffix(".")
    if not name.isascii():
        name = _to_ascii(text, name)
    labels = name.split(".")
    if wildcard and labels[0] == "*" and len(labels) > 2:
        labels = labels[1:]
    why = _character("".join(labels), re.compile(r"[a-z0-9-]"))
    if why:
        if "://" in text:
            why = "write only the name, without http:// or a path"
        raise InvalidValue(value, what, why)
    if not name or len(name) > 253:
        raise InvalidValue(value, what, "it must have 1 to 253 characters")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise InvalidValue(
                value, what, f"the part {label!r} must be 1 to 63 letters, digits or inner '-'"
            )
    if labels[-1].isdigit():
        raise InvalidValue(value, what, "it is not an IP address either")
    return name


def _to_ascii(text: str, name: str) -> str:
    # Python's codec is IDNA 2003, which converts these differently than browsers (UTS 46).
    if re.search("[ßςẞ\u200c\u200d]", name):
        raise InvalidValue(text, "a domain that can be converted", "write its ASCII form, xn--…")
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise InvalidValue(text, "a domain", "it has no ASCII form (IDNA)") from None


def port(value: Value) -> int:
    """A TCP port."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 65535:
        raise InvalidValue(value, "a port", "ports are 1 to 65535")
    return int(number)


def url_path(value: object) -> str:
    """The path of a URL, decoded: without a query, escapes or dot segments."""
    what = "a URL path"
    text = _text(value, what)
    if not text.startswith("/"):
        raise InvalidValue(value, what, "it must start with '/'")
    why = _character(text, _URL_PATH)
    if why:
        raise InvalidValue(value, what, why)
    if "//" in text or any(part in (".", "..") for part in text.split("/")):
        raise InvalidValue(value, what, "'//', '.' and '..' are not allowed")
    return text


def route_path(value: object) -> str:
    """The path of a route, whose segments may be placeholders: ``/rooms/{room}/ws``."""
    text = _text(value, "a URL path")
    parts = text.split("/")
    names = [each[1:-1] for each in parts if re.fullmatch(r"\{[A-Za-z_]\w{0,49}\}", each, re.ASCII)]
    bare = "/".join("x" if each[1:-1] in names else each for each in parts)
    if "{" in bare or "}" in bare:
        why = "a placeholder is a whole segment, with a name in braces: /rooms/{room}/ws"
        raise InvalidValue(value, "a URL path", why)
    if len(set(names)) < len(names):
        raise InvalidValue(value, "a URL path", "it has two placeholders with the same name")
    url_path(bare)
    return text


def absolute_path(value: object) -> str:
    """A path on the host that can be written into a proxy's config unquoted."""
    what = "a path for a config"
    text = file_path(value)
    why = _character(text, _CONFIG_PATH)
    if why:
        raise InvalidValue(value, what, why)
    return text


def file_path(value: object) -> str:
    """An absolute path on the host, without a trailing slash, '.' and '..'."""
    what = "an absolute path"
    text = _text(value, what)
    if not text.startswith("/"):
        raise InvalidValue(value, what, "it must start with '/'")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise InvalidValue(value, what, "it contains a control character")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidValue(value, what, "'..' is not allowed")
    if any(len(part.encode()) > 255 for part in parts) or len(text.encode()) > 4095:
        raise InvalidValue(value, what, "it is longer than a file system allows")
    return "/" + "/".join(parts)


def file_name(value: Value) -> str:
    """The name of a file that a config can name unquoted, without its folder."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", value):
        raise InvalidValue(value, "the name of a file", "write it without a folder: index.html")
    return value


def upstream(value: Value) -> Upstream:
    """An upstream: ``http://``, ``https://``, their synonyms ws and wss, or ``unix:``."""
    what = "an upstream"
    if not isinstance(value, str):
        raise InvalidValue(value, what, "write http://HOST:PORT, HOST:PORT or unix:/PATH")
    if value.startswith("unix:"):
        return Upstream(socket=absolute_path(value.removeprefix("unix:")))
    scheme, address = _scheme_and_address(value, what)
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]+))?", address)
    if match is None:
        hint = "put an IPv6 address in brackets" if address.count(":") > 1 else ""
        raise InvalidValue(value, what, hint or "its port must be a number")
    tls = scheme.lower() in ("https", "wss")
    if match[2] is None and not scheme:
        raise InvalidValue(value, what, "its port is missing")
    if not match[1]:
        raise InvalidValue(value, what, "its host is missing")
    try:
        host = domain(match[1], wildcard=False)
        number = port(match[2]) if match[2] else (443 if tls else 80)
    except InvalidValue as error:
        raise InvalidValue(value, what, str(error)) from None
    return Upstream(host=host, port=number, tls=tls)


def _scheme_and_address(value: str, what: str) -> tuple[str, str]:
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "", value
    elif scheme.lower() not in ("http", "https", "ws", "wss"):
        raise InvalidValue(value, what, "its scheme must be http, https, ws, wss or unix")
    if rest.startswith("unix:"):
        raise InvalidValue(value, what, "write unix:/PATH, without a scheme")
    address, _, path = rest.partition("/")
    if path:
        raise InvalidValue(
            value, what, "it must not have a path; set the route's path and strip_prefix"
        )
    if "@" in address:
        raise InvalidValue(value, what, "it must not have a user or password")
    return scheme, address


def duration_s(value: object) -> float:
    """A duration in seconds: ``75s``, ``1h30m``, ``500ms``, ``180d`` or a number of seconds."""
    what = "a duration"
    seconds: float
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(max(-1, min(value, _MAX_SECONDS + 1)))
    else:
        text = value.replace(" ", "") if isinstance(value, str) else ""
        parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])", text)
        if is_number(text):
            seconds = float(text)
        elif parts and "".join(number + unit for number, unit in parts) == text:
            seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        else:
            raise InvalidValue(value, what, "write 500ms, 75s, 5m, 1h, 180d or a number of seconds")
    if not 0 < seconds <= _MAX_SECONDS:
        raise InvalidValue(value, what, "it must be longer than 0 and at most ten years")
    return seconds


_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size_bytes(value: object) -> int:
    """A size in bytes: ``64k``, ``16m``, ``1g`` (powers of 1024) or a number of bytes."""
    what = "a size"
    text = str(value).lower() if isinstance(value, (int, str)) else ""
    found = re.fullmatch(r"([0-9]{1,15})([kmg]?)", text)
    if found is None or isinstance(value, bool):
        raise InvalidValue(value, what, "write 64k, 16m, 1g or a number of bytes")
    size = int(found[1]) * _BYTES[found[2]]
    if not 0 < size <= 1 << 50:
        raise InvalidValue(value, what, "it must be more than 0 and at most a petabyte")
    return size


def origin(value: Value) -> str:
    """An origin as browsers send it: in lower case, without the scheme's default port.

    Source: RFC 6454, section 6.2.
    """
    what = "an origin"
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#@]+?)(?::([0-9]+))?", str(value))
    if not isinstance(value, str) or match is None:
        why = "write SCHEME://HOST or SCHEME://HOST:PORT"
        why += ", without a path" if isinstance(value, str) and value.count("/") > 2 else ""
        raise InvalidValue(value, what, why)
    scheme = match[1].lower()
    try:
        host = domain(match[2], wildcard=False)
        number = port(match[3]) if match[3] else None
    except InvalidValue as error:
        raise InvalidValue(value, what, str(error)) from None
    shown = f"[{host}]" if ":" in host else host
    own = {"http": 80, "https": 443}.get(scheme)
    return f"{scheme}://{shown}" + (f":{number}" if number and number != own else "")


def mode(value: Value) -> str:
    """File permissions as four octal digits."""
    what = "a file mode"
    if isinstance(value, OctalInt):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        raise InvalidValue(value, what, 'quote it, as in "0644": an unquoted number is decimal')
    elif isinstance(value, str) and re.fullmatch(r"(0o?)?[0-7]{3,4}", value):
        number = int(value.replace("o", ""), 8)
    elif isinstance(value, str) and re.search(r"[=+-]", value):
        number = _symbolic_mode(value)
    else:
        raise InvalidValue(value, what, 'write four octal digits in quotes, as in "0644"')
    if number > 0o7777:
        raise InvalidValue(value, what, "it is more than 7777")
    return f"{number:04o}"


def _symbolic_mode(value: str) -> int:
    number, named = 0, set()
    for clause in value.replace(" ", "").split(","):
        match = re.fullmatch(r"([ugoa]+)=([rwxst]*)", clause)
        if match is None:
            raise InvalidValue(
                value,
                "a file mode",
                "a symbolic mode must set u, g and o with '=': u=rw,g=r,o=r",
            )
        for who in match[1].replace("a", "ugo"):
            named.add(who)
            shift = {"u": 6, "g": 3, "o": 0}[who]
            bits = sum({"r": 4, "w": 2, "x": 1}.get(letter, 0) for letter in set(match[2]))
            number = number & ~(7 << shift) | bits << shift
            number |= 0o4000 if who == "u" and "s" in match[2] else 0
            number |= 0o2000 if who == "g" and "s" in match[2] else 0
            number |= 0o1000 if who == "o" and "t" in match[2] else 0
    if named != set("ugo"):
        raise InvalidValue(value, "a file mode", "it must set u, g and o")
    return number


def email(value: object) -> str:
    """An e-mail address for an issuer's notices."""
    text = str(value)
    name, at, host = text.rpartition("@")
    if (
        not isinstance(value, str)
        or not at
        or not re.fullmatch(r"[A-Za-z0-9._%+/=~^-]{1,64}", name)
    ):
        raise InvalidValue(value, "an e-mail address")
    try:
        return f"{name}@{domain(host, wildcard=False)}"
    except InvalidValue as error:
        raise InvalidValue(value, "an e-mail address", str(error)) from None


def subprotocol(value: object) -> str:
    """A WebSocket subprotocol: a token.

    Source: RFC 6455, section 4.1, item 10; RFC 7230, section 3.2.6.
    """
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        raise InvalidValue(
            value, "a subprotocol", "it must be one word of letters, digits, - . _ ~ + and the like"
        )
    return value


def account(value: object) -> str:
    """The name or number of a user or group."""
    text = _text(value, "a user or group")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,10}", text):
        raise InvalidValue(value, "a user or group name")
    return text


def unit(value: Value) -> str:
    """The name of a systemd unit."""
    text = _text(value, "a service name")
    if not re.fullmatch(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]{0,250}", text):
        raise InvalidValue(value, "a service name")
    return text


def listening(value: Value) -> str:
    """A port, or the absolute path of a unix socket, as text."""
    if isinstance(value, str) and value.startswith("/"):
        return file_path(value)
    return str(port(value))


def split_command(value: Value) -> tuple[str, ...]:
    """The arguments of a command line.

    Raises: InvalidValue, if it relies on a shell, which is never used.
    """
    what = "a command without a shell"
    text = _text(value, what)
    if len(text) > _LONGEST_COMMAND:
        raise InvalidValue(text[:40], what, f"it is longer than {_LONGEST_COMMAND:,} characters")
    bare = re.sub(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", "_", text, flags=re.DOTALL)
    found = re.search(r"&&|\|\||>>|\$\(|[|<>;&`\n]|\$[A-Za-z_{][A-Za-z0-9_]*", bare)
    if found is not None:
        shown = found[0].replace("\n", "a line break")
        why = f"{shown} has no special meaning; quote it, or copy a script and run that"
        raise InvalidValue(text, what, why)
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        raise InvalidValue(text, what, "a quote is not closed") from None
    if not words or "\0" in text:
        raise InvalidValue(text, what, "it is empty")
    return words


def package(value: Value) -> str:
    """The name of a package, optionally with ``:arch``.

    Source: Debian Policy, section 5.6.7.
    """
    text = _text(value, "a package name")
    if "=" in text:
        raise InvalidValue(
            value, "a package name", "versions cannot be pinned; hold the package on the host"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+._-]*(:[a-z0-9]+)?", text):
        raise InvalidValue(value, "a package name")
    return text
