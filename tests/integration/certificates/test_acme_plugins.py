"""Orders on the controller with a DNS plugin, and renewals that the CA asks for."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from deployer.certificates.acme.store import lineage_of
from tests.integration.certificates.test_acme_on_controller import PLUGIN, issuer, unwanted
from tests.support.certificates.pebble import Pebble, Responder

ENTRY_POINTS = "[certbot.plugins]\ndns-challtest = challtest:Authenticator\n"


def test_a_wildcard_by_a_dns_plugin(
    pebble: Pebble, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    about = installed / "certbot_dns_challtest-1.dist-info"
    about.mkdir(parents=True)
    (installed / "challtest.py").write_text(PLUGIN)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: certbot-dns-challtest\nVersion: 1\n"
    )
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setenv("PYTHONPATH", str(installed))
    credentials = tmp_path / "dns.ini"
    credentials.touch(mode=0o600)
    credentials.write_text(f"dns_challtest_api = {pebble.dns_api}\n")

    dns = {"plugin": "challtest", "credentials": str(credentials), "propagation_s": 0}
    names = ("*.wild.example.com", "wild.example.com")
    settings = pebble.settings(*names, challenge="dns-01", dns=dns)
    pair = issuer(folder).obtain(settings, answer=unwanted)
    assert set(pair.leaf.names) == set(names)
    assert issuer(folder).kept(settings) == pair
    assert (folder / f"{lineage_of(settings)}.pem").name.startswith("wildcard.wild.example.com-")


def test_a_ca_that_wants_a_certificate_replaced_sooner_is_heard(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    settings = pebble.settings("sooner.example.com", ari=True)
    pair = issuer(folder).obtain(settings, answer=responder.answer)
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            start, end = "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"
            document: dict[str, Any] = {"suggestedWindow": {"start": start, "end": end}}
            if self.path == "/dir":
                document = {"newOrder": "x", "renewalInfo": f"https://{self.headers['Host']}/ari"}
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            pebble.bundle.with_name("server.pem"), pebble.bundle.with_name("server.key")
        )
        server.socket = context.wrap_socket(server.socket, server_side=True)
        # This one replaces a CA with renewal information; Debian's Pebble has none.
        other = {**settings, "directory": f"https://127.0.0.1:{server.server_address[1]}/dir"}
        kept = folder / f"{lineage_of(settings)}.pem"
        kept.rename(folder / f"{lineage_of(other)}.pem")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            assert issuer(folder).kept(other) is not None
            issuer(folder).ask_window({**other, "ari": False})
            assert asked == []
            for _ in range(2):  # the CA has said when it may be asked again
                issuer(folder).ask_window(other)
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/dir", f"/ari/{pair.leaf.ari_id}"]
    assert issuer(folder).kept(other) is None
    # Pebble itself says nothing, and that changes nothing.
    issuer(folder).ask_window(settings)
    assert issuer(folder).kept(settings) is not None
