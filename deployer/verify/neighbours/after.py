"""What the proxies' configuration shows after a change about the names from before it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deployer.proxies.inspect.names import Answering, ServedName
from deployer.verify.neighbours.model import NeighbourRequest

_Key = tuple[str, str, str, int]


def moved(
    requests: Sequence[NeighbourRequest],
    before: Sequence[ServedName],
    after: Sequence[ServedName],
    *,
    brought: Collection[str],
) -> dict[int, ServedName]:
    """The requests, by index, whose name has a server in a different file since the change.

    Files that earlier commits `brought` may lose their names.
    """
    former = {_key(each): each for each in before}
    present = {_key(each): each for each in after}
    found: dict[int, ServedName] = {}
    for number, request in enumerate(requests):
        was, now = former.get(_key(request.served)), present.get(_key(request.served))
        if was and now and was.file != now.file and was.file not in brought:
            found[number] = now
    return found


def _key(served: Answering) -> _Key:
    return served.name, served.address, served.socket, served.port
