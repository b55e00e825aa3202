"""Runs on a rehearsal host, as `python3 backends.py`: WebSocket services, all but the first wrong.

Standard library alone. Each listens on a loopback port of its own; ``PORTS`` says which.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading

PORTS = {
    "good": 9001,
    "answers 404": 9002,
    "wrong accept key": 9003,
    "accepts and hangs": 9004,
    "forgets Upgrade": 9005,
    "nothing listens": 9006,
    "closes at once": 9007,
}

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serve(name: str, line: socket.socket) -> None:
    """One connection."""
    with line:
        head = b""
        while b"\r\n\r\n" not in head:
            part = line.recv(4096)
            if not part:
                return
            head += part
        fields = {}
        for row in head.split(b"\r\n")[1:]:
            key, _, value = row.partition(b":")
            fields[key.strip().lower()] = value.strip()
        if name == "answers 404" or fields.get(b"upgrade", b"").lower() != b"websocket":
            line.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        if name == "accepts and hangs":
            line.recv(1)
            return
        if name == "closes at once":
            return
        seed = b"another key" if name == "wrong accept key" else fields[b"sec-websocket-key"]
        accept = base64.b64encode(hashlib.sha1(seed + _GUID).digest())  # noqa: S324 - RFC 6455
        rows = [b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade"]
        rows += [] if name == "forgets Upgrade" else [b"Upgrade: websocket"]
        rows += [b"Sec-WebSocket-Accept: " + accept, b"", b""]
        line.sendall(b"\r\n".join(rows) + b"\x81\x05hello")
        answer_pings(line)


def answer_pings(line: socket.socket) -> None:
    """Frames of less than 126 bytes: a pong to a ping, silence to all else."""
    data = b""
    while True:
        while len(data) < 6 or len(data) < 6 + (data[1] & 127):
            part = line.recv(4096)
            if not part:
                return
            data += part
        size, mask = data[1] & 127, data[2:6]
        payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data[6 : 6 + size]))
        if data[0] & 15 in (8, 9):
            line.sendall(bytes([data[0] + (data[0] & 15 == 9), size]) + payload)
        data = data[6 + size :]


def listen(name: str, port: int) -> None:
    """A backend that serves each connection in a thread of its own."""
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            line, _ = server.accept()
            threading.Thread(target=serve, args=(name, line), daemon=True).start()


if __name__ == "__main__":
    threads = [
        threading.Thread(target=listen, args=item)
        for item in PORTS.items()
        if item[0] != "nothing listens"
    ]
    for thread in threads:
        thread.start()
