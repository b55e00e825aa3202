"""Run an `Http2Probe`: a WebSocket over HTTP/2, as browsers open it if it is announced.

`facts` of the attempt record the progress: ``offered`` if HTTP/2 was negotiated, ``announced`` if
the peer's settings allow WebSockets, ``foreign`` for the status that a foreign Origin got.
"""

from __future__ import annotations

import contextlib
import time

from websockets.protocol import Protocol, Side, State

from deployer.model import HandshakeResult
from deployer.verify.net.access import Access, translate_errors, translate_tls_errors
from deployer.verify.net.http2 import Headers, Http2, Http2Stream
from deployer.verify.net.redact import format_header, without_secrets
from deployer.verify.net.tls import TlsStream, client_context
from deployer.verify.net.websocket import MESSAGE_LIMIT_BYTES, WebSocket
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.handshake import POLITE_CLOSE_CODES, exchange
from deployer.verify.probe.spec import Http2Probe

# Connection-specific headers, forbidden in HTTP/2: RFC 9113, section 8.2.2.
_CONNECTION_HEADERS = frozenset(
    {"connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)


def attempt_http2(probe: Http2Probe, access: Access) -> Attempt:
    """Run `probe`. Raises: only if the connection to the host itself is lost."""
    began = time.monotonic()
    tries = _Tries(probe, access)
    failure: Failure | None = None
    try:
        tries.all()
    except Failure as error:
        failure = error
    answered = tries.answered
    answer = HandshakeResult(
        uri=without_secrets(probe.uri),
        hop=probe.hop,
        status_code=answered.status_code if answered else None,
        headers=answered.headers if answered else (),
        timings_s=tries.timings_s,
        error=failure.words if failure else None,
    )
    response = ""
    if answered is not None and answered.status_code is not None:
        fields = [format_header(name, value) for name, value in answered.headers]
        response = "\n".join([f"HTTP/2 {answered.status_code}", *fields])[:4096]
    return Attempt(
        answer=answer,
        failure=failure,
        seconds=time.monotonic() - began,
        facts=tries.facts,
        request="\n".join(
            format_header(name, value, hidden=probe.hidden) for name, value in tries.request(None)
        ),
        response=response,
    )


class _Tries:
    def __init__(self, probe: Http2Probe, access: Access) -> None:
        self._probe = probe
        self._access = access
        self.timings_s: dict[str, float] = {}
        self.facts: dict[str, str] = {}
        self.answered: Http2Stream | None = None

    def all(self) -> None:
        """Make all requests on one connection. Raises: `Failure`."""
        began = time.monotonic()
        deadline = self._access.step()
        stream = self._access.open_stream(self._probe.endpoint, deadline)
        try:
            self.timings_s["connect"] = time.monotonic() - began
            began = time.monotonic()
            protocols, identity = ("h2", "http/1.1"), self._probe.endpoint.identity
            context = client_context(verified=False, protocols=protocols, identity=identity)
            secured = TlsStream(stream, context, server_name=self._probe.server_name)
            with translate_tls_errors(self._access.timeout_s):
                secured.handshake(deadline)
            self.timings_s["tls"] = time.monotonic() - began
            if secured.tls.selected_alpn_protocol() != "h2":
                return
            self.facts["offered"] = "yes"
            connection = Http2(secured)
            with translate_errors("HTTP/2's settings", self._access.timeout_s):
                connection.start(self._access.step())
            if connection.announces_websockets:
                self.facts["announced"] = "yes"
                self._own(connection)
                self._foreign(connection)
        finally:
            with contextlib.suppress(OSError, EOFError):
                stream.close()

    def request(self, origin: str | None) -> Headers:
        """Return the fields of RFC 8441, section 5; without `origin`, the probe's own is kept."""
        probe = self._probe
        lowered = ((name.lower(), value) for name, value in probe.headers)
        kept = tuple(field for field in lowered if field[0] not in _CONNECTION_HEADERS)
        if origin is not None:
            kept = (*(field for field in kept if field[0] != "origin"), ("origin", origin))
        return (
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", probe.target),
            (":authority", probe.authority),
            ("sec-websocket-version", "13"),
            *kept,
        )

    def _own(self, connection: Http2) -> None:
        asked = time.monotonic()
        with translate_errors("a CONNECT", self._access.timeout_s):
            stream = connection.connect(self.request(None), self._access.step())
        self.answered = stream
        self.timings_s["upgrade"] = time.monotonic() - asked
        if stream.status_code is None:
            raise Failure("h2-reset", f"{stream.end_words} instead of an answer to CONNECT")
        if not 200 <= stream.status_code < 300:
            raise Failure("status", f"answered {stream.status_code} to CONNECT")
        websocket = WebSocket(
            stream, Protocol(Side.CLIENT, state=State.OPEN, max_size=MESSAGE_LIMIT_BYTES)
        )
        try:
            exchange(websocket, self._probe, self._access)
            with translate_errors("a ping", self._access.timeout_s):
                self.timings_s["ping"] = websocket.ping(self._access.step())
        except Failure as failure:
            if self._probe.expect is not None or failure.close_code not in POLITE_CLOSE_CODES:
                raise
            return
        websocket.close(self._access.until)

    def _foreign(self, connection: Http2) -> None:
        """Try a foreign Origin, because the proxy's rules may only match headers of HTTP/1.1."""
        if self._probe.foreign_origin is None:
            return
        with contextlib.suppress(Failure, OSError):
            request = self.request(self._probe.foreign_origin)
            stream = connection.connect(request, self._access.step())
            self.facts["foreign"] = str(stream.status_code or stream.end_words)
