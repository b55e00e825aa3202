"""The way to the host for every probe: dial, negotiate TLS, keep the time limits."""

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
from deployer.verify.probe.attempt import Failure
from deployer.verify.probe.spec import Endpoint

#: There is no way to such an address from here at all: no IPv6, say.
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

#: Source: The PROXY protocol, 2.1: whose connection it is, is not told.
_PROXY_LINE = b"PROXY UNKNOWN\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How probes reach the host. `timeout_s` is for each step, `until` for all."""

    dial: Dial
    timeout_s: float
    until: Deadline
    roots_pem: bytes | None = None
    # Who shows which certificate is the TLS check's business alone: the other checks take any, so
    # that one bad certificate is one finding, and what else is wrong can still be seen.
    any_certificate: ssl.SSLContext = field(default_factory=lambda: client_context(verified=False))

    def step(self, seconds: float | None = None) -> Deadline:
        """The time limit of a step that begins now."""
        return Deadline(self.timeout_s if seconds is None else seconds, within=self.until)

    @contextlib.contextmanager
    def connect(
        self, endpoint: Endpoint, *, server_name: str | None, timings_s: dict[str, float]
    ) -> Iterator[Stream]:
        """A stream to `endpoint`, with TLS where it speaks that, closed at the end.

        Puts `connect` and `tls` into `timings_s`. Raises: `Failure`.
        """
        began = time.monotonic()
        deadline = self.step()
        stream = self.open_stream(endpoint, deadline)
        try:
            timings_s["connect"] = time.monotonic() - began
            if endpoint.tls:
                began = time.monotonic()
                secured = TlsStream(stream, self.any_certificate, server_name=server_name)
                with translate_tls_errors(self.timeout_s):
                    secured.handshake(deadline)
                timings_s["tls"] = time.monotonic() - began
                yield secured
            else:
                yield stream
        finally:
            with contextlib.suppress(OSError, EOFError):
                stream.close()

    def open_stream(self, endpoint: Endpoint, deadline: Deadline) -> Stream:
        """A plain stream to `endpoint`. Raises: `Failure`."""
        stream = self._dial_endpoint(endpoint, deadline)
        if endpoint.proxy_line:
            try:
                with translate_errors("the PROXY line", self.timeout_s):
                    send(stream, _PROXY_LINE, deadline)
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
            if isinstance(error, OSError) and error.errno in _NO_WAY:
                words = f"cannot be reached: {error.strerror or error}"
                raise Failure("no-way", words) from error
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise Failure("unreachable", f"cannot be reached: {reason}") from error


def translate_tls_errors(limit_s: float) -> contextlib.AbstractContextManager[None]:
    """The same for the TLS handshake, of which one that stops half-way is a case of its own."""
    return translate_errors("the TLS handshake", limit_s, when_late="tls-stalled")


@contextlib.contextmanager
def translate_errors(doing: str, limit_s: float, *, when_late: str = "timeout") -> Iterator[None]:
    """Turn what sockets raise inside into `Failure`; `doing` is a noun, as in "the handshake".

    `when_late` is the failure's code where the time is over.
    """
    try:
        yield
    except TimeoutError as error:
        words = f"did not answer {doing} within {limit_s:g} s"
        raise Failure(when_late, words, seconds=limit_s) from error
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise Failure("tls-failed", f"broke TLS during {doing}: {reason}") from error
    except (ConnectionResetError, BrokenPipeError, ConnectionAbortedError) as error:
        raise Failure("closed", f"reset the connection during {doing}") from error
    except (OSError, EOFError) as error:
        raise Failure("closed", f"lost the connection during {doing}: {error}") from error
