"""Tells a host that the controller of its pending commit lives, so that its deadline moves on.

From the controller's last word on, the host waits for ``--confirm-timeout`` and then takes the
commit back: whoever is gone, or stands still, says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployer.transport import Link

_MOST_S = 5.0


@contextmanager
def heartbeat(link: Link, commit: str, *, rollback_duration_s: float) -> Iterator[None]:
    """Say over `link` that `commit` is worked on, as often as its time to confirm needs."""
    stopped = Event()
    every_s = min(_MOST_S, rollback_duration_s / 3)

    def beat() -> None:
        while not stopped.wait(every_s):
            if not link.tell({"extend": commit}):
                return  # whoever awaits an answer is told that the connection is gone

    # A daemon: where the network is gone, a write may hang until the link is given up.
    thread = Thread(target=beat, name=f"heartbeat {link.host.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
