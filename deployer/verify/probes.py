"""What one connection is to do: plain values, made by `checks.py` and carried out by others."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.model import Hop


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address as the host sees it: TCP, or a unix socket (then `host` is empty)."""

    host: str = ""
    port: int = 0
    socket: str = ""
    tls: bool = False

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """`uri` is what a person would call it; `server_name` goes into SNI, `None` for none."""

    uri: str
    hop: Hop
    endpoint: Endpoint
    server_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsProbe(_Probe):
    """Is the certificate that the proxy shows to those who ask for `server_name` a right one?"""

    issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe(_Probe):
    """One GET request; `headers` are all that are sent."""

    target: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeProbe(HttpProbe):
    """An opening handshake, and what is said on the connection then.

    `headers` are those beside the handshake's own. `send`, `expect` and `hold_s` are as in `Check`.
    """

    subprotocols: tuple[str, ...] = ()
    send: str | None = None
    expect: str | None = None
    expect_is_regex: bool = False
    hold_s: float | None = None


Probe = TlsProbe | HttpProbe | UpgradeProbe
