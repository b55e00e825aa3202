"""Which tasks apply to a host, and how tasks are recognised in later runs.

What a host has from a task that is skipped now is still in the playbook: only what no task names is
left over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployer.playbook.load.library import LoadedRole, LoadedTask
    from deployer.playbook.templates.scope import Scope


class Selection:
    """The tasks whose conditions exclude a host.

    A task that is excluded in one call of its role and applies in another is not skipped; one that
    is excluded for some items of its loop is.
    """

    def __init__(self) -> None:
        self._chosen: set[str] = set()
        self._excluded: set[str] = set()
        self._partly: set[str] = set()
        self._now: set[bool] = set()

    @property
    def skipped(self) -> frozenset[str]:
        """The origins of skipped tasks."""
        return frozenset((self._excluded - self._chosen) | self._partly)

    def begin(self) -> None:
        """A task is evaluated next, with all items of its loop."""
        self._now = set()

    def add(self, origin: str, *, is_chosen: bool) -> None:
        """Whether the conditions of a task apply, to one item if it has a loop."""
        (self._chosen if is_chosen else self._excluded).add(origin)
        self._now.add(is_chosen)
        if len(self._now) > 1:
            self._partly.add(origin)


def origin_of(task: LoadedTask, role: LoadedRole | None) -> str:
    """The role and the name of a task, as written: ``goaccess/Unit of {{ report }}``."""
    if role is None:
        return f"/{task.name}"
    call = f"@{role.call}" if role.call else ""
    return f"{role.name}{call}/{task.name}"


def site_of(role: LoadedRole | None, scope: Scope) -> str:
    """The domain of the site that a task of a site's role serves: the one of its loop's item."""
    if role is None or not role.for_sites:
        return ""
    item = scope.get("item")
    domain = item.get("domain") if isinstance(item, Mapping) else None
    return domain if isinstance(domain, str) else ""
