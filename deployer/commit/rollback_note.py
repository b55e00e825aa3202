"""The warning that a plan would undo a rollback. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from deployer.agent.kinds import thing
from deployer.commit.host_status import when
from deployer.resources import PATH_KINDS

if TYPE_CHECKING:
    from deployer.agent.replies import RollbackRecord
    from deployer.plan.model import Plan

_NAMED = 3


def undo_note(plan: Plan, rollback: RollbackRecord | None, *, now: datetime) -> str:
    """Which rollback `plan` would undo, by whom and when; empty if none."""
    if rollback is None:
        return ""
    rolled_back = {thing(each) for each in rollback["resource_ids"]}
    names = [
        change.name if change.kind in PATH_KINDS else f"{change.kind} {change.name}"
        for change in plan.changes
        if change.action != "no-op" and thing(change.resource_id) in rolled_back
    ]
    names = list(dict.fromkeys(names))
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    who, origin = rollback["who"] or "someone", rollback["from"] or "somewhere"
    return (
        f"this would undo the {rollback_words(rollback['to'])} that {who} from {origin} made at "
        f"{when(rollback['time'], now)}: it changes {', '.join(names[:_NAMED])}{more}"
    )


def rollback_words(to: int) -> str:
    """``rollback to generation 1``."""
    return f"rollback {to_words(to)}"


def to_words(to: int) -> str:
    """``to generation 1``; 0 is the state before the first."""
    return f"to generation {to}" if to else "to the state before the first generation"
