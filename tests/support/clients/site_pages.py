"""Plain HTTP requests to a site on a rehearsal host, over its real address."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deployer.lab.host import LabHost


@dataclass(frozen=True, slots=True)
class Page:
    """An answer; `location` is where it leads to, if anywhere."""

    status: int
    location: str
    text: str


def page(
    host: LabHost,
    url: str,
    *,
    root_pem: Path,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Page:
    """What `host` answers to GET `url`, or a POST of `body`, whatever DNS says of the name."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    line = socket.create_connection((host.address, 443 if parts.scheme == "https" else 80), 10.0)
    if parts.scheme == "https":
        trust = ssl.create_default_context(cafile=root_pem)
        line = trust.wrap_socket(line, server_hostname=name)
    connection = http.client.HTTPConnection(name)
    connection.sock = line
    with line:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        method = "GET" if body is None else "POST"
        connection.request(method, target, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Page(answer.status, answer.headers.get("Location", ""), answer.read().decode())
