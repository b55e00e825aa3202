"""A WebSocket client to a site on a rehearsal host, over its real address, as browsers connect."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from deployer.lab.host import LabHost
from tests.support.clients.websocket import Client
from tests.support.waiting import PATIENCE_S


@contextmanager
def connected(
    host: LabHost,
    url: str,
    root_pem: Path,
    *,
    headers: Mapping[str, str] | None = None,
    origin: str = "",
    subprotocols: Sequence[str] = (),
) -> Iterator[Client]:
    """A connection as a page of the site opens it, or one of `origin`, without pings of its own."""
    name = urlsplit(url).hostname
    trust = ssl.create_default_context(cafile=root_pem)
    with (
        socket.create_connection((host.address, 443), timeout=PATIENCE_S) as line,
        trust.wrap_socket(line, server_hostname=name) as secure,
        Client(
            url,
            secure,
            origin=origin or f"https://{name}",
            subprotocols=subprotocols,
            additional_headers=headers,
        ) as client,
    ):
        yield client
