"""Runs on a rehearsal host: a server that is as silent as Neko in its legacy mode.

    neko_lookalike.py PORT [PREFIX]

On the paths of Neko's server, below `PREFIX`, its ``server.path_prefix``. A client that knows the
password gets the connection, and then not a byte unless it asks: each message comes back, each ping
gets its pong. Any other gets a message after the same 101, and is disconnected
without a Close frame. Standard library alone, Python 3.9.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PASSWORD = "neko"  # the one that Neko has in its documentation
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class Neko(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    prefix = ""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if not asked.path.startswith(self.prefix + "/"):
            self.page(404, "404 page not found")
            return
        path = asked.path[len(self.prefix) :]
        if path in ("/ws", "/api/ws"):
            given = parse_qs(asked.query)
            self.open(knows=PASSWORD in given.get("password", []) + given.get("token", []))
        elif path == "/health":
            self.page(200, "true")
        elif path == "/":
            self.page(200, "<title>n.eko</title>")
        else:
            self.page(404, "404 page not found")

    def do_POST(self) -> None:
        """A file that a visitor hands over: how long it was."""
        left = length = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.page(200, str(length))

    def page(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def open(self, *, knows: bool) -> None:
        key = self.headers["Sec-WebSocket-Key"]
        if key is None or "upgrade" not in self.headers.get("Connection", "").lower():
            self.page(400, "Bad Request")
            return
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        if not knows:
            refusal = {"event": "system/disconnect", "message": "invalid password"}
            self.frame(_TEXT, json.dumps(refusal).encode())
            return
        self.frame(_TEXT, json.dumps({"event": "system/init"}).encode())
        while True:
            opcode, payload = self.read_frame()
            self.frame(_PONG if opcode == _PING else opcode, payload)
            if opcode == _CLOSE:
                return

    def frame(self, opcode: int, payload: bytes) -> None:
        self.wfile.write(bytes([0x80 | opcode, len(payload)]) + payload)

    def read_frame(self) -> tuple[int, bytes]:
        head = self.rfile.read(6)
        if len(head) < 6:
            raise ConnectionError("the client is gone")
        mask = head[2:]
        payload = self.rfile.read(head[1] & 0x7F)
        return head[0] & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


Neko.prefix = sys.argv[2] if len(sys.argv) > 2 else ""
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Neko).serve_forever()
