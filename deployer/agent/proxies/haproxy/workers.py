"""Which workers of HAProxy use the configuration that it loaded last."""

from __future__ import annotations

from deployer.agent.processes import children_of, listening_children, started_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def current_workers(main: int) -> Iterator[int]:
    """Workers with an earlier configuration have stopped listening.

    If none listens, as with the configuration that Debian installs, it is the newest one.
    """
    found = list(listening_children(main)) or sorted(children_of(main), key=started_at)[-1:]
    return iter(found)


def read_ns(main: int) -> int | None:
    """Its workers show it."""
    return None
