"""TLS over a `Stream`, through memory buffers, and what its failures mean."""

from __future__ import annotations

import ssl
import time

from deployer.verify.net.stream import Deadline, Stream, receive, send
from deployer.verify.probe.attempt import Failure

# RFC 8446, section 5.1: every record begins with its type, 20 to 24, and the version 3.x.
_RECORD_TYPES = range(20, 25)


def client_context(
    *,
    roots_pem: bytes | None = None,
    verified: bool,
    protocols: tuple[str, ...] = ("http/1.1",),
) -> ssl.SSLContext:
    """A client's settings: TLS 1.2 at least, the roots that are trusted, and what it speaks.

    `roots_pem` is `None` for this system's trust store. Not `verified`, any certificate does.
    `protocols` are offered by ALPN (RFC 7301).

    Raises: `Failure` where `roots_pem` holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A WebSocket handshake is HTTP/1.1; some proxies choose HTTP/2 for those who do not say so.
    context.set_alpn_protocols(list(protocols))
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif roots_pem is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cadata=roots_pem.decode("ascii"))
            # An intermediate that is trusted is the end of the chain, as in a client's own store.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        except (ssl.SSLError, ValueError) as error:
            words = "cannot be judged: the issuer's root certificate is not readable as PEM"
            raise Failure("tls-roots", words, evidence=str(error)) from error
    return context


class TlsStream:
    """A TLS client over another stream, itself a `Stream`."""

    def __init__(self, stream: Stream, context: ssl.SSLContext, *, server_name: str | None) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._timeout_s = 10.0
        self._first_bytes = b""
        self._received_bytes = 0
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def handshake(self, deadline: Deadline) -> None:
        """Negotiate. Raises: `Failure`, ssl.SSLCertVerificationError, TimeoutError, OSError."""
        began = time.monotonic()
        try:
            self._handshake(deadline)
        except TimeoutError as error:
            if not self._received_bytes:
                raise
            raise self._stalled(time.monotonic() - began) from error

    def _handshake(self, deadline: Deadline) -> None:
        while True:
            try:
                self.tls.do_handshake()
                self._flush(deadline)
                return
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._fill(deadline)
            except ssl.SSLCertVerificationError:
                self._farewell(deadline)
                raise
            except ssl.SSLError as error:
                raise self._explained(error) from error

    def sendall(self, data: bytes, /) -> None:
        """Encrypt and send all of `data`."""
        self.tls.write(data)
        self._flush(Deadline(self._timeout_s))

    def recv(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end, announced (RFC 8446, section 6.1) or not."""
        deadline = Deadline(self._timeout_s)
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._fill(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def settimeout(self, seconds: float | None, /) -> None:
        """Limit each later call, however many records it takes, to `seconds`."""
        self._timeout_s = 10.0 if seconds is None else seconds

    def close(self) -> None:
        """Close the stream beneath, without a closing alert: the peer has had its Close frame."""
        self._stream.close()

    def _flush(self, deadline: Deadline) -> None:
        data = self._outgoing.read()
        if data:
            send(self._stream, data, deadline)

    def _fill(self, deadline: Deadline) -> None:
        data = receive(self._stream, deadline)
        self._received_bytes += len(data)
        if len(self._first_bytes) < 2:
            self._first_bytes = (self._first_bytes + data)[:2]
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _farewell(self, deadline: Deadline) -> None:
        """Send the alert that says why we leave, so that the proxy's log says it too."""
        try:
            self._flush(deadline)
        except (OSError, TimeoutError):
            return  # it has left before us

    def _stalled(self, seconds: float) -> Failure:
        if not is_tls(self._first_bytes):
            return Failure("no-tls", "answered the TLS handshake with something that is not TLS")
        came = f"{self._received_bytes:,} byte{'s' * (self._received_bytes != 1)} of it came"
        words = f"did not finish the TLS handshake within {seconds:.3g} s: {came}"
        return Failure("tls-stalled", words, seconds=seconds)

    def _explained(self, error: ssl.SSLError) -> Failure:
        first = self._first_bytes
        if first and not is_tls(first):
            return Failure("no-tls", "answered the TLS handshake with something that is not TLS")
        if isinstance(error, ssl.SSLEOFError):
            return Failure("tls-closed", "closed the connection during the TLS handshake")
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return Failure("tls-failed", f"ended the TLS handshake: {reason}", evidence=str(error))


def is_tls(data: bytes) -> bool:
    """Whether `data` begins as a TLS record does; one byte is enough to say no."""
    return data[0] in _RECORD_TYPES and data[1:2] in (b"", b"\x03")
