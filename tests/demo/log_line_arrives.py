"""Opens the real-time report's WebSocket, lets a line be logged on the host, and waits for its message.

GoAccess sends its whole state as JSON when a client connects, and again when new lines were read. The
line is made as any visitor makes one: by a request for a path that nobody has asked for before.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import ssl
import time

from websockets.sync.client import connect

DOMAIN = "stats.example.com"
TIME_LIMIT_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True, help="address of the host")
    parser.add_argument("--ca", required=True, help="root certificate of the internal CA")
    arguments = parser.parse_args()
    trust = ssl.create_default_context(cafile=arguments.ca)
    line = socket.create_connection((arguments.host, 443), timeout=TIME_LIMIT_S)
    with connect(
        f"wss://{DOMAIN}/ws", sock=line, ssl=trust, origin=f"https://{DOMAIN}", max_size=None
    ) as websocket:
        before = requests_of(websocket.recv(TIME_LIMIT_S))
        print(f"connected to wss://{DOMAIN}/ws: GoAccess has counted {before} requests")
        path = f"/hello-{secrets.token_hex(4)}"
        request(arguments.host, trust, path)
        print(f"asked for {path}, which nginx logs")
        deadline = time.monotonic() + TIME_LIMIT_S
        while True:
            message = websocket.recv(deadline - time.monotonic())
            if path in str(message):
                print(f"its message arrived: {requests_of(message)} requests, {path} among them")
                return


def requests_of(message: str | bytes) -> int:
    """The number of requests that a message of GoAccess counts."""
    return int(json.loads(message)["general"]["total_requests"])


def request(host: str, trust: ssl.SSLContext, path: str) -> None:
    """One plain GET, which ends up in the access log."""
    with (
        socket.create_connection((host, 443), timeout=TIME_LIMIT_S) as line,
        trust.wrap_socket(line, server_hostname=DOMAIN) as tls,
    ):
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n".encode())
        while tls.recv(65536):
            pass


main()
