"""A WebSocket service that answers pings, and ends its connections when a test wants it."""

from __future__ import annotations

import threading

from tests.support.servers.scripted import Peer


class Service:
    """Answers pings until it is stopped."""

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.close_code: int | None = None
        self.is_mute = False
        self.farewells = 0

    def script(self, peer: Peer) -> None:
        peer.upgrade()
        peer.connection.settimeout(0.02)
        while not self.ending.is_set():
            try:
                data = peer.connection.recv(4096)
            except TimeoutError:
                continue
            if not data:
                return
            if data[0] == 0x88:
                self.farewells += 1
                peer.send(b"\x88\x00")
                return
            if data[0] == 0x89 and not self.is_mute:
                size, mask, masked = data[1] & 127, data[2:6], data[6:]
                payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked[:size]))
                peer.send(bytes([0x8A, size]) + payload)
        if self.close_code is not None:
            peer.send(b"\x88\x02" + self.close_code.to_bytes(2, "big"))
