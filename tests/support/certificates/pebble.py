"""Let's Encrypt's own test CA on this machine's loopback, as Debian packages it, with its DNS.

And `Responder`, which replaces the proxies of a site's hosts: its `answer` is what an
order is given.
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.waiting import PATIENCE_S

_STARTS_WITHIN_S = 120.0
_PREFIX = "/.well-known/acme-challenge/"


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listened on a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Responder:
    """Answers challenges on loopback, and remembers what was requested."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.asked: list[tuple[str, bool]] = []
        self.looked_at = 0
        responder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                responder.looked_at += 1
                text = responder.answers.get(self.path.removeprefix(_PREFIX), "")
                self.send_response(200 if text else 404)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def answer(self, token: str, key_authorization: str | None) -> None:
        """What all hosts of a site would do."""
        self.asked.append((token, key_authorization is not None))
        if key_authorization is None:
            self.answers.pop(token, None)
        else:
            self.answers[token] = key_authorization

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(kw_only=True)
class Pebble:
    """A CA that runs; `directory` is its URL, `bundle` a file with the root of its own TLS.

    `dns_api` sets the answers of the DNS that it asks.
    """

    directory: str
    dns_api: str
    bundle: Path
    log_file: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def orders(self) -> int:
        """How many orders were made of it."""
        return self.log_file.read_text().count("Added order ")

    def settings(self, *names: str, **others: Any) -> dict[str, Any]:
        """How a certificate of it is described."""
        return {
            "domain": names[0],
            "names": list(names),
            "issuer": "acme",
            "directory": self.directory,
            "ca_bundle": str(self.bundle),
            "email": None,
            "eab": None,
            "key_type": "ecdsa-p256",
            "profile": None,
            "ari": False,
            "challenge": "http-01",
            "dns": None,
            "limits": "none",
            **others,
        }

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(PATIENCE_S)


def start_pebble(
    folder: Path, *, http_port: int, eab: dict[str, str] | None = None, validity_s: int = 86400 * 90
) -> Pebble:
    """Start a CA whose files are in `folder`, and which looks for answers at `http_port`."""
    folder.mkdir(parents=True, exist_ok=True)
    directory, management, dns, dns_management = free_ports(4)
    _write_tls(folder)
    config: dict[str, Any] = {
        "listenAddress": f"127.0.0.1:{directory}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "server.pem"),
        "privateKey": str(folder / "server.key"),
        "httpPort": http_port,
        "tlsPort": 1,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": eab is not None,
        "externalAccountMACKeys": eab or {},
        "certificateValidityPeriod": validity_s,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    found = Pebble(
        directory=f"https://127.0.0.1:{directory}/dir",
        dns_api=f"http://127.0.0.1:{dns_management}",
        bundle=folder / "root.pem",
        log_file=folder / "log",
    )
    resolver = f"127.0.0.1:{dns}"
    quiet = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
    if dns_knows("-doh"):  # from 2.5 on
        quiet += ["-doh", ""]
    dns_argv = ["pebble-challtestsrv", "-dns01", resolver, "-defaultIPv4", "127.0.0.1", *quiet]
    dns_argv += ["-management", f"127.0.0.1:{dns_management}"]
    config_argv = ["-config", str(folder / "pebble.json"), "-dnsserver", resolver]
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    environment["PEBBLE_AUTHZREUSE"] = "0"
    try:
        for argv in (dns_argv, ["pebble", *config_argv]):
            with found.log_file.open("ab") as log:
                found.processes.append(
                    subprocess.Popen(
                        ["setpriv", "--pdeathsig=KILL", *argv],
                        env=environment,
                        stdout=log,
                        stderr=log,
                    )
                )
        _wait_for(found)
    except BaseException:
        found.stop()
        raise
    return found


def dns_knows(option: str) -> bool:
    """Whether the DNS of this machine's Pebble has an option; other versions refuse to start."""
    shown = subprocess.run(
        ["pebble-challtestsrv", "-h"], capture_output=True, text=True, timeout=10
    )
    return f"  {option} " in shown.stderr


def _wait_for(pebble: Pebble) -> None:
    context = ssl.create_default_context(cafile=pebble.bundle)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            opener.open(pebble.directory, timeout=PATIENCE_S).close()
        except OSError:
            if time.monotonic() > deadline or pebble.processes[-1].poll() is not None:
                raise AssertionError(pebble.log_file.read_text()) from None
            time.sleep(0.02)
        else:
            return


def _write_tls(folder: Path) -> None:
    """A root, and a certificate for 127.0.0.1 from it."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root for tests")])
    root = _signed(root_key, root_key, root_name, root_name, is_ca=True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble")])
    leaf = _signed(key, root_key, name, root_name, is_ca=False)
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.public_bytes(pem))
    (folder / "server.pem").write_bytes(leaf.public_bytes(pem))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "server.key").write_bytes(key.private_bytes(pem, form, plain))


def _signed(
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
    *,
    is_ca: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(signer_id, critical=False)
        .sign(signer, hashes.SHA256())
    )


@contextlib.contextmanager
def running(folder: Path, **options: Any) -> Iterator[tuple[Pebble, Responder]]:
    """A CA with a responder where it looks."""
    responder = Responder()
    try:
        pebble = start_pebble(folder, http_port=responder.port, **options)
        try:
            yield pebble, responder
        finally:
            pebble.stop()
    finally:
        responder.close()
