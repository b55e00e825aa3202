"""Check from this machine whether a CA's HTTP-01 validation would reach the host.

A CA connects to port 80 of every address of a name, and follows redirects (RFC 8555, section 8.3).
The host itself cannot check this, because it does not see what outsiders see.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from dataclasses import dataclass
from threading import Event
from urllib.parse import SplitResult, urljoin, urlsplit

from deployer.verify.net.http1 import Head, read_body, read_head, request
from deployer.verify.net.stream import Deadline, Stream, send
from deployer.verify.net.tls import TlsStream, client_context
from deployer.verify.probe.attempt import Failure, printable

_TIMEOUT_S = 8.0
_MOST_REDIRECTS = 5
_UNREACHABLE = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL))
_NO_ROUTE = "this machine has no route to it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Http01Challenge:
    """A text that each of `names` must serve at `path`."""

    names: tuple[str, ...]
    path: str
    expect: str


def http01_problem(
    challenge: Http01Challenge,
    *,
    host_address: str,
    is_public: bool,
    patience_s: float,
    cancelled: Event | None = None,
) -> str:
    """Return why a CA would not find the text; empty if it would.

    A name that does not resolve here is an error if the CA `is_public`. Any other CA may have its
    own DNS, and then the request goes to `host_address`. Failures are retried for `patience_s`,
    because a proxy was just reloaded.
    """
    until = time.monotonic() + patience_s
    for name in challenge.names:
        while True:
            problem = _look(name, challenge, host_address=host_address, is_public=is_public)
            is_over = time.monotonic() > until or (cancelled is not None and cancelled.wait(0.3))
            if not problem:
                break
            if is_over:
                return problem
    return ""


def _look(name: str, challenge: Http01Challenge, *, host_address: str, is_public: bool) -> str:
    addresses = _addresses(name)
    if not addresses and is_public:
        return (
            f"{name} does not resolve: point its A or AAAA record at this host first; the CA "
            "looks it up in the same way"
        )
    problems = []
    for address in addresses or [host_address]:
        problem = _ask(name, address, challenge)
        if problem and not (problem == _NO_ROUTE and len(addresses) > 1):
            known = f"{name} resolves to {address}" if addresses else f"{name} at {address}"
            problems.append(f"{known}, but {problem}")
    return "; ".join(problems)


def _addresses(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _ask(name: str, address: str, challenge: Http01Challenge) -> str:
    """Return what is wrong with the response for `name` at `address`; empty if nothing is."""
    url, at = f"http://{_bracketed(name)}{challenge.path}", address
    for _ in range(_MOST_REDIRECTS):
        parts = urlsplit(url)
        try:
            head, body = _get(parts, at)
        except (OSError, Failure) as error:
            return _why(error, parts.port or (443 if parts.scheme == "https" else 80))
        location = "".join(head.values("Location")[:1])
        if head.status_code in (301, 302, 303, 307, 308) and location:
            try:
                url = urljoin(url, location)
                parts = urlsplit(url)
                is_followed = parts.scheme in ("http", "https") and parts.port != 0
            except ValueError:  # an invalid port or address
                is_followed = False
            if not is_followed:
                return f"it redirects to {printable(location, limit=100)}, which no CA follows"
            target = parts.hostname or name
            at = address if target == name else target
            continue
        if head.status_code == 200 and body.strip() == challenge.expect.encode():
            return ""
        server = "".join(head.values("Server")[:1])
        by = f" by {printable(server, limit=40)}" if server else ""
        return (
            f"a different server answers there (status {head.status_code}{by}): its DNS record "
            "does not point to this host, or something in front of the host does not forward "
            "/.well-known/acme-challenge/"
        )
    return "it redirects endlessly"


def _get(parts: SplitResult, address: str) -> tuple[Head, bytes]:
    """Return the response's head and the beginning of its body, within one time limit.

    Raises: OSError, `Failure`.
    """
    deadline = Deadline(_TIMEOUT_S)
    is_https = parts.scheme == "https"
    port = parts.port or (443 if is_https else 80)
    line: Stream = socket.create_connection((address, port), timeout=_TIMEOUT_S)
    try:
        if is_https:  # a CA does not verify the certificate either
            context = client_context(verified=False)
            secured = TlsStream(line, context, server_name=parts.hostname)
            secured.handshake(deadline)
            line = secured
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = (("Host", parts.netloc.rpartition("@")[2]), ("Connection", "close"))
        send(line, request(target, headers), deadline)
        head = read_head(line, deadline)
        return head, read_body(line, head, deadline)
    finally:
        line.close()


def _why(error: Exception, port: int) -> str:
    open_it = f"open port {port} to the world, because the CA connects there"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on its port {port}, or a firewall rejects connections; {open_it}"
    if isinstance(error, TimeoutError):
        return f"its port {port} does not answer within {_TIMEOUT_S:g} s; {open_it}"
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return _NO_ROUTE
    reason = f"it {error}" if isinstance(error, Failure) else str(error)
    return f"its port {port} does not answer like a web server: {reason}"


def _bracketed(name: str) -> str:
    try:
        return f"[{name}]" if ipaddress.ip_address(name).version == 6 else name
    except ValueError:
        return name
