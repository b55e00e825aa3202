"""Specifications of probes: plain values, made by `planned/` and run by the other modules here."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.model import Hop
from deployer.verify.net.lookup import Lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The CAs that must have certified a service; `roots_pem` is `None` for this system's."""

    roots_pem: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A client's certificate and its key: PEM files of this machine."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address as the host sees it: TCP, or a unix socket (then `host` is empty).

    With `proxy_line`, connections start with a PROXY header before TLS: a line (version 1) or, with
    `is_binary_line`, that of version 2. A proxy
    only uses a service that it has `trust` in; probes report whether it should. Clients may have
    to show their `identity`.
    """

    host: str = ""
    port: int = 0
    socket: str = ""
    tls: bool = False
    proxy_line: bool = False
    is_binary_line: bool = False
    trust: Trust | None = None
    identity: Identity | None = None

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """`uri` is for display; `server_name` goes into SNI, `None` for none.

    `dns_s` is how long the lookup of the endpoint's address took, if there was one.
    """

    uri: str
    hop: Hop
    endpoint: Endpoint
    server_name: str | None = None
    dns_s: float | None = None

    @property
    def timings_s(self) -> dict[str, float]:
        """The parts of the probe's time that are known before it starts."""
        return {} if self.dns_s is None else {"dns": self.dns_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class NameProbe(_Probe):
    """A name that has been looked up already."""

    lookup: Lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class NoProbe(_Probe):
    """Nothing is sent, and `why`."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsProbe(_Probe):
    """Verify the certificate presented for `server_name`.

    With `by_system`, use this system's trust store regardless of the site's issuer.
    """

    issuer: str
    by_system: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe(_Probe):
    """One GET request with exactly `headers`.

    `hidden` are the names, in lower case, of headers whose values must not be shown. `limit_s` is
    how long to wait for a response, if less than for other steps; at most `body_bytes` of its body
    are kept.
    """

    target: str
    headers: tuple[tuple[str, str], ...]
    hidden: frozenset[str] = frozenset()
    limit_s: float | None = None
    body_bytes: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeProbe(HttpProbe):
    """An opening handshake, and the messages after it.

    `headers` are sent in addition to the handshake's own. `send`, `expect`, `statuses` and `hold_s`
    are as in `Check`. `listen_s` is how long to wait for an optional first message after the
    response.
    """

    subprotocols: tuple[str, ...] = ()
    send: str | None = None
    expect: str | None = None
    expect_is_regex: bool = False
    statuses: tuple[int, ...] = (101,)
    hold_s: float | None = None
    listen_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsProbe(HttpProbe):
    """The same request with several sets of headers, all sent at once; `headers` are the first."""

    others: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Probe(HttpProbe):
    """A WebSocket over HTTP/2 (RFC 8441), if that is offered.

    `headers` are sent in addition to the handshake's own; `foreign_origin` must be refused (`None`:
    any origin may connect). `send` and `expect` are as in `Check`.
    """

    authority: str
    foreign_origin: str | None = None
    send: str | None = None
    expect: str | None = None
    expect_is_regex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OldTlsProbe(TlsProbe):
    """Offer only TLS 1.1 and 1.0, regardless of the certificate."""


Probe = TlsProbe | HttpProbe | UpgradeProbe
PlannedProbe = NameProbe | NoProbe | Probe
