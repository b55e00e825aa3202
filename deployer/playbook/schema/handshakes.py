"""What a check may add to a handshake, and with which statuses a service may answer it."""

from __future__ import annotations

import re

from deployer.model import Value
from deployer.playbook.schema.values import TOKEN, InvalidValue

#: Request headers that checks may not set, with the reason.
_OWN_HEADERS = {
    "host": "it is the site's name",
    "origin": "use origin",
    "sec-websocket-protocol": "use subprotocols",
    "connection": "the handshake sets it",
    "upgrade": "the handshake sets it",
    "content-length": "a handshake has no body",
    "transfer-encoding": "a handshake has no body",
    "te": "it applies to one connection only",
    "trailer": "it applies to one connection only",
    "keep-alive": "it applies to one connection only",
    "forwarded": "the proxy overwrites it",
    "x-real-ip": "the proxy overwrites it",
    "x-forwarded-for": "the proxy overwrites it",
    "x-forwarded-host": "the proxy overwrites it",
    "x-forwarded-port": "the proxy overwrites it",
    "x-forwarded-proto": "the proxy overwrites it",
}


def _header(name: Value, value: Value) -> tuple[str, str]:
    """A header of a request; errors never quote its value.

    Source: RFC 9110, section 5.5.
    """
    what = "a header of a handshake"
    key = name if isinstance(name, str) else None
    if not isinstance(name, str) or not TOKEN.fullmatch(name):
        raise InvalidValue(name, what, "its name must be one word", key=key)
    lowered = name.lower()
    why = _OWN_HEADERS.get(lowered, "")
    if not why and lowered.startswith("sec-websocket-"):
        why = "the handshake sets it"
    if why:
        raise InvalidValue(name, f"a header that a check may set: {why}", key=key)
    what = f"a value of {name}"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidValue("(not shown)", what, "it must be a string", key=key)
    text = str(value)
    if not text.isascii() or not text.isprintable():
        why = "it must be one line of printable ASCII characters"
        raise InvalidValue("(not shown)", what, why, key=key)
    return name, text.strip()


def headers(value: Value) -> tuple[tuple[str, str], ...]:
    """The headers of a check, by name."""
    what = "a mapping of headers"
    if not isinstance(value, dict):
        raise InvalidValue("(not shown)", what, "write NAME: VALUE, one on each line")
    checked = [_header(name, each) for name, each in value.items()]
    names = [name.lower() for name, _ in checked]
    for name, _ in checked:
        if names.count(name.lower()) > 1:
            raise InvalidValue(name, "unique: header names ignore case", key=name)
    return tuple(checked)


def status(value: Value) -> int:
    """A status with which a service may answer a handshake."""
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{3}", value) else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidValue(value, "an HTTP status", "write a number, such as 101")
    if number != 101 and not 200 <= number < 600:
        raise InvalidValue(value, "an HTTP status", "write 101, or a number from 200 to 599")
    return number
