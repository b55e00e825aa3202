"""What a host says of the proxies that run there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployer.transport import Link


def load_modules(link: Link) -> None:
    """Give the runner the modules that know running proxies, once a connection."""
    from deployer import remote

    modules = remote.proxy_modules()
    if not link.loaded.issuperset(modules):
        link.request("load", modules=modules, order=list(modules), doing="looking at proxies")
        link.loaded.update(modules)


def connections_of(
    link: Link,
    units: Iterable[str],
    *,
    with_clients: bool = False,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """The reply to the request ``connections`` (docs/wire.md)."""
    return link.request(
        "connections",
        units=list(units),
        clients=with_clients,
        timeout_s=timeout_s,
        doing="counting connections",
    )
