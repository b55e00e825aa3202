"""The part of HTTP/1.1 that a handshake needs, with a limit on everything that a peer can send.

Source: RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from deployer.text.numbers import is_number
from deployer.verify.net.stream import Deadline, Stream, receive
from deployer.verify.net.tls import is_tls
from deployer.verify.probe.attempt import Failure, printable

_HEAD_LIMIT_BYTES = 32 * 1024
_BODY_LIMIT_BYTES = 4 * 1024
#: A body is only read to be quoted and compared, so the wait for it is short.
_BODY_PATIENCE_S = 1.0
_EMPTY_LINE = b"\r\n\r\n"
_LENGTH = re.compile(r"[0-9]{1,12}")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A response up to its empty line; `rest` is what has already arrived after it."""

    status_code: int
    reason: str
    headers: Headers
    raw: bytes
    rest: bytes

    def values(self, name: str) -> list[str]:
        """Return the values of every header of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def words(self) -> str:
        """The response as the end of a sentence."""
        return f"answered {self.status_code} {printable(self.reason, limit=60)}".rstrip()


def request(target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a GET request. Raises: `Failure` if a value would break out of its line."""
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if any(letter in line for line in lines for letter in "\r\n\0") or " " in target:
        raise Failure("bad-request", "cannot be requested: the path or a header has a line break")
    return "\r\n".join([*lines, "", ""]).encode("utf-8")


def read_head(stream: Stream, deadline: Deadline) -> Head:
    """Read the head of the final response; interim ones (RFC 9110, section 15.2) are skipped.

    One limit covers all heads together. Raises: `Failure`, TimeoutError if nothing came, OSError.
    """
    data = bytearray()
    begins = 0
    while True:
        end = _end_of_head(stream, data, begins, deadline)
        head = _parsed(bytes(data[begins:end]), bytes(data[end:]))
        if head.status_code == 101 or not 100 <= head.status_code < 200:
            return head
        begins = end


def _end_of_head(stream: Stream, data: bytearray, begins: int, deadline: Deadline) -> int:
    """Return the end of the head that begins at `begins`, reading more into `data` as needed."""
    diagnose_url = begins
    while (end := data.find(_EMPTY_LINE, diagnose_url)) < 0:
        diagnose_url = max(begins, len(data) - len(_EMPTY_LINE) + 1)
        if len(data) > _HEAD_LIMIT_BYTES:
            raise Failure(
                "endless-headers",
                "answered with headers that do not end within 32 KiB",
                evidence=printable(bytes(data[begins : begins + 240])),
            )
        more = _more(stream, data, deadline)
        if not more and len(data) > begins:
            raise Failure("closed", "closed the connection in the middle of its answer")
        if not more:
            what = "a final answer" if begins else "an answer"
            raise Failure("closed", f"closed the connection without {what}")
        data += more
        _refuse_other_protocols(bytes(data[begins : begins + 240]))
    if end > _HEAD_LIMIT_BYTES:
        raise Failure("endless-headers", "answered with more than 32 KiB of headers")
    return end + len(_EMPTY_LINE)


def _more(stream: Stream, data: bytearray, deadline: Deadline) -> bytes:
    try:
        return receive(stream, deadline)
    except TimeoutError as error:
        if not data:
            raise
        words = f"began to answer, but its headers had not ended after {len(data):,} bytes"
        raise Failure("timeout", words, evidence=printable(bytes(data[:240]))) from error


def _refuse_other_protocols(data: bytes) -> None:
    if is_tls(data):
        raise Failure("speaks-tls", "answered plain HTTP with TLS")
    if data and not data.startswith(b"HTTP/"[: len(data)]):
        quoted = printable(data, limit=60)
        raise Failure("not-http", "answered with something that is not HTTP", evidence=quoted)


def _parsed(raw: bytes, rest: bytes) -> Head:
    status_line, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, _, status = status_line.partition(" ")
    code, _, reason = status.partition(" ")
    fields = [line.partition(":") for line in lines]
    well_formed = (
        version in ("HTTP/1.1", "HTTP/1.0")
        and len(code) == 3
        and code.isascii()
        and is_number(code)
        and all(colon and name.strip() == name for name, colon, _ in fields)
    )
    if not well_formed:
        quoted = printable(raw, limit=60)
        raise Failure("not-http", "answered with a malformed HTTP response", evidence=quoted)
    return Head(
        status_code=int(code),
        reason=reason,
        headers=tuple((name, value.strip()) for name, _, value in fields),
        raw=raw,
        rest=rest,
    )


def read_body(
    stream: Stream, head: Head, deadline: Deadline, *, most_bytes: int = _BODY_LIMIT_BYTES
) -> bytes:
    """Read the beginning of the body, as much as arrives soon; errors end it early."""
    limit = Deadline(_BODY_PATIENCE_S, within=deadline)
    chunked = "chunked" in ",".join(head.values("Transfer-Encoding")).lower()
    lengths = [value for value in head.values("Content-Length") if _LENGTH.fullmatch(value)]
    wanted = min(int(lengths[0]) if lengths else most_bytes, most_bytes)
    if head.status_code in (204, 304):
        wanted = 0
    data = head.rest
    try:
        while len(data) < wanted and not (chunked and data.endswith(b"0\r\n\r\n")):
            more = receive(stream, limit)
            if not more:
                break
            data += more
    except OSError:  # including TimeoutError: what has arrived so far will do
        pass
    return _unchunked(data)[:most_bytes] if chunked else data[:wanted]


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
