"""Format requests and responses as they were sent, without secrets. Pure.

The values of headers and query parameters that carry credentials are replaced by an ellipsis; the
run, which knows more secrets, removes those as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from deployer.verify.net.http1 import Head
from deployer.verify.probe.attempt import printable

_MASK = "…"
_LIMIT_CHARACTERS = 4096
_LINE_CHARACTERS = 500

_SECRET_HEADERS = frozenset(
    {
        "cookie",
        "set-cookie",
        "authorization",
        "proxy-authorization",
        "www-authenticate",
        "proxy-authenticate",
        "sec-websocket-key",
    }
)
_CREDENTIAL_KEYS = (
    "access_token|api_?key|auth|authorization|code|credentials?|id_token|jwt|key|pass|passwd|"
    "password|pwd|refresh_token|secret|session|session_?id|sid|sig|signature|t|ticket|token|"
    "user|username|usr"
)
_SECRET_PARAMETER = re.compile(
    rf"(?i)([?&;](?:[\w.-]*[_.-])?(?:{_CREDENTIAL_KEYS})=)[^&;#\s\"'<>]+"
)
#: A member of a JSON object, or of something similar.
_SECRET_MEMBER = re.compile(
    r"(?i)([\"'](?:[\w.-]*[_.-])?(?:access_?token|api_?key|auth|authorization|cookie|csrf_?token|"
    r"id_?token|jwt|passwd|password|pwd|refresh_?token|secret|session|session_?id|sid|token)[\"']"
    r"\s*[:=]\s*[\"'])[^\"']+"
)
#: Request headers that a service echoes.
_SECRET_LINE = re.compile(
    r"(?i)\b((?:set-)?cookie|(?:proxy-)?authorization)(: ?|=> ?)"
    r"(?=[\w!#$%&'*+.^`|~-]+=|(?:basic|bearer|digest|negotiate|token)\s)[^\"'<>\r\n]+"
)
# RFC 7519: three parts in base64url; the first is a JSON object.
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?")


def without_secrets(text: str) -> str:
    """Return `text` (a URL, a header's value, a body) without values that are named as secrets."""
    for pattern in (_SECRET_PARAMETER, _SECRET_MEMBER):
        text = pattern.sub(rf"\g<1>{_MASK}", text)
    return _JWT.sub(_MASK, _SECRET_LINE.sub(rf"\g<1>\g<2>{_MASK}", text))


def secret_values(text: str) -> list[str]:
    """Return the values in `text` that `without_secrets` replaces."""
    found = [
        match[0].removeprefix("".join(match.groups()))
        for pattern in (_SECRET_PARAMETER, _SECRET_MEMBER, _SECRET_LINE)
        for match in pattern.finditer(text)
    ]
    return [*found, *(match[0] for match in _JWT.finditer(text))]


def format_header(name: str, value: str, *, hidden: Collection[str] = ()) -> str:
    """Return one line, ``Name: value``; the values of headers in `hidden` are secret."""
    if name.lower() in _SECRET_HEADERS or name.lower() in hidden:
        return f"{printable(name, limit=80)}: {_MASK}"
    words = printable(value, limit=_LINE_CHARACTERS)
    return f"{printable(name, limit=80)}: {without_secrets(words)}"


def format_request(
    target: str, headers: Iterable[tuple[str, str]], *, hidden: Collection[str] = ()
) -> str:
    """Return a GET request, one line for each header."""
    first = f"GET {without_secrets(printable(target, limit=_LINE_CHARACTERS))} HTTP/1.1"
    lines = (format_header(name, value, hidden=hidden) for name, value in headers)
    return _bounded([first, *lines])


def format_response(head: Head | None, body: bytes = b"") -> str:
    """Return status line, headers and the beginning of the body; empty if there is no response."""
    if head is None:
        return ""
    status_line = head.raw.partition(b"\r\n")[0]
    lines = [printable(status_line, limit=_LINE_CHARACTERS)]
    lines += [format_header(name, value) for name, value in head.headers]
    if body:
        lines += ["", without_secrets(printable(body))]
    return _bounded(lines)


def _bounded(lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return text if len(text) <= _LIMIT_CHARACTERS else text[:_LIMIT_CHARACTERS] + _MASK
