"""The connections of Apache, which waits for the two ends of each tunnel separately."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.proxies.connections import Worker


def websockets(worker: Worker, main: int) -> int:
    """How many WebSockets a child has."""
    return worker.tunnels()


def clients(worker: Worker) -> list[str]:
    """The addresses of the clients of WebSockets."""
    return worker.ends(of_tunnels=True)


def drain_s() -> float | None:
    """The files set no limit: its reload does."""
    return None
