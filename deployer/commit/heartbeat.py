"""Extends the deadline of a pending commit for as long as its controller is alive.

The host waits for ``--confirm-timeout`` after the controller's last message, then rolls the commit
back. A controller that is gone, or hangs, sends none.
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
    """Extend the deadline of `commit` over `link`, several times within its duration."""
    stopped = Event()
    every_s = min(_MOST_S, rollback_duration_s / 3)

    def beat() -> None:
        while not stopped.wait(every_s):
            if not link.tell({"extend": commit}):
                return  # the request that waits for a reply gets the error of the lost connection

    # A daemon: without a network, a write may hang until the link is closed.
    thread = Thread(target=beat, name=f"heartbeat {link.host.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
