"""Runs on a rehearsal host, as ``python3 crowd_service.py PORT [SECONDS]``: a WebSocket service for
thousands of clients at a time.

It answers pings, echoes nothing, and sends a ping itself every SECONDS where they are given.
Standard library alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import resource
import sys

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Client(asyncio.Protocol):
    """One connection; frames of clients are short and masked (RFC 6455, section 5.3)."""

    every_s = 0.0

    def __init__(self) -> None:
        self._data = b""
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._is_open:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            self._data = rest
            self._shake_hands(head)
        while len(self._data) >= 6 and len(self._data) >= 6 + (self._data[1] & 127):
            size, mask = self._data[1] & 127, self._data[2:6]
            payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(self._data[6 : 6 + size]))
            kind, self._data = self._data[0] & 15, self._data[6 + size :]
            if kind == 9:
                self._transport.write(bytes([0x8A, size]) + payload)
            if kind == 8:
                self._transport.write(bytes([0x88, size]) + payload)
                self._transport.close()

    def _shake_hands(self, head: bytes) -> None:
        rows = [row.partition(b":") for row in head.split(b"\r\n")[1:]]
        fields = {key.strip().lower(): value.strip() for key, _, value in rows}
        if fields.get(b"upgrade", b"").lower() != b"websocket":
            self._transport.write(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
            return
        digest = hashlib.sha1(fields[b"sec-websocket-key"] + _GUID).digest()  # noqa: S324 - RFC 6455
        rows_out = [b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade"]
        rows_out += [b"Upgrade: websocket", b"Sec-WebSocket-Accept: " + base64.b64encode(digest)]
        self._transport.write(b"\r\n".join([*rows_out, b"", b""]))
        self._is_open = True
        self._ping_later()

    def _ping_later(self) -> None:
        if self.every_s:
            asyncio.get_running_loop().call_later(self.every_s, self._ping)

    def _ping(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"\x89\x00")
            self._ping_later()


async def main() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    Client.every_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Client, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
