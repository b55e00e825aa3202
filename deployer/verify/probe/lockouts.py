"""Services that count connections without a login, and lock clients out. Pure.

VNC servers do: they begin with their version (RFC 6143, section 7.1.1), and a client that leaves
before its login has failed once. After a few of these, TigerVNC refuses everyone at that address,
which is the host's own for all clients behind a proxy.
"""

from __future__ import annotations

import re

from deployer.verify.net.websocket import Message
from deployer.verify.probe.attempt import Attempt, Failure

#: Why a handshake is left out.
LEFT_ALONE = "a VNC server counts connections without a login and locks clients out"

_VERSION = re.compile(rb"\ARFB [0-9]{3}\.[0-9]{3}\n")
_LOCKED = re.compile(
    rb"too many (?:security|authentication|login|password) (?:failures|attempts)", re.IGNORECASE
)
_COUNTS = "counts-clients"


def check_first_message(message: Message | None, facts: dict[str, str]) -> None:
    """Note in `facts` that a service counts clients. Raises: `Failure` if it locks them out."""
    data = message.encode() if isinstance(message, str) else message or b""
    if _VERSION.match(data):
        facts[_COUNTS] = "yes"
    found = _LOCKED.search(data[:400])
    if found is not None:
        words = f'opened the connection, but sent "{found[0].decode()}"'
        raise Failure("locked-out", words)


def counts_clients(attempt: Attempt) -> bool:
    """Whether the service counts connections without a login."""
    return _COUNTS in attempt.facts


def locks_out(attempt: Attempt) -> bool:
    """Whether the service refuses clients because of too many failures: one more makes it worse."""
    return attempt.failure is not None and attempt.failure.code == "locked-out"
