"""Which workers of nginx use the configuration that it loaded last."""

from __future__ import annotations

from deployer.agent.files import read_text
from deployer.agent.processes import children_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def current_workers(main: int) -> Iterator[int]:
    """Workers with an earlier configuration that still have connections show it in their title."""
    for pid in children_of(main):
        title = read_text(f"/proc/{pid}/cmdline")
        if title.startswith("nginx: worker process") and "shutting down" not in title:
            yield pid


def read_ns(main: int) -> int | None:
    """Its workers show it."""
    return None
