"""Read a page and its scripts: more of a body than a handshake needs, and still not without end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deployer.verify.net.access import Access, told_as_trouble
from deployer.verify.net.answer import answer_of
from deployer.verify.net.http1 import Head, read_head, request
from deployer.verify.net.redact import shown_request, shown_response
from deployer.verify.net.stream import Deadline, Stream, receive, send
from deployer.verify.probe.attempt import Attempt, Trouble
from deployer.verify.probe.spec import HttpProbe

#: A GoAccess report of a busy site has 400 KiB, and its address is in the middle.
_LIMIT_BYTES = 2 * 1024 * 1024
_SHOWN_BYTES = 4 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What was answered, and the text of it; empty where it is compressed although nobody asked."""

    attempt: Attempt
    text: str


def read_document(probe: HttpProbe, access: Access) -> Document:
    """Ask for a page. Never raises but where all was cancelled."""
    began = time.monotonic()
    timings_s: dict[str, float] = {}
    head: Head | None = None
    body = b""
    trouble: Trouble | None = None
    try:
        with access.connected(
            probe.endpoint, server_name=probe.server_name, timings_s=timings_s
        ) as stream:
            deadline = access.step()
            with told_as_trouble("the request", access.timeout_s):
                send(stream, request(probe.target, probe.headers), deadline)
                head = read_head(stream, deadline)
                if head.status_code not in (101, 204, 304):
                    body = _body(stream, head, deadline)
    except Trouble as error:
        trouble = error
    attempt = Attempt(
        answer=answer_of(
            probe, head, body=body[:_SHOWN_BYTES], trouble=trouble, timings_s=timings_s
        ),
        trouble=trouble,
        seconds=time.monotonic() - began,
        request=shown_request(probe.target, probe.headers),
        response=shown_response(head, body[:_SHOWN_BYTES]),
    )
    is_plain = head is not None and not "".join(head.values("Content-Encoding")).strip()
    return Document(attempt=attempt, text=body.decode("utf-8", "replace") if is_plain else "")


def _body(stream: Stream, head: Head, deadline: Deadline) -> bytes:
    """As much of the body as comes in time, up to the limit."""
    is_chunked = "chunked" in ",".join(head.values("Transfer-Encoding")).lower()
    lengths = [int(value) for value in head.values("Content-Length") if value.isdecimal()]
    wanted = min([_LIMIT_BYTES, *lengths]) if not is_chunked else _LIMIT_BYTES
    parts, size = [head.rest], len(head.rest)
    try:
        while size < wanted and not (is_chunked and parts[-1].endswith(b"0\r\n\r\n")):
            more = receive(stream, deadline)
            if not more:
                break
            parts.append(more)
            size += len(more)
    except OSError:  # TimeoutError is one of them: what came so far will do
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
