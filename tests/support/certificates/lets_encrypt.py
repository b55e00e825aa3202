"""A stand-in for Let's Encrypt: two CAs behind its names, its staging and the real one.

A front on the lab's bridge answers on port 443 for both names, and passes what it is asked on to
the Pebble of that name. Hosts find it by their ``/etc/hosts``, and trust it as they trust others.
"""

from __future__ import annotations

import http.client
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.certificates.authority import Authority, authority
from tests.support.waiting import PATIENCE_S

REAL, STAGING = "acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org"


@dataclass(frozen=True, slots=True)
class LetsEncrypt:
    """Both CAs, and the root that signed the front's own certificate."""

    real: Authority
    staging: Authority

    def is_known_to(self, host: LabHost) -> None:
        """Have `host` find the front by the names, and trust it."""
        (host.root / "usr/local/share/ca-certificates/front.crt").write_bytes(
            self.real.bundle.read_bytes()
        )
        address = self.real.address
        host.sh(f"echo '{address} {REAL} {STAGING}' >> /etc/hosts; update-ca-certificates")


@contextmanager
def letsencrypt(lab: Lab, folder: Path) -> Iterator[LetsEncrypt]:
    """The stand-in, on the bridge of `lab`."""
    with ExitStack() as stack:
        real = stack.enter_context(authority(lab, folder / "real", names=(REAL, STAGING)))
        staging = stack.enter_context(authority(lab, folder / "staging", first_port=100))
        stack.enter_context(_front(real, {REAL: real, STAGING: staging}))
        yield LetsEncrypt(real=real, staging=staging)


@contextmanager
def _front(first: Authority, behind: dict[str, Authority]) -> Iterator[None]:
    """TLS with the certificate of `first`, and behind each name its authority."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size) if size else None
            target = behind[self.headers["Host"]]
            context = ssl.create_default_context(cafile=target.bundle)
            line = http.client.HTTPSConnection(
                target.address, target.port("acme"), context=context, timeout=PATIENCE_S
            )
            path = "/dir" if self.path == "/directory" else self.path
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            line.request(self.command, path, body, headers)
            answer = line.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name not in ("Content-Length", "Transfer-Encoding", "Connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            line.close()

        do_GET = do_POST = do_HEAD = pass_on  # noqa: N815 - as the base class has them

        def log_message(self, *words: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(first.folder / "directory.pem", first.folder / "directory.key")
    with http.server.ThreadingHTTPServer((first.address, 443), Handler) as httpd:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            httpd.shutdown()
