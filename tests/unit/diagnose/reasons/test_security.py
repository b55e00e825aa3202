"""Security findings of a working server, with the whole command."""

from __future__ import annotations

import datetime
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.cli.main import run
from tests.support.certificates.pki import authority, issued, server_context
from tests.support.servers.http2 import Http2Front
from tests.support.servers.scripted import Front, Peer, Server, websocket_service

NAME = "stats.example.com"
SOON = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)


@pytest.fixture(scope="module")
def healthy() -> Iterator[int]:
    with websocket_service() as port:
        yield port


def versioned(peer: Peer) -> None:
    """Like a proxy that discloses its version, except in handshakes."""
    peer.answer("404 Not Found", "Server: nginx/1.22.1")


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({}, set()),
        ({"announces": False}, set()),
        ({"status": 502}, {"h2-websocket"}),
        ({"discloses": True}, {"version-banner"}),
        ({"ends": SOON}, {"tls-expires-soon"}),
        ({"old": True}, {"tls-old-version"}),
    ],
    ids=["no fault", "only HTTP/2", "fails over HTTP/2", "version", "two days left", "old TLS"],
)
def test_what_is_found(
    settings: dict[str, Any],
    codes: set[str],
    healthy: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    leaf = issued(NAME, by=authority("Root"), ends=settings.pop("ends", None))
    context = server_context(tmp_path, leaf)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if settings.pop("old", False):
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="deprecated"):
            context.minimum_version = ssl.TLSVersion.TLSv1
    discloses = settings.pop("discloses", False)
    (tmp_path / "root.pem").write_bytes(authority("Root").pem)
    own: list[str] = []
    fine = Front(backend_port=healthy, origins=())

    def http1(peer: Peer) -> None:
        fine.origins = tuple(own)
        (versioned if discloses and peer.header("Upgrade") is None else fine)(peer)

    front = Http2Front(http1=http1, origin="", checks_origin=False, **settings)
    with Server(front, tls=context, reads_head=False) as server:
        own.append(f"https://{NAME}:{server.port}")
        command = ["diagnose", f"wss://{NAME}:{server.port}/ws", "--json", "--timeout", "3"]
        command += ["--resolve", f"{NAME}:{server.port}:127.0.0.1"]
        code = run([*command, "--ca-bundle", str(tmp_path / "root.pem")])
    document = json.loads(capsys.readouterr().out)
    found = {finding["code"] for finding in document["findings"] if finding["severity"] != "note"}
    assert found == codes
    assert code == (3 if "h2-websocket" in codes else 0)
