"""What a proxy's configuration does with a request, by that proxy's own rules."""

from __future__ import annotations

from deployer.proxies.inspect.by_proxy import READERS
from deployer.proxies.inspect.model import ProxyState, Served


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """What becomes of requests for `path` at `name` that arrive at `port`.

    `None` where the proxy does not serve that, or its configuration cannot be read that far.
    """
    reader = READERS.get(state.proxy)
    if reader is None:
        return None
    return reader().served(state, name=name, port=port, path=path, tls=tls)
