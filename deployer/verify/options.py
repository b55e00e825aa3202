"""Options of a verification: the proxy's address, time limits, and public DNS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from deployer.sites.model import Site
    from deployer.verify.planned.public_checks import HostAddresses
    from deployer.verify.public.dial import PublicDial

TIMEOUT_S = 10.0
PATIENCE_S = 5.0
#: How long to wait for a first message; many services never send one.
LISTEN_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAddress:
    """The proxy's address, as seen from the host.

    With `is_named`, clients write a non-default port into their URLs, and so into Host and Origin.
    """

    host: str = "127.0.0.1"
    https_port: int = 443
    http_port: int = 80
    is_named: bool = False

    def authority(self, name: str, *, https: bool) -> str:
        """Return `name` as written in Host, Origin and URLs."""
        port, usual = (self.https_port, 443) if https else (self.http_port, 80)
        return f"{name}:{port}" if self.is_named and port != usual else name


def proxy_of(site: Site) -> ProxyAddress:
    """The address on the host of the proxy that serves `site`."""
    if not site.port_in_urls:
        return ProxyAddress()
    if site.has_tls:
        return ProxyAddress(https_port=site.serving_port, is_named=True)
    return ProxyAddress(http_port=site.serving_port, is_named=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The time limits of a verification, in seconds.

    `timeout_s` limits each step of a check. `patience_s` is how long a failing check is retried
    after a reload or start at `changed_at` (`time.monotonic`; `None`: just now), after skipping the
    first half second; 0 means that nothing was changed. `listen_s` limits the wait for a first
    message that is not required. Once `interrupt` is set, every unfinished check fails within a
    fraction of a second.
    """

    timeout_s: float = TIMEOUT_S
    patience_s: float = PATIENCE_S
    listen_s: float = LISTEN_S
    changed_at: float | None = None
    interrupt: threading.Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicAccess:
    """Checks from this machine through public DNS.

    `addresses` returns the known addresses of the host; it may look up names itself.
    """

    dial: PublicDial
    addresses: Callable[[], HostAddresses] | None = None
