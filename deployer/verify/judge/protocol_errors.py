"""Causes and fixes of protocol errors, as text. Pure.

The code of a `Failure` decides. If the service does it by itself, the service is at fault; if the
same probe succeeds directly at the service, the proxy is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class _Words(NamedTuple):
    service_diagnosis: str
    proxy_diagnosis: str
    fix: str


_WORDS: Mapping[str, _Words] = {
    "check-failed": _Words(
        "The result is unknown: the check itself failed, or there was no time left for it.",
        "The result is unknown: the check itself failed, or there was no time left for it.",
        "Fix the other findings of this site, then verify again.",
    ),
    "endless-headers": _Words(
        "The server sends endless headers, which no client accepts.",
        "Something answers instead of the service, and sends endless headers.",
        "Check the server on that address; the usual reason is a loop that sets cookies or"
        " headers.",
    ),
    "message-too-big": _Words(
        "The service announces a frame larger than any client accepts, or the server is not a"
        " WebSocket service and its bytes only look like a frame.",
        "The bytes after the handshake are not the service's: something on the path changes them or"
        " answers instead of the service.",
        "Check the first message of the service; split large messages.",
    ),
    "protocol-error": _Words(
        "The service sends frames that no client may accept: masked frames, reserved bits, text"
        " that is not UTF-8, or compression that was not negotiated.",
        "The received frames are not those that the service sends: something on the path changes"
        " them (a filter, compression, a substitution in bodies).",
        "Use a WebSocket library instead of a hand-written service; look for filters on this path.",
    ),
    "tls-stalled": _Words(
        "The service starts the TLS handshake but does not finish it: it hangs, or full-size"
        " packets are lost (a tunnel with a smaller MTU, and ICMP filtered).",
        "The TLS handshake starts but does not finish: the proxy hangs during it, or full-size"
        " packets are lost (a tunnel with a smaller MTU, and ICMP filtered).",
        "Check the server's error log and its load. To detect lost packets, run"
        " `ping -M do -s 1472 ADDRESS` from the same machine.",
    ),
}


def cause_and_fix(code: str, *, service_diagnosis: bool) -> tuple[str, str] | None:
    """Return cause and fix for this protocol error; `None` for every other code."""
    words = _WORDS.get(code)
    if words is None:
        return None
    return (words.service_diagnosis if service_diagnosis else words.proxy_diagnosis), words.fix
