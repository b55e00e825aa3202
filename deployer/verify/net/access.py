"""Connect probes to their endpoints: dial, negotiate TLS, enforce the time limits."""

from __future__ import annotations

import contextlib
import errno
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from deployer.errors import DeployerError
from deployer.verify.net.stream import Deadline, Dial, Stream, send
from deployer.verify.net.tls import TlsStream, client_context
from deployer.verify.probe.attempt import DISTRUST, Failure, printable
from deployer.verify.probe.spec import Endpoint

#: This machine has no route to such an address: no IPv6, say.
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

#: Source: The PROXY protocol, 2.1. Not ``PROXY UNKNOWN``: Apache requires a longer line (2.4.71),
#: and HAProxy accepts no longer one (2.8).
_PROXY_LINE = "PROXY TCP4 127.0.0.1 127.0.0.1 1024 {port}\r\n"
#: The same in version 2 (2.2), without the ports: the signature, version and command, TCP over
#: IPv4, the length of what follows, and both addresses.
_BINARY_PROXY_LINE = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\x7f\0\0\1" * 2


def proxy_line(port: int, *, is_binary: bool = False) -> bytes:
    """Return the PROXY header of a client on the host itself that connects to `port`."""
    if is_binary:
        ports = (1024).to_bytes(2, "big") + (port or 80).to_bytes(2, "big")
        return _BINARY_PROXY_LINE + ports
    return _PROXY_LINE.format(port=port or 80).encode()


class Untrusted(Exception):  # noqa: N818 - may be a fact rather than an error
    """The certificate of a peer is not trusted."""

    def __init__(self, error: ssl.SSLCertVerificationError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How probes reach the host. `timeout_s` is for each step, `until` for all."""

    dial: Dial
    timeout_s: float
    until: Deadline
    roots_pem: bytes | None = None
    # Only the TLS check judges certificates. The other checks accept any, so that one bad
    # certificate is one finding and does not hide other errors.
    any_certificate: ssl.SSLContext = field(default_factory=lambda: client_context(verified=False))

    def step(self, seconds: float | None = None) -> Deadline:
        """Return the time limit of a step that starts now."""
        return Deadline(self.timeout_s if seconds is None else seconds, within=self.until)

    @contextlib.contextmanager
    def connect(
        self,
        endpoint: Endpoint,
        *,
        server_name: str | None,
        timings_s: dict[str, float],
        is_secret: bool = False,
        facts: dict[str, str] | None = None,
    ) -> Iterator[Stream]:
        """Yield a stream to `endpoint`, with TLS if the endpoint has it; close it at the end.

        If the request `is_secret`, only a trusted certificate is accepted. Puts `connect` and
        `tls` into `timings_s`, and into `facts` why the endpoint's certificate is not trusted, if
        it has to be. Raises: `Failure`.
        """
        identity = endpoint.identity
        accepting = self.any_certificate
        if identity is not None:
            accepting = client_context(verified=False, identity=identity)
        context = accepting
        if is_secret:
            context = client_context(roots_pem=self.roots_pem, verified=True, identity=identity)
        elif endpoint.trust is not None and facts is not None:
            context = client_context(roots_pem=endpoint.trust.roots_pem, verified=True)
        try:
            stream = self._open(endpoint, server_name, timings_s, context)
        except Untrusted as untrusted:
            if is_secret or facts is None:
                raise broken_tls(untrusted.error, "the TLS handshake") from untrusted
            facts[DISTRUST] = printable(untrusted.error.verify_message)
            stream = self._open(endpoint, server_name, timings_s, accepting)
        try:
            yield stream
        finally:
            with contextlib.suppress(OSError, EOFError):
                stream.close()

    def _open(
        self,
        endpoint: Endpoint,
        server_name: str | None,
        timings_s: dict[str, float],
        context: ssl.SSLContext,
    ) -> Stream:
        """Open a stream, with TLS if the endpoint has it.

        Raises: `Failure`, `Untrusted`.
        """
        began = time.monotonic()
        deadline = self.step()
        stream = self.open_stream(endpoint, deadline)
        timings_s["connect"] = time.monotonic() - began
        if not endpoint.tls:
            return stream
        try:
            began = time.monotonic()
            secured = TlsStream(stream, context, server_name=server_name)
            with translate_tls_errors(self.timeout_s):
                try:
                    secured.handshake(deadline)
                except ssl.SSLCertVerificationError as error:
                    raise Untrusted(error) from error
            timings_s["tls"] = time.monotonic() - began
            return secured
        except BaseException:
            with contextlib.suppress(OSError, EOFError):
                stream.close()
            raise

    def open_stream(self, endpoint: Endpoint, deadline: Deadline) -> Stream:
        """Open a stream to `endpoint`, without TLS. Raises: `Failure`."""
        stream = self._dial_endpoint(endpoint, deadline)
        if endpoint.proxy_line:
            try:
                line = proxy_line(endpoint.port, is_binary=endpoint.is_binary_line)
                with translate_errors("the PROXY line", self.timeout_s):
                    send(stream, line, deadline)
            except Failure:
                stream.close()
                raise
        return stream

    def _dial_endpoint(self, endpoint: Endpoint, deadline: Deadline) -> Stream:
        try:
            if endpoint.socket:
                return self.dial(socket=endpoint.socket, timeout_s=deadline.left_s())
            return self.dial(host=endpoint.host, port=endpoint.port, timeout_s=deadline.left_s())
        except ConnectionRefusedError as error:
            words = "refuses connections: nothing listens there"
            raise Failure("refused", words) from error
        except FileNotFoundError as error:
            raise Failure("refused", "does not exist: nothing listens there") from error
        except TimeoutError as error:
            words = f"cannot be reached: no answer within {self.timeout_s:g} s"
            raise Failure("unreachable", words) from error
        except DeployerError:
            raise
        except (OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno in _NO_ROUTE:
                words = f"cannot be reached: {error.strerror or error}"
                raise Failure("no-way", words) from error
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise Failure("unreachable", f"cannot be reached: {reason}") from error


def translate_tls_errors(limit_s: float) -> contextlib.AbstractContextManager[None]:
    """Translate errors of the TLS handshake; one that stalls has its own code."""
    return translate_errors("the TLS handshake", limit_s, when_late="tls-stalled")


def broken_tls(error: ssl.SSLError, action: str) -> Failure:
    """Return the failure of a connection whose TLS broke during `action`."""
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return Failure("tls-failed", f"broke TLS during {action}: {reason}")


@contextlib.contextmanager
def translate_errors(action: str, limit_s: float, *, when_late: str = "timeout") -> Iterator[None]:
    """Turn socket errors raised inside into `Failure`; `action` is a noun ("the handshake").

    `when_late` is the code of the failure if the time limit expires.
    """
    try:
        yield
    except TimeoutError as error:
        words = f"did not answer {action} within {limit_s:g} s"
        raise Failure(when_late, words, seconds=limit_s) from error
    except ssl.SSLError as error:
        raise broken_tls(error, action) from error
    except (ConnectionResetError, BrokenPipeError, ConnectionAbortedError) as error:
        raise Failure("closed", f"reset the connection during {action}") from error
    except (OSError, EOFError) as error:
        raise Failure("closed", f"lost the connection during {action}: {error}") from error
