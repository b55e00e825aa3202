"""Shows that the real-time report works: a line in the log arrives in a WebSocket client.

GoAccess sends its whole state as JSON when a client connects, and again when new lines were read.
The line is made as any visitor makes one: by a request for a path that was never requested before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import ssl

from websockets.asyncio.client import connect

DOMAIN = "stats.example.com"
TIME_LIMIT_S = 20.0


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True, help="address of the host")
    parser.add_argument("--ca", required=True, help="root certificate of the internal CA")
    arguments = parser.parse_args()
    trust = ssl.create_default_context(cafile=arguments.ca)
    async with (
        asyncio.timeout(TIME_LIMIT_S),
        connect(
            f"wss://{DOMAIN}/ws",
            host=arguments.host,
            ssl=trust,
            server_hostname=DOMAIN,
            origin=f"https://{DOMAIN}",  # type: ignore[arg-type] - a NewType of str
            max_size=None,
        ) as websocket,
    ):
        before = requests_of(await websocket.recv())
        print(f"connected to wss://{DOMAIN}/ws: GoAccess has counted {before} requests")
        path = f"/hello-{secrets.token_hex(4)}"
        await request(arguments.host, trust, path)
        print(f"asked for {path}, which nginx logs")
        async for message in websocket:
            if path in str(message):
                print(f"its message arrived: {requests_of(message)} requests, {path} among them")
                return


def requests_of(message: str | bytes) -> int:
    """The number of requests that a message of GoAccess counts."""
    return int(json.loads(message)["general"]["total_requests"])


async def request(host: str, trust: ssl.SSLContext, path: str) -> None:
    """One plain GET, which ends up in the access log."""
    reader, writer = await asyncio.open_connection(host, 443, ssl=trust, server_hostname=DOMAIN)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()


asyncio.run(main())
