"""Fetch a page or script: more of the body than a handshake needs, but still limited."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deployer.text.numbers import is_number
from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.answer import handshake_result
from deployer.verify.net.http1 import Head, read_head, request
from deployer.verify.net.redact import format_request, format_response
from deployer.verify.net.stream import Deadline, Stream, receive, send
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.spec import HttpProbe

#: A GoAccess report of a busy site has 400 KiB, with its address in the middle.
_LIMIT_BYTES = 2 * 1024 * 1024
_SHOWN_BYTES = 4 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A response and its text, which is empty if the server compressed it without being asked."""

    attempt: Attempt
    text: str


def fetch_document(probe: HttpProbe, access: Access) -> Document:
    """Fetch a page. Raises: only if everything was cancelled."""
    began = time.monotonic()
    timings_s: dict[str, float] = {}
    head: Head | None = None
    body = b""
    failure: Failure | None = None
    try:
        with access.connect(
            probe.endpoint, server_name=probe.server_name, timings_s=timings_s
        ) as stream:
            deadline = access.step()
            with translate_errors("the request", access.timeout_s):
                send(stream, request(probe.target, probe.headers), deadline)
                head = read_head(stream, deadline)
                if head.status_code not in (101, 204, 304):
                    body = _body(stream, head, deadline)
    except Failure as error:
        failure = error
    attempt = Attempt(
        answer=handshake_result(
            probe, head, body=body[:_SHOWN_BYTES], failure=failure, timings_s=timings_s
        ),
        failure=failure,
        seconds=time.monotonic() - began,
        request=format_request(probe.target, probe.headers, hidden=probe.hidden),
        response=format_response(head, body[:_SHOWN_BYTES]),
    )
    is_plain = head is not None and not "".join(head.values("Content-Encoding")).strip()
    return Document(attempt=attempt, text=body.decode("utf-8", "replace") if is_plain else "")


def _body(stream: Stream, head: Head, deadline: Deadline) -> bytes:
    """Read as much of the body as arrives in time, up to the limit."""
    is_chunked = "chunked" in ",".join(head.values("Transfer-Encoding")).lower()
    lengths = [int(value) for value in head.values("Content-Length") if is_number(value)]
    wanted = min([_LIMIT_BYTES, *lengths]) if not is_chunked else _LIMIT_BYTES
    parts, size = [head.rest], len(head.rest)
    try:
        while size < wanted and not (is_chunked and parts[-1].endswith(b"0\r\n\r\n")):
            more = receive(stream, deadline)
            if not more:
                break
            parts.append(more)
            size += len(more)
    except OSError:  # including TimeoutError: what has arrived so far will do
        pass
    data = b"".join(parts)
    return _unchunked(data) if is_chunked else data[:wanted]


def _unchunked(data: bytes) -> bytes:
    parts, position = [], 0
    while True:
        end = data.find(b"\r\n", position, position + 1024)
        if end < 0:
            break
        try:
            length = int(data[position:end].partition(b";")[0], 16)
        except ValueError:
            break
        if length <= 0:
            break
        parts.append(data[end + 2 : end + 2 + length])
        position = end + 2 + length + 2
    return b"".join(parts)
