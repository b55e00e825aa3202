"""As much of HTTP/1.1 as a handshake needs, with a limit on everything that a peer can send.

Source: RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from deployer.verify.attempt import Trouble, printable
from deployer.verify.stream import Deadline, Stream, receive
from deployer.verify.tls import is_tls

_HEAD_LIMIT_BYTES = 32 * 1024
_BODY_LIMIT_BYTES = 4 * 1024
#: A body is only read to be quoted and compared; nobody waits long for it.
_BODY_PATIENCE_S = 1.0
_LENGTH = re.compile(r"[0-9]{1,12}")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A response up to its empty line; `rest` is what came after that line already."""

    status_code: int
    reason: str
    headers: Headers
    raw: bytes
    rest: bytes

    def values(self, name: str) -> list[str]:
        """The values of every header of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def words(self) -> str:
        """What the peer did, as the end of a sentence."""
        return f"answered {self.status_code} {printable(self.reason, limit=60)}".rstrip()


def request(target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A GET request. Raises: `Trouble` where a value would break out of its line."""
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if any(letter in line for line in lines for letter in "\r\n\0") or " " in target:
        raise Trouble("bad-request", "cannot be asked: the path or a header has a line break in it")
    return "\r\n".join([*lines, "", ""]).encode("utf-8")


def read_head(stream: Stream, deadline: Deadline) -> Head:
    """The head of the response. Raises: `Trouble`, TimeoutError, OSError."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > _HEAD_LIMIT_BYTES:
            words = "answered with headers that do not end within 32 KiB"
            raise Trouble("endless-headers", words)
        more = receive(stream, deadline)
        if not more and data:
            raise Trouble("closed", "closed the connection in the middle of its answer")
        if not more:
            raise Trouble("closed", "closed the connection without an answer")
        data += more
        _refuse_other_protocols(data)
    raw, _, rest = data.partition(b"\r\n\r\n")
    return _parsed(raw + b"\r\n\r\n", rest)


def _refuse_other_protocols(data: bytes) -> None:
    if is_tls(data):
        raise Trouble("speaks-tls", "answered with TLS where plain HTTP was sent")
    if not data.startswith(b"HTTP/"[: len(data)]):
        quoted = printable(data, limit=60)
        raise Trouble("not-http", "answered with something that is not HTTP", evidence=quoted)


def _parsed(raw: bytes, rest: bytes) -> Head:
    status_line, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, _, status = status_line.partition(" ")
    code, _, reason = status.partition(" ")
    fields = [line.partition(":") for line in lines]
    well_formed = (
        version in ("HTTP/1.1", "HTTP/1.0")
        and len(code) == 3
        and code.isascii()
        and code.isdigit()
        and all(colon and name.strip() == name for name, colon, _ in fields)
    )
    if not well_formed:
        quoted = printable(raw, limit=60)
        raise Trouble("not-http", "answered with a malformed HTTP response", evidence=quoted)
    return Head(
        status_code=int(code),
        reason=reason,
        headers=tuple((name, value.strip()) for name, _, value in fields),
        raw=raw,
        rest=rest,
    )


def read_body(stream: Stream, head: Head, deadline: Deadline) -> bytes:
    """The beginning of the body, as much as comes soon; a broken one is as good as none."""
    limit = Deadline(_BODY_PATIENCE_S, within=deadline)
    chunked = "chunked" in ",".join(head.values("Transfer-Encoding")).lower()
    lengths = [value for value in head.values("Content-Length") if _LENGTH.fullmatch(value)]
    wanted = int(lengths[0]) if lengths else _BODY_LIMIT_BYTES
    wanted = min(wanted, _BODY_LIMIT_BYTES)
    if head.status_code in (204, 304):
        wanted = 0
    data = head.rest
    try:
        while len(data) < wanted and not (chunked and data.endswith(b"0\r\n\r\n")):
            more = receive(stream, limit)
            if not more:
                break
            data += more
    except OSError:  # TimeoutError is one of them: what came so far will do
        pass
    return _unchunked(data) if chunked else data[:wanted]


def _unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        digits = size.partition(b";")[0].strip()
        try:
            length = int(digits, 16)
        except ValueError:
            break
        if length <= 0:
            break
        body += data[:length]
        data = data[length + 2 :]
    return body
