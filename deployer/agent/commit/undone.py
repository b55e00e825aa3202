"""The events of a revert: they name the changes that it has undone, and nothing else."""

from __future__ import annotations

from deployer.agent.commit.plan import probe_request
from deployer.agent.errors import StepError
from deployer.agent.probe import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.children import Children
    from deployer.agent.session import Reporter
    from deployer.agent.settings import Json


class Undone:
    """Reports changes as undone if they had been made, and are gone afterwards.

    A change that failed was begun, but there is nothing to undo. The guards of commands may take
    long, so a command is taken for made.
    """

    def __init__(self, session: Reporter, children: Children, changes: list[Json]) -> None:
        self._session = session
        self._probe = Probe(children)
        probed = [each for each in changes if not each["resource_id"].startswith("command:")]
        unmade = {each["resource_id"] for each in self._as_before(probed)}
        self._made = [each for each in changes if each["resource_id"] not in unmade]

    def say(self, kinds: tuple[str, ...], *, after: int, total: int) -> int:
        """Report the undone changes of `kinds`, numbered from `after`; returns the last number."""
        of_kinds = [each for each in self._made if _kind_of(each) in kinds]
        undone = {each["resource_id"] for each in self._as_before(of_kinds)}
        for number, change in enumerate(of_kinds, after + 1):
            name = change["resource_id"]
            for seconds in (None, 0.0) if name in undone else (None,):
                self._session.step(number, total, name, "restore", seconds=seconds)
        return after + len(of_kinds)

    def _as_before(self, changes: list[Json]) -> list[Json]:
        """Those whose resource is as it was when the plan was made."""
        try:
            found = self._probe.observe([probe_request(change) for change in changes])
        except (StepError, OSError):
            return []
        pairs = zip(changes, found)
        return [change for change, now in pairs if change["fingerprint"] == now["fingerprint"]]


def _kind_of(change: Json) -> str:
    return str(change["resource_id"].partition(":")[0])
