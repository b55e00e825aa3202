"""A WebSocket client to a site on a rehearsal host, over its real address, as browsers connect."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from deployer.lab.host import LabHost
from tests.support.waiting import PATIENCE_S


@contextmanager
def connected(
    host: LabHost,
    url: str,
    root_pem: Path,
    *,
    headers: Mapping[str, str] | None = None,
    origin: str = "",
) -> Iterator[ClientConnection]:
    """A connection as a page of the site opens it, or one of `origin`, without pings of its own."""
    name = urlsplit(url).hostname
    with connect(
        url,
        sock=socket.create_connection((host.address, 443), timeout=PATIENCE_S),
        ssl=ssl.create_default_context(cafile=root_pem),
        server_hostname=name,
        origin=Origin(origin or f"https://{name}"),
        additional_headers=headers,
        open_timeout=PATIENCE_S,
        ping_interval=None,
    ) as client:
        yield client
