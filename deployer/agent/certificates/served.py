"""The certificate that the proxy on this host serves, by a TLS handshake on loopback."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time

from deployer.agent.certificates.x509 import Certificate, Unreadable

_TIMEOUT_S = 5.0
#: How long a proxy may still answer with its former workers after a reload.
PATIENCE_S = 10.0


class NotServed(Exception):  # noqa: N818 - a finding
    """The TLS handshake failed; the text has the reason."""


#: Source: The PROXY protocol, 2.1: a client on the host itself.
_PROXY_LINE = b"PROXY TCP4 127.0.0.1 127.0.0.1 1024 443\r\n"


def served_certificate(domain: str, *, port: int = 443) -> Certificate:
    """The certificate that a client of `domain` gets here; it is not verified.

    A port behind a balancer may expect each connection to begin with a PROXY line.

    Raises:
        NotServed: there is none.
    """
    try:
        return _certificate(domain, port)
    except NotServed as first:
        try:
            return _certificate(domain, port, begin=_PROXY_LINE)
        except NotServed:
            raise first from None


def _certificate(domain: str, port: int, *, begin: bytes = b"") -> Certificate:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        line = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
        with line:
            line.sendall(begin)
            with context.wrap_socket(line, server_hostname=_server_name(domain)) as tls:
                return Certificate(tls.getpeercert(binary_form=True) or b"")
    except ConnectionRefusedError:
        raise NotServed(f"nothing listens on port {port}") from None
    except socket.timeout:  # noqa: UP041 - not the same before Python 3.10
        raise NotServed(f"no TLS handshake within {_TIMEOUT_S:g} s") from None
    except (OSError, Unreadable) as error:
        raise NotServed(f"the TLS handshake failed: {error}") from None


def wait_until_served(domain: str, serial: str, *, port: int = 443) -> str:
    """Wait until the proxy serves the certificate `serial`; returns the problem, if any."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = served_certificate(domain, port=port).serial
            problem = "" if found == serial else f"the proxy still serves {found}"
        except NotServed as error:
            problem = str(error)
        if not problem or time.monotonic() > deadline:
            return problem
        time.sleep(0.1)


def _server_name(domain: str) -> str | None:
    """The server name of a client: a label for a wildcard, nothing for an address (RFC 6066)."""
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return domain.replace("*", "deployer-check", 1)
    return None
