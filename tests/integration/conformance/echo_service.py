"""Runs on a rehearsal host, as a unit of systemd: a service that echoes what it receives.

Its arguments are its name and its addresses: a port of the loopback, ``[::1]:PORT``, ``tls:PORT``,
or the path of a socket. Every answer is a JSON document of the request as it came, byte for byte.
An upgrade to a WebSocket gets that document as its first message, and then each of its frames back
as it was, compressed ones too.

A query of the request changes the answer: ``wait=S`` delays it, ``say=S`` has a WebSocket send a
text after so many seconds, ``mute`` has it send nothing back, ``long=N`` adds a header as long as
that, ``body=N`` lengthens its text, ``events=N`` sends so many events, a quarter of a second apart,
``to=URL`` redirects there, and ``cookie=TEXT`` sets one more. Standard library alone, Python 3.9.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHOSEN_SUBPROTOCOL = "v2.chat"
#: With this, each message is compressed by itself, and can be sent back as it came.
_DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
_CLOSE, _PING, _PONG = 8, 9, 10

Headers = list[tuple[str, str]]


def serve(line: socket.socket, *, name: str) -> None:
    """One connection: requests one after another, until it becomes a WebSocket or ends."""
    with contextlib.suppress(OSError), line, line.makefile("rb") as stream:
        while head := read_head(stream):
            (method, target, version), headers = head
            body = read_body(stream, headers)
            server_name = line.server_name if isinstance(line, ssl.SSLSocket) else None
            echoed = {
                "service": name,
                "method": method,
                "target": target,
                "headers": headers,
                "body_sha256": hashlib.sha256(body).hexdigest(),
                "body_bytes": len(body),
                "server_name": server_name,
            }
            query = parse_qs(target.partition("?")[2], keep_blank_values=True)
            time.sleep(float(query.get("wait", ["0"])[0]))
            if "websocket" in values_of(headers, "upgrade"):
                speak_websocket(line, stream, headers=headers, query=query, echoed=echoed)
                return
            if "events" in query:
                send_events(line, int(query["events"][0]))
                return
            echoed["more"] = int(query.get("body", ["0"])[0]) * "x"
            answer(line, json.dumps(echoed).encode(), is_head=method == "HEAD", query=query)
            if version == "HTTP/1.0" or "close" in values_of(headers, "connection"):
                return


def read_head(stream: BinaryIO) -> tuple[list[str], Headers] | None:
    """The words of the first line, and the headers; `None` where no more comes."""
    words = stream.readline().decode("latin-1").split()
    if len(words) != 3:
        return None
    headers = []
    while row := stream.readline().strip():
        key, _, value = row.decode("latin-1").partition(":")
        headers.append((key, value.strip()))
    return words, headers


def read_body(stream: BinaryIO, headers: Headers) -> bytes:
    """The body, whether it has a length or comes in chunks."""
    if "chunked" not in values_of(headers, "transfer-encoding"):
        return stream.read(int((values_of(headers, "content-length") or ["0"])[0]))
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


def values_of(headers: Headers, name: str) -> list[str]:
    """What a header's values are, in lower case, one by one."""
    found = [value for key, value in headers if key.lower() == name]
    return [word.strip().lower() for value in found for word in value.split(",")]


def answer(line: socket.socket, body: bytes, *, is_head: bool, query: dict[str, list[str]]) -> None:
    """The answer to a request without an upgrade."""
    moved = f"HTTP/1.1 302 Found\r\nLocation: {query['to'][0]}" if "to" in query else ""
    head = (
        f"{moved or 'HTTP/1.1 200 OK'}\r\n"
        "Content-Type: application/json\r\n"
        "X-Of-The-Service: one\r\n"
        "X-Of-The-Service: two\r\n"
        "Set-Cookie: a=1; Path=/\r\n"
        "Set-Cookie: b=2; Path=/\r\n"
        f"{long_header(query)}{cookie(query)}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    line.sendall(head.encode() + (b"" if is_head else body))


def send_events(line: socket.socket, count: int) -> None:
    """Server-sent events; the end of the connection is the end of them."""
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    for number in range(count):
        line.sendall(b"data: %d\n\n" % number)
        time.sleep(0.25)


def long_header(query: dict[str, list[str]]) -> str:
    """As long as was asked for; nothing if it was not."""
    return f"X-Long: {int(query['long'][0]) * 'x'}\r\n" if "long" in query else ""


def cookie(query: dict[str, list[str]]) -> str:
    """One more cookie, if it was asked for."""
    return f"Set-Cookie: {query['cookie'][0]}\r\n" if "cookie" in query else ""


def speak_websocket(
    line: socket.socket,
    stream: BinaryIO,
    *,
    headers: Headers,
    query: dict[str, list[str]],
    echoed: dict[str, object],
) -> None:
    """The handshake, what was asked, and then every frame back until one says that it is over."""
    key = next((value for name, value in headers if name.lower() == "sec-websocket-key"), "")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324
    rows = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    rows += [f"Sec-WebSocket-Accept: {accept}", f"{long_header(query)}X-Of-The-Service: one"]
    if _CHOSEN_SUBPROTOCOL in values_of(headers, "sec-websocket-protocol"):
        rows += [f"Sec-WebSocket-Protocol: {_CHOSEN_SUBPROTOCOL}"]
    if any(word.startswith("perm") for word in values_of(headers, "sec-websocket-extensions")):
        rows += [f"Sec-WebSocket-Extensions: {_DEFLATE}"]
    line.sendall("\r\n".join([*rows, "", ""]).encode())
    line.sendall(frame(0x81, json.dumps(echoed).encode()))
    if "say" in query:
        later = threading.Timer(float(query["say"][0]), line.sendall, [frame(0x81, b"said")])
        later.daemon = True
        later.start()
    while (received := read_frame(stream)) is not None:
        first, payload = received
        if first & 15 == _PING:
            line.sendall(frame(0x80 | _PONG, payload))
        elif "mute" not in query or first & 15 == _CLOSE:
            line.sendall(frame(first, payload))
        if first & 15 == _CLOSE:
            return


def frame(first: int, payload: bytes) -> bytes:
    """A frame as servers send it, RFC 6455, section 5.2."""
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 1 << 16:
        return bytes([first, 126]) + size.to_bytes(2, "big") + payload
    return bytes([first, 127]) + size.to_bytes(8, "big") + payload


def read_frame(stream: BinaryIO) -> tuple[int, bytes] | None:
    """The first byte of a client's frame, and what it carries; `None` where no more comes."""
    start = stream.read(2)
    if len(start) < 2:
        return None
    size = start[1] & 127
    if size > 125:
        size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
    mask = stream.read(4)
    data = stream.read(size)
    # As one number: a loop over the bytes of a large message would take seconds.
    pattern = (mask * (size // 4 + 1))[:size]
    plain = int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")
    return start[0], plain.to_bytes(size, "big")


class NamedTls(ssl.SSLSocket):
    """Remembers which server the client asked for."""

    server_name: str | None = None


def tls_context(certificate: Path) -> ssl.SSLContext:
    """A service's own TLS; the file has its key, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sslsocket_class = NamedTls

    def remember(line: NamedTls, name: str | None, _: ssl.SSLContext) -> None:
        line.server_name = name

    context.sni_callback = remember  # type: ignore[assignment]
    return context


def listener(address: str) -> socket.socket:
    """What listens at a port of the loopback, or at a path where a proxy can reach it."""
    if address.startswith("/"):
        server = socket.socket(socket.AF_UNIX)
        server.bind(address)
        Path(address).chmod(0o666)  # a proxy is another user
        server.listen(64)
        return server
    port = int(address.rpartition(":")[2])
    if address.startswith("[::1]"):
        return socket.create_server(("::1", port), family=socket.AF_INET6, backlog=64)
    return socket.create_server(("127.0.0.1", port), backlog=64)


def listen(server: socket.socket, *, name: str, tls: ssl.SSLContext | None) -> None:
    """Serve each connection in a thread of its own."""

    def begin(line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve(tls.wrap_socket(line, server_side=True) if tls else line, name=name)

    while True:
        line, _ = server.accept()
        threading.Thread(target=begin, args=(line,), daemon=True).start()


def main(name: str, *addresses: str) -> None:
    """Listen at all of these addresses until the end."""
    certificate = Path(__file__).with_name("service.pem")
    for address in addresses:
        tls = tls_context(certificate) if address.startswith("tls:") else None
        what = {"name": name, "tls": tls}
        threading.Thread(target=listen, args=(listener(address),), kwargs=what).start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:  # sd_notify(3)
        systemd.connect(os.environ["NOTIFY_SOCKET"])
        systemd.send(b"READY=1")


if __name__ == "__main__":
    main(*sys.argv[1:])
