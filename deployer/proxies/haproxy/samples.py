"""Evaluate HAProxy's conditions for a WebSocket request: fetches, converters, matches. Pure.

A value is `None` if it is missing, and `UNKNOWN` if it depends on the client or is not understood
here. Source: HAProxy's configuration manual, 7 "Using ACLs and
fetching samples".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import parse_qs, unquote

from deployer.text.numbers import is_number


class Unknown(Enum):
    """A value that the configuration does not determine."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
Sample = str | int | bool | None | Unknown

_CALL = re.compile(r"([\w.-]+)(?:\((.*)\))?$", re.DOTALL)
_METHODS = ("beg", "end", "sub", "dir", "dom", "reg", "len", "str", "found")
#: Headers that depend on the client.
_OF_THE_CLIENT = frozenset(
    {"user-agent", "cookie", "authorization", "referer", "accept", "accept-language"}
)
_PREDEFINED: Mapping[str, bool | Unknown] = {
    "TRUE": True,
    "FALSE": False,
    "HTTP": True,
    "HTTP_1.0": False,
    "HTTP_1.1": True,
    "HTTP_2.0": False,
    "HTTP_CONTENT": False,
    "HTTP_URL_ABS": False,
    "HTTP_URL_SLASH": True,
    "LOCALHOST": UNKNOWN,
    "METH_CONNECT": False,
    "METH_DELETE": False,
    "METH_GET": True,
    "METH_HEAD": False,
    "METH_OPTIONS": False,
    "METH_POST": False,
    "METH_PUT": False,
    "METH_TRACE": False,
    "REQ_CONTENT": True,
    "WAIT_END": True,
}


@dataclass(slots=True, kw_only=True)
class Request:
    """A WebSocket request at one point of its path; rules change it."""

    name: str
    port: int
    path: str
    query: str
    tls: bool
    headers: dict[str, Sample]
    files: Mapping[str, str]
    servers: Mapping[str, int]
    variables: dict[str, Sample] = field(default_factory=dict)

    def header(self, name: str) -> Sample:
        """A header's value; `UNKNOWN` if it depends on the client."""
        lowered = name.lower()
        if lowered in self.headers:
            return self.headers[lowered]
        return UNKNOWN if lowered in _OF_THE_CLIENT else None


def websocket_request(
    *,
    name: str,
    port: int,
    path: str,
    tls: bool,
    files: Mapping[str, str],
    servers: Mapping[str, int],
) -> Request:
    """The request that a browser sends to open a WebSocket."""
    bare, _, query = path.partition("?")
    is_usual = port == (443 if tls else 80)
    host = name if is_usual else f"{name}:{port}"
    headers: dict[str, Sample] = {
        "host": host,
        "upgrade": "websocket",
        "connection": "Upgrade",
        "origin": UNKNOWN,  # the rules that check it decide which pages may connect
        "sec-websocket-version": "13",
        "sec-websocket-key": UNKNOWN,
    }
    return Request(
        name=name,
        port=port,
        path=bare,
        query=query,
        tls=tls,
        headers=headers,
        files=files,
        servers=servers,
    )


# --- samples --------------------------------------------------------------------------------------


def evaluated(expression: str, request: Request) -> Sample:
    """A fetch with its converters: ``req.hdr(host),lower,map(/etc/haproxy/hosts.map)``."""
    first, *converters = split_calls(expression)
    value = _fetched(first, request)
    for converter in converters:
        if value is UNKNOWN:
            return UNKNOWN
        if value is None and not converter.startswith("map"):
            return None
        value = _converted(converter, value, request)
    return value


def split_calls(expression: str) -> list[str]:
    """Split ``a(b,c),d`` at the commas outside parentheses."""
    parts, depth = [""], 0
    for sign in expression:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part for part in parts if part]


def _fetched(call: str, request: Request) -> Sample:
    found = _CALL.match(call)
    if found is None:
        return UNKNOWN
    name, argument = found.group(1), (found.group(2) or "").split(",")[0].strip()
    if name in ("hdr", "req.hdr", "req.fhdr", "fhdr", "hdr_ip", "req.hdr_ip", "shdr"):
        return request.header(argument)
    if name in ("hdr_cnt", "req.hdr_cnt", "req.fhdr_cnt"):
        value = request.header(argument)
        if value is UNKNOWN or value is None:
            return value if value is UNKNOWN else 0
        return 1 if "fhdr" in name else str(value).count(",") + 1
    if name in ("hdr_val", "req.hdr_val"):
        text = str(request.header(argument))
        return int(text) if is_number(text) else None
    if name in ("var", "req.var", "txn.var"):
        return request.variables.get(argument, UNKNOWN)
    if name in ("nbsrv", "srv_is_up"):
        return request.servers.get(argument.partition("/")[0], 1)
    if name in ("urlp", "url_param"):
        return parse_qs(request.query).get(argument, [None])[0]
    if name == "str":
        return argument
    simple: dict[str, Sample] = {
        "path": request.path,
        "pathq": request.path + (f"?{request.query}" if request.query else ""),
        "url": request.path + (f"?{request.query}" if request.query else ""),
        "query": request.query or None,
        "base": f"{request.header('host') or ''}{request.path}",
        "method": "GET",
        "ssl_fc": request.tls,
        "ssl_fc_sni": request.name if request.tls else None,
        "req.ssl_sni": request.name if request.tls else None,
        "req_ssl_sni": request.name if request.tls else None,
        "ssl_fc_alpn": "http/1.1" if request.tls else None,
        "ssl_fc_has_sni": request.tls,
        "req.ssl_hello_type": 1 if request.tls else 0,
        "req_ssl_hello_type": 1 if request.tls else 0,
        "dst_port": request.port,
        "always_true": True,
        "always_false": False,
        "req.ver": "1.1",
    }
    return simple.get(name, UNKNOWN)


def _converted(call: str, value: Sample, request: Request) -> Sample:
    found = _CALL.match(call)
    if found is None or value is UNKNOWN:
        return UNKNOWN
    name = found.group(1)
    arguments = [each.strip().strip("\"'") for each in (found.group(2) or "").split(",")]
    if name == "map" or name.startswith("map_"):
        return _mapped(name, arguments, value, request)
    if name in ("field", "word"):
        return _part(name, arguments, str(value))
    convert = _CONVERTERS.get(name)
    return convert(str(value), arguments) if convert is not None else UNKNOWN


def _port_only(text: str, arguments: list[str]) -> Sample:
    port = text.rpartition(":")[2]
    return int(port) if is_number(port) else 0


def _regsub(text: str, arguments: list[str]) -> Sample:
    if len(arguments) < 2:
        return UNKNOWN
    count = 0 if "g" in "".join(arguments[2:]) else 1
    try:
        return re.sub(arguments[0], arguments[1], text, count=count)
    except re.error:
        return UNKNOWN


_CONVERTERS: Mapping[str, Callable[[str, list[str]], Sample]] = {
    "lower": lambda text, _: text.lower(),
    "upper": lambda text, _: text.upper(),
    "host_only": lambda text, _: re.sub(r":\d+$", "", text),
    "port_only": _port_only,
    "rtrim": lambda text, arguments: text.rstrip(arguments[0] or " "),
    "ltrim": lambda text, arguments: text.lstrip(arguments[0] or " "),
    "url_dec": lambda text, _: unquote(text),
    "length": lambda text, _: len(text),
    "regsub": _regsub,
}


def _part(name: str, arguments: list[str], text: str) -> Sample:
    number = int(arguments[0]) if is_number(arguments[0].removeprefix("-")) else 0
    sign = arguments[1] if len(arguments) > 1 and arguments[1] else ","
    parts = text.split(sign)
    if name == "word":
        parts = [part for part in parts if part]
    index = number - 1 if number > 0 else number
    return parts[index] if number and -len(parts) <= index < len(parts) else None


def _mapped(name: str, arguments: list[str], value: Sample, request: Request) -> Sample:
    fallback: Sample = arguments[1] if len(arguments) > 1 else None
    text = request.files.get(arguments[0])
    if text is None:
        return UNKNOWN
    if value is None:
        return fallback
    method = [*name.split("_"), "str"][1]
    for key, entry in file_entries(text):
        if match(method if method in _METHODS else "str", str(value), key, is_nocase=False):
            return entry
    return fallback


def file_entries(text: str) -> Iterator[tuple[str, str]]:
    """The keys and values of a map file; of a pattern file, the patterns and what follows."""
    for line in text.splitlines():
        words = line.split(None, 1)
        if words and not words[0].startswith("#"):
            yield words[0], words[1].strip() if len(words) > 1 else ""


# --- matches --------------------------------------------------------------------------------------


def match(method: str, value: str, pattern: str, *, is_nocase: bool) -> bool | None:
    """Whether a text matches one pattern; `None` if the pattern is not understood."""
    if method == "reg":
        try:
            return re.search(pattern, value, re.IGNORECASE if is_nocase else 0) is not None
        except re.error:
            return None
    if is_nocase:
        value, pattern = value.lower(), pattern.lower()
    if method in ("dir", "dom"):
        ends = r"[/?]" if method == "dir" else r"[/?.:]"
        wanted = re.escape(pattern.strip("/" if method == "dir" else "/."))
        return re.search(rf"(?:^|{ends}){wanted}(?:{ends}|$)", value) is not None
    tests = {
        "beg": value.startswith(pattern),
        "end": value.endswith(pattern),
        "sub": pattern in value,
        "str": value == pattern,
        "len": is_number(pattern) and len(value) == int(pattern),
    }
    return tests.get(method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The result of one test, with the `pattern` and `method` that matched a path."""

    answer: bool | Unknown
    pattern: str = ""
    method: str = ""


def tested(words: Sequence[str], request: Request) -> Matched:
    """Evaluate one test, such as ``path_beg -i /ws /chat``."""
    expression, *rest = words
    first, *converters = split_calls(expression)
    call = _CALL.match(first)
    if call is None:
        return Matched(answer=UNKNOWN)
    name, method = call.group(1), ""
    stem, _, suffix = name.rpartition("_")
    if suffix in _METHODS and stem and name not in ("hdr_len",):
        name, method = stem, suffix
        expression = ",".join((f"{stem}{first[len(call.group(1)) :]}", *converters))
    flags, patterns = flags_and_patterns(rest, request.files.get)
    if patterns is None:
        return Matched(answer=UNKNOWN)
    method = flags.get("m", method)
    value = evaluated(expression, request)
    if value is UNKNOWN:
        return Matched(answer=UNKNOWN)
    if method == "found":
        return Matched(answer=value is not None)
    if value is None:
        return Matched(answer=False)
    if not patterns:
        return Matched(answer=bool(value))
    if isinstance(value, int):  # a number or a switch
        return Matched(answer=_number_matches(int(value), patterns))
    return _matched(name, method or "str", str(value), patterns, is_nocase="i" in flags)


def _matched(
    name: str, method: str, value: str, patterns: Sequence[str], *, is_nocase: bool
) -> Matched:
    """Match the value of the fetch `name` against patterns."""
    unknown = False
    # A header may be a list, of which any element may match; `fhdr` uses it as a whole.
    parts = re.split(r"\s*,\s*", value) if name in ("hdr", "req.hdr") else [value]
    for pattern in patterns:
        answers = [match(method, part, pattern, is_nocase=is_nocase) for part in parts]
        unknown = unknown or None in answers
        if any(answers):
            is_path = name in ("path", "url", "pathq", "base")
            return Matched(
                answer=True,
                pattern=pattern if is_path else "",
                method=method if is_path else "",
            )
    return Matched(answer=UNKNOWN if unknown else False)


def flags_and_patterns(
    words: Sequence[str], file: Callable[[str], str | None]
) -> tuple[dict[str, str], list[str] | None]:
    """The flags of a test by their letters, and its patterns, with those in the files of ``-f``.

    `file` returns the text of a file. If that is `None` for one, so are the patterns.
    """
    flags: dict[str, str] = {}
    patterns: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and len(rest[0]) > 1:
        flag = rest.pop(0)
        if flag == "--":
            break
        if flag in ("-m", "-f", "-M", "-u") and rest:
            value = rest.pop(0)
            if flag == "-f":
                text = file(value)
                if text is None:
                    return flags, None
                patterns += [key for key, _ in file_entries(text)]
            else:
                flags[flag[1:]] = value
        else:
            flags[flag[1:]] = ""
    return flags, patterns + rest


def _number_matches(value: int, patterns: Sequence[str]) -> bool | Unknown:
    operators = {"eq", "ge", "gt", "le", "lt"}
    operator = "eq"
    for pattern in patterns:
        if pattern in operators:
            operator = pattern
            continue
        low, colon, high = pattern.partition(":")
        if colon and operator == "eq":
            if int(low or 0) <= value <= int(high or value):
                return True
        elif is_number(low):
            wanted = int(low)
            holds = {
                "eq": value == wanted,
                "ge": value >= wanted,
                "gt": value > wanted,
                "le": value <= wanted,
                "lt": value < wanted,
            }
            if holds[operator]:
                return True
        else:
            return UNKNOWN
    return False


def predefined(name: str) -> bool | Unknown | None:
    """The value of a predefined condition; `None` if there is none of that name."""
    return _PREDEFINED.get(name)
