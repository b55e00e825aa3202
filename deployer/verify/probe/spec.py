"""What one connection is to do: plain values, made by `checks.py` and carried out by others."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.model import Hop
from deployer.verify.net.lookup import Lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address as the host sees it: TCP, or a unix socket (then `host` is empty).

    With `proxy_line`, connections begin with a line of the PROXY protocol (version 1), before TLS.
    """

    host: str = ""
    port: int = 0
    socket: str = ""
    tls: bool = False
    proxy_line: bool = False

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """`uri` is what a person would call it; `server_name` goes into SNI, `None` for none.

    `dns_s` is how long the look-up of the endpoint's address took, where there was one.
    """

    uri: str
    hop: Hop
    endpoint: Endpoint
    server_name: str | None = None
    dns_s: float | None = None

    @property
    def timings_s(self) -> dict[str, float]:
        """What of the probe's time is known before it begins."""
        return {} if self.dns_s is None else {"dns": self.dns_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class NameProbe(_Probe):
    """What a name has been found to lead to."""

    lookup: Lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsProbe(_Probe):
    """Is the certificate that is shown to those who ask for `server_name` a right one?

    With `by_system`, it is judged by this system's trust store, whatever the site's issuer is.
    """

    issuer: str
    by_system: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe(_Probe):
    """One GET request; `headers` are all that are sent.

    `limit_s` is how long an answer is waited for, where that is less than for other steps;
    `body_bytes` are as many as are kept of it.
    """

    target: str
    headers: tuple[tuple[str, str], ...]
    limit_s: float | None = None
    body_bytes: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeProbe(HttpProbe):
    """An opening handshake, and what is said on the connection then.

    `headers` are those beside the handshake's own. `send`, `expect` and `hold_s` are as in `Check`.
    `listen_s` is how long after the answer a first message is waited for; none is as good.
    """

    subprotocols: tuple[str, ...] = ()
    send: str | None = None
    expect: str | None = None
    expect_is_regex: bool = False
    hold_s: float | None = None
    listen_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsProbe(HttpProbe):
    """The same request in several spellings, all sent at once; `headers` are the first of them."""

    others: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Probe(HttpProbe):
    """A WebSocket over HTTP/2 (RFC 8441), where that is offered.

    `headers` are those beside the handshake's own; `foreign_origin` is one that must be refused,
    `None` where any may connect.
    """

    authority: str
    foreign_origin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OldTlsProbe(TlsProbe):
    """Does anybody there still finish a handshake in TLS 1.1 or 1.0, whatever the certificate?"""


Probe = TlsProbe | HttpProbe | UpgradeProbe
PlannedProbe = NameProbe | Probe
