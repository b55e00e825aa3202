"""Peers that break the protocol: why that may be, and what mends it. Pure, and nothing but words.

What is here is told by the code of a `Failure` alone. Where the service does it by itself it is the
service's fault; where the same succeeds straight at the service, the proxy's.
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
        "It was not found out: the check broke off by itself, or there was no time left for it.",
        "It was not found out: the check broke off by itself, or there was no time left for it.",
        "Mend what else is reported for this site, then verify again.",
    ),
    "endless-headers": _Words(
        "What listens there sends headers without an end: no program could take its answer.",
        "What answers in the service's place sends headers without an end.",
        "Look at what listens on that address; a loop that sets cookies or headers is the usual"
        " reason.",
    ),
    "message-too-big": _Words(
        "The service announces a frame larger than any client would take, or something that is no"
        " WebSocket service sends bytes that look like one.",
        "The bytes after the handshake are not those of the service: something between changes"
        " them, or answers in its place.",
        "Look at what the service sends first; split what is large into messages of its own.",
    ),
    "protocol-error": _Words(
        "The service sends frames that no client may accept: masked ones, reserved bits, text that"
        " is not UTF-8, or compression that was not agreed on.",
        "The frames that arrive are not those that the service sends: something between changes"
        " them (a filter, compression, a substitution in bodies).",
        "A hand-made WebSocket service belongs on a library; look for filters on this path.",
    ),
    "tls-stalled": _Words(
        "The service begins the TLS handshake and does not finish it: it hangs, or packets of full"
        " size do not come through (a tunnel with a smaller MTU, and ICMP filtered).",
        "The TLS handshake begins and does not end: the proxy hangs in the middle of it, or packets"
        " of full size do not come through (a tunnel with a smaller MTU, and ICMP filtered).",
        "Look at the error log and the load of what listens there. To tell a lost packet: ping"
        " -M do -s 1472 ADDRESS from the same place.",
    ),
}


def cause_and_fix(code: str, *, service_diagnosis: bool) -> tuple[str, str] | None:
    """Words for a peer that broke the protocol in this way; `None` for every other code."""
    words = _WORDS.get(code)
    if words is None:
        return None
    return (words.service_diagnosis if service_diagnosis else words.proxy_diagnosis), words.fix
