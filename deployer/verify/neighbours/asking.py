"""Make requests to the names that a host's proxies serve, all at the same time."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployer.errors import DeployerError
from deployer.proxies import PROXIES
from deployer.verify.neighbours.model import NeighbourAnswer, NeighbourRequest
from deployer.verify.net.access import Access, translate_errors
from deployer.verify.net.http1 import Head, read_body, read_head, request
from deployer.verify.net.stream import Cancelled, Stream, send
from deployer.verify.net.tls import TlsStream
from deployer.verify.planned.probes import USER_AGENT
from deployer.verify.probe.attempt import Failure, printable
from deployer.verify.probe.spec import Endpoint

if TYPE_CHECKING:
    from deployer.proxies import ProxyServer
    from deployer.verify.net.http1 import Headers

_WORKERS = 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: A masked Close frame without a code (RFC 6455, section 5.5.1).
_CLOSE_FRAME = b"\x88\x80\0\0\0\0"
_KEY = "ZGVwbG95ZXItbmVpZ2hib3Vy"  # sixteen bytes in base64; the answer to it is not checked


def ask_all(requests: Sequence[NeighbourRequest], access: Access) -> list[NeighbourAnswer | None]:
    """The answers, in order; `None` for requests that the time limit of `access` did not allow.

    Raises: `DeployerError` if the connection to the host is lost, `Cancelled`.
    """
    if not requests:
        return []
    with ThreadPoolExecutor(min(_WORKERS, len(requests)), thread_name_prefix="neighbour") as pool:
        return list(pool.map(lambda each: _ask(each, access), requests))


def _ask(asked: NeighbourRequest, access: Access) -> NeighbourAnswer | None:
    if access.until.is_cancelled():
        raise Cancelled
    if access.until.has_passed():
        return None
    try:
        return _answer(asked, access)
    except Failure as failure:
        if access.until.has_passed():
            return None
        return NeighbourAnswer(failure=failure.words, is_late=failure.code == "timeout")
    except (DeployerError, Cancelled):
        raise
    except Exception as error:  # between apply and confirm, no peer may cause a crash
        return NeighbourAnswer(failure=f"could not be asked: {type(error).__name__}")


def _answer(asked: NeighbourRequest, access: Access) -> NeighbourAnswer:
    served = asked.served
    endpoint = Endpoint(
        host=served.address,
        port=served.port,
        socket=served.socket,
        tls=served.tls,
        proxy_line=served.wants_proxy_line,
    )
    server_name = served.asked or None
    with access.connect(endpoint, server_name=server_name, timings_s={}) as stream:
        names = _certificate_names(stream)
        is_for_name = _covers(names, served.asked or served.address)
        if asked.kind == "connection":
            return NeighbourAnswer(certificate=names, is_for_name=is_for_name)
        deadline = access.step()
        with translate_errors("the request", access.timeout_s):
            send(stream, request(asked.path, _headers(asked)), deadline)
            head = read_head(stream, deadline)
            body = b"" if head.status_code == 101 else read_body(stream, head, deadline)
            if head.status_code == 101:
                with contextlib.suppress(OSError):
                    send(stream, _CLOSE_FRAME, deadline)
    return NeighbourAnswer(
        status=head.status_code,
        redirect=_redirect(head),
        certificate=names,
        is_for_name=is_for_name,
        body=hashlib.sha256(body).hexdigest() if body else "",
        is_stock=any(_has_stock_page(each, body) for each in PROXIES.values()),
        is_proxys=any(each.traits.own_page.search(body) for each in PROXIES.values()),
    )


def _has_stock_page(proxy: ProxyServer, body: bytes) -> bool:
    pattern = proxy.traits.stock_page
    return pattern is not None and pattern.search(body) is not None


def _headers(asked: NeighbourRequest) -> Headers:
    served = asked.served
    host = served.asked or served.address or "localhost"
    host = f"[{host}]" if ":" in host else host
    usual = 443 if served.tls else 80
    host += f":{served.port}" if served.port not in (0, usual) else ""
    common = (("Host", host), USER_AGENT)
    if asked.kind == "page":
        return (*common, ("Accept", "*/*"), ("Connection", "close"))
    return (
        *common,
        ("Origin", f"{'https' if served.tls else 'http'}://{host}"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", _KEY),
    )


def _redirect(head: Head) -> str:
    """The target of a redirect; a query may hold a value that is new each time."""
    locations = head.values("Location")
    if head.status_code not in _REDIRECTS or not locations:
        return ""
    try:
        parts = urlsplit(locations[0])
    except ValueError:
        return printable(locations[0])
    place = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return printable(place + parts.path)


def _certificate_names(stream: Stream) -> tuple[str, ...]:
    """The names in the certificate of a TLS connection; its subject if there are none."""
    if not isinstance(stream, TlsStream):
        return ()
    from cryptography import x509

    try:
        leaf = x509.load_der_x509_certificate(stream.tls.getpeercert(binary_form=True) or b"")
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (leaf.subject.rfc4514_string(),)
    except ValueError:
        return ("an unreadable certificate",)
    names = (
        *extension.get_values_for_type(x509.DNSName),
        *map(str, extension.get_values_for_type(x509.IPAddress)),
    )
    return tuple(sorted(name.lower() for name in names))


def _covers(names: Sequence[str], asked: str) -> bool:
    """Whether a certificate with `names` is for `asked`; a wildcard is for one label."""
    for name in names:
        if name == asked.lower():
            return True
        if name.startswith("*.") and fnmatchcase(asked.lower(), name):
            return asked.count(".") == name.count(".")
    return False
