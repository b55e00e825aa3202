"""Which playbook created something on a host: how playbooks are recognised. Pure.

A playbook is recorded by its `project:` name, or else by its path and the machine that it is on.
Only what is certainly this playbook's own is ever reported as left over: the same path on a
different machine counts if both name a site in common, and so does a playbook of the same folder
that no longer exists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from posixpath import dirname
from typing import TYPE_CHECKING

from deployer.agent.kinds import thing

if TYPE_CHECKING:
    from deployer.agent.replies import Managed, ManagedEntry

_NAMED = "name:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectId:
    """The playbook of a run: its `name`, if it has one, its absolute `path`, and the machine."""

    path: str
    origin: str
    name: str = ""

    @property
    def key(self) -> str:
        """The key that hosts record."""
        return f"{_NAMED}{self.name}" if self.name else self._place

    @property
    def _place(self) -> str:
        return f"{self.origin}:{self.path}"

    def all_keys(
        self, managed: Managed, named: Collection[str], *, is_gone: Callable[[str], bool]
    ) -> frozenset[str]:
        """All keys in the record of a host that mean this playbook.

        Args:
            named: what this playbook names, as `thing`s, and its sites as ``site:DOMAIN``.
            is_gone: whether a playbook no longer exists on this machine.
        """
        found = {self.key, self._place}
        for key in {each for entry in managed["entries"] for each in entry["by"]} - found:
            if self._is_same_place(key, is_gone) and _shares(managed, key, named):
                found.add(key)
        return frozenset(found)

    def _is_same_place(self, key: str, is_gone: Callable[[str], bool]) -> bool:
        if key.startswith(_NAMED):
            return False
        origin, _, path = key.partition(":")
        if path == self.path:
            return True
        return origin == self.origin and dirname(path) == dirname(self.path) and is_gone(path)


def project_words(key: str) -> str:
    """A recorded key, for people."""
    if key.startswith(_NAMED):
        return f"project {key.removeprefix(_NAMED)}"
    origin, _, path = key.partition(":")
    return f"{path} on {origin}"


def _shares(managed: Managed, key: str, named: Collection[str]) -> bool:
    """Whether a recorded playbook named a site that is also named now; without sites, a path."""
    entries = [entry for entry in managed["entries"] if key in entry["by"]]
    sites = {f"site:{entry['site']}" for entry in entries if entry.get("site")}
    paths = set(_paths(entries))
    return bool((sites or paths) & set(named))


def _paths(entries: list[ManagedEntry]) -> Iterator[str]:
    for entry in entries:
        name = thing(entry["id"])
        if name.startswith("/"):
            yield name
