"""TLS over a `Stream`, through memory buffers, and the meaning of its failures."""

from __future__ import annotations

import ssl
import time

from deployer.verify.net.stream import Deadline, Stream, receive, send
from deployer.verify.probe.attempt import Failure
from deployer.verify.probe.spec import Identity

# RFC 8446, section 5.1: every record begins with its type, 20 to 24, and the version 3.x.
_RECORD_TYPES = range(20, 25)


def client_context(
    *,
    roots_pem: bytes | None = None,
    verified: bool,
    protocols: tuple[str, ...] = ("http/1.1",),
    identity: Identity | None = None,
) -> ssl.SSLContext:
    """Return a client context: TLS 1.2 or newer, trusted roots, and the protocols offered by ALPN.

    `roots_pem` is `None` for this system's trust store. Without `verified`, any certificate is
    accepted. ALPN is RFC 7301. A server that asks for it gets the certificate of `identity`.

    Raises: `Failure` if `roots_pem` contains no certificate, or `identity` cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A WebSocket handshake is HTTP/1.1; some proxies choose HTTP/2 for clients without ALPN.
    context.set_alpn_protocols(list(protocols))
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif roots_pem is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cadata=roots_pem.decode("ascii"))
            # A trusted intermediate ends the chain, as in a client's own store.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        except (ssl.SSLError, ValueError) as error:
            words = "cannot be verified: the issuer's root certificate is not valid PEM"
            raise Failure("tls-roots", words, evidence=str(error)) from error
    if identity is not None:
        try:
            context.load_cert_chain(identity.certificate, identity.key, lambda: b"")
        except (ssl.SSLError, OSError, ValueError) as error:
            words = f"is not asked: {identity.certificate}, the certificate for checks, is unusable"
            raise Failure("tls-failed", words, evidence=str(error)) from error
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
        """Negotiate TLS. Raises: `Failure`, ssl.SSLCertVerificationError, TimeoutError, OSError."""
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
                self._send_alert(deadline)
                raise
            except ssl.SSLError as error:
                raise self._failure_of(error) from error

    def sendall(self, data: bytes, /) -> None:
        """Encrypt and send all of `data`."""
        self.tls.write(data)
        self._flush(Deadline(self._timeout_s))

    def recv(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end, announced (RFC 8446, 6.1) or not."""
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
        """Close the stream underneath, without an alert: the peer already has its Close frame."""
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

    def _send_alert(self, deadline: Deadline) -> None:
        """Send the alert with the reason, so that the proxy logs it."""
        try:
            self._flush(deadline)
        except (OSError, TimeoutError):
            return  # the peer has already closed

    def _stalled(self, seconds: float) -> Failure:
        if not is_tls(self._first_bytes):
            return Failure("no-tls", "answered the TLS handshake with something that is not TLS")
        came = f"{self._received_bytes:,} byte{'s' * (self._received_bytes != 1)} received"
        words = f"did not finish the TLS handshake within {seconds:.3g} s: {came}"
        return Failure("tls-stalled", words, seconds=seconds)

    def _failure_of(self, error: ssl.SSLError) -> Failure:
        first = self._first_bytes
        if first and not is_tls(first):
            return Failure("no-tls", "answered the TLS handshake with something that is not TLS")
        if isinstance(error, ssl.SSLEOFError):
            return Failure("tls-closed", "closed the connection during the TLS handshake")
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return Failure("tls-failed", f"ended the TLS handshake: {reason}", evidence=str(error))


def is_tls(data: bytes) -> bool:
    """Whether `data` begins like a TLS record; one byte is enough to say no."""
    return data[0] in _RECORD_TYPES and data[1:2] in (b"", b"\x03")
