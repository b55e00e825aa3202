"""Runs on a rehearsal host, as `python3 scripted_services.py FOLDER`: services with habits.

Standard library alone. Each listens on a loopback port of its own, and has the habits of a library
that is in use, or a fault of its own; FOLDER has the certificate for the one that speaks TLS.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PAGE = b"<!doctype html><html><head><title>An app</title></head><body>%s</body></html>"


@dataclass(frozen=True)
class Habits:
    """What a service does. `origin` is ``host`` (compares it with Host), ``any`` or ``wanted``."""

    port: int
    path: str = "/ws"
    origin: str = "host"
    #: The answer to an ordinary request for the WebSocket's path.
    plain: tuple[int, bytes] = (426, b"Upgrade Required\n")
    #: The answer to an unknown path.
    elsewhere: tuple[int, bytes] = (404, b"not here\n")
    pages: dict[str, bytes] = field(default_factory=dict)
    policy: str = ""
    wants_http_1_1: bool = True
    checks_key: bool = True
    one_subprotocol_at_most: bool = False
    confirms_subprotocol: bool = True
    forces_https: bool = False
    takes_h2c: bool = False
    speaks_tls: bool = False
    answers: bool = True
    greets: bool = True
    wants_cookie: bool = False
    #: The answer to an Origin that it rejects.
    refuses_with: tuple[int, bytes] = (403, b"Cross origin websockets not allowed\n")
    accept: bytes = b""
    pings_every_s: float = 0.0


KINDS = {
    # As the library websockets, and most others that are strict.
    "chat": Habits(9101),
    # As golang.org/x/net/websocket with a Handler, whose app has a home page.
    "x-net": Habits(
        9102,
        path="/sock",
        origin="wanted",
        plain=(400, b"not websocket protocol\n"),
        elsewhere=(200, _PAGE % b"home"),
        wants_http_1_1=False,
        checks_key=False,
        one_subprotocol_at_most=True,
    ),
    "open to all": Habits(9103, origin="any"),
    # As an app whose routes end with a slash.
    "with a slash": Habits(9104, path="/ws/"),
    # As Rails with force_ssl.
    "forces https": Habits(9105, forces_https=True),
    "silent": Habits(9106, greets=False),
    "hangs": Habits(9107, answers=False),
    # 9108: closed
    "same accept": Habits(9109, accept=b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    "tls": Habits(9110, speaks_tls=True),
    "h2c": Habits(9111, takes_h2c=True),
    "login": Habits(9112, wants_cookie=True),
    "forgets subprotocols": Habits(9114, confirms_subprotocol=False),
    "pings": Habits(9115, greets=False, pings_every_s=0.5),
    # As Action Cable, which hides from strangers.
    "cable": Habits(9120, refuses_with=(404, b"Page not found\n")),
    # As a demo whose home page is all that is not its WebSocket.
    "home page": Habits(9116, path="/sock", elsewhere=(200, _PAGE % b"home")),
    "pages": Habits(
        9117,
        pages={
            "/": _PAGE % b'<script>new WebSocket("wss://" + location.host + "/ws")</script>',
            "/mixed": _PAGE % b'<script>let s = new WebSocket("ws://NAME/ws")</script>',
            "/right": _PAGE % b'<script>let s = new WebSocket("wss://NAME/ws")</script>',
            "/goaccess": _PAGE % b"<script>var connection = "
            b'{"url":"wss://NAME/ws","port":7890,"ping_interval":0};</script>',
            "/goaccess-right": _PAGE % b"<script>var connection = "
            b'{"url":"wss://NAME:443/ws","port":7890,"ping_interval":0};</script>',
        },
    ),
    "policy": Habits(
        9118,
        policy="default-src 'self' 'unsafe-inline'; connect-src https://api.example.net",
        pages={"/": _PAGE % b'<script>let s = new WebSocket("wss://NAME/ws")</script>'},
    ),
    "lenient policy": Habits(
        9119,
        policy="default-src 'self' 'unsafe-inline'; connect-src 'self' wss://NAME",
        pages={"/": _PAGE % b'<script>let s = new WebSocket("wss://NAME/ws")</script>'},
    ),
}
PORTS = {kind: habits.port for kind, habits in KINDS.items()} | {"closed": 9108}
_WORDS = {200: b"OK", 301: b"Moved Permanently", 401: b"Unauthorized", 403: b"Forbidden"}


class Request:
    """The head of a request; `fields` by their names in lower case."""

    def __init__(self, head: bytes) -> None:
        line, *rows = head.split(b"\r\n")
        _, target, self.version = line.split(b" ", 2)
        self.path = target.partition(b"?")[0].decode()
        self.target = target
        self.rows = [row for row in rows if row]
        self.fields: dict[bytes, bytes] = {}
        for row in self.rows:
            name, _, value = row.partition(b":")
            self.fields.setdefault(name.strip().lower(), value.strip())

    def field(self, name: bytes) -> bytes:
        return self.fields.get(name, b"")

    def wants(self, protocol: bytes) -> bool:
        words = [word.strip().lower() for word in self.field(b"connection").split(b",")]
        return b"upgrade" in words and self.field(b"upgrade").lower() == protocol


def refusal(habits: Habits, asked: Request) -> tuple[int, bytes] | None:
    """What the WebSocket's path answers to this request in place of 101."""
    if habits.wants_http_1_1 and asked.version != b"HTTP/1.1":
        return 505, b"HTTP/1.1 is needed\n"
    if not asked.wants(b"websocket"):
        return habits.plain
    key = asked.field(b"sec-websocket-key")
    if habits.checks_key and len(base64.b64decode(key)) != 16:
        return 400, b"invalid Sec-WebSocket-Key header\n"
    if habits.wants_cookie and not asked.field(b"cookie"):
        return 401, b"who are you?\n"
    origin = asked.field(b"origin")
    if habits.origin == "wanted" and b"://" not in origin:
        return 403, b""
    if habits.origin == "host" and origin and origin.partition(b"://")[2] != asked.field(b"host"):
        return habits.refuses_with
    if habits.one_subprotocol_at_most and b"," in asked.field(b"sec-websocket-protocol"):
        return 400, b""
    return None


def serve(habits: Habits, line: socket.socket) -> None:
    """One connection, request by request until an upgrade."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            part = line.recv(65536)
            if not part:
                return
            data += part
            if data[0] == 0x16:  # the beginning of a TLS handshake
                respond(line, 400, b"Bad Request\n")
                return
        if not habits.answers:
            line.recv(1)
            return
        head, _, data = data.partition(b"\r\n\r\n")
        asked = Request(head)
        if habits.takes_h2c and asked.wants(b"h2c"):
            line.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            )
            return
        if not answer(habits, asked, line):
            return


def answer(habits: Habits, asked: Request, line: socket.socket) -> bool:
    """Whether the connection can carry another request."""
    name = asked.field(b"host")
    if habits.forces_https and asked.field(b"x-forwarded-proto") != b"https":
        respond(line, 301, b"", b"Location: https://" + name + asked.target)
        return True
    if asked.path == "/headers":
        respond(line, 200, b"\r\n".join([asked.target, *asked.rows]), b"Content-Type: text/plain")
        return True
    if asked.path + "/" == habits.path and habits.path != "/":
        respond(line, 301, b"", b"Location: " + habits.path.encode())
        return True
    if asked.path != habits.path:
        status, body = habits.elsewhere
        if page := habits.pages.get(asked.path):
            status, body = 200, page.replace(b"NAME", name)
        rows = [b"Content-Type: text/html"] if body.startswith(b"<") else []
        if habits.policy:
            policy = habits.policy.encode().replace(b"NAME", name)
            rows.append(b"Content-Security-Policy: " + policy)
        respond(line, status, body, *rows)
        return True
    refused = refusal(habits, asked)
    if refused is not None:
        respond(line, *refused)
        return True
    upgrade(habits, asked, line)
    return False


def respond(line: socket.socket, status: int, body: bytes, *rows: bytes) -> None:
    """A whole response."""
    first = b"HTTP/1.1 %d %s" % (status, _WORDS.get(status, b"No"))
    length = b"Content-Length: %d" % len(body)
    line.sendall(b"\r\n".join([first, *rows, length, b"", b""]) + body)


def upgrade(habits: Habits, asked: Request, line: socket.socket) -> None:
    """101, and what follows."""
    key = asked.field(b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - RFC 6455
    rows = [b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: websocket"]
    rows.append(b"Sec-WebSocket-Accept: " + (habits.accept or accept))
    offered = asked.field(b"sec-websocket-protocol").partition(b",")[0].strip()
    if offered and habits.confirms_subprotocol:
        rows.append(b"Sec-WebSocket-Protocol: " + offered)
    greeting = b"\x81\x05hello" if habits.greets else b""
    line.sendall(b"\r\n".join([*rows, b"", b""]) + greeting)
    if habits.pings_every_s:
        line.settimeout(habits.pings_every_s)
    data = b""
    while True:
        try:
            part = line.recv(65536)
        except TimeoutError:
            line.sendall(b"\x89\x00")
            continue
        if not part:
            return
        data = talk(data + part, line)


def talk(data: bytes, line: socket.socket) -> bytes:
    """Frames of less than 126 bytes: pong, close and echo; what is left of `data`."""
    while len(data) >= 6 and len(data) >= 6 + (data[1] & 127):
        size, mask = data[1] & 127, data[2:6]
        payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data[6 : 6 + size]))
        opcode = data[0] & 15
        if opcode in (1, 8, 9):
            line.sendall(bytes([128 | (10 if opcode == 9 else opcode), size]) + payload)
        data = data[6 + size :]
    return data


def listen(habits: Habits, context: ssl.SSLContext) -> None:
    """A service that serves each connection in a thread of its own."""
    with socket.create_server(("127.0.0.1", habits.port), backlog=200) as server:
        while True:
            line, _ = server.accept()
            threading.Thread(target=guarded, args=(habits, line, context), daemon=True).start()


def guarded(habits: Habits, line: socket.socket, context: ssl.SSLContext) -> None:
    """What clients do to their connections is no matter."""
    try:
        with line:
            if habits.speaks_tls:
                with context.wrap_socket(line, server_side=True) as over_tls:
                    serve(habits, over_tls)
            else:
                serve(habits, line)
    except (OSError, ValueError):
        pass


if __name__ == "__main__":
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(sys.argv[1]) / "full.pem")
    for one in KINDS.values():
        threading.Thread(target=listen, args=(one, tls)).start()
