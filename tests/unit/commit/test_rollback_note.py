"""The warning that a plan would undo a rollback."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from deployer.commit.rollback_note import undo_note
from deployer.plan.model import Action, Change, Plan

if TYPE_CHECKING:
    from deployer.agent.replies import RollbackRecord

NOW = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)
ROLLBACK: RollbackRecord = {
    "to": 1,
    "generation": 3,
    "who": "ada",
    "from": "desk",
    "time": "2026-11-30T12:00:00Z",
    "resource_ids": ["file:/etc/app.conf", "file:/srv/app", "service:app"],
}


def plan(*changes: tuple[str, Action]) -> Plan:
    return Plan(
        host="web1",
        created_at="",
        changes=tuple(
            Change(resource_id=name, action=action, before={}, after={}, fingerprint="")
            for name, action in changes
        ),
    )


def test_the_note_names_who_rolled_back_when_and_what_would_change() -> None:
    note = undo_note(plan(("file:/etc/app.conf", "update")), ROLLBACK, now=NOW)
    assert note == (
        "this would undo the rollback to generation 1 that ada from desk made at "
        "2026-11-30 12:00:00 UTC, 30 minutes ago: it changes /etc/app.conf"
    )


def test_a_folder_that_a_rollback_removed_counts_whatever_its_kind() -> None:
    note = undo_note(plan(("directory:/srv/app", "create")), ROLLBACK, now=NOW)
    assert note.endswith("it changes /srv/app")


def test_the_state_before_the_first_generation_has_no_number() -> None:
    found = undo_note(plan(("service:app", "update")), {**ROLLBACK, "to": 0}, now=NOW)
    assert "the rollback to the state before the first generation" in found
    assert found.endswith("it changes service app")


@pytest.mark.parametrize(
    "changes", [(), (("file:/etc/app.conf", "no-op"),), (("file:/etc/other", "update"),)]
)
def test_a_plan_that_leaves_it_alone_is_no_warning(
    changes: tuple[tuple[str, Action], ...],
) -> None:
    assert undo_note(plan(*changes), ROLLBACK, now=NOW) == ""
    assert undo_note(plan(("file:/etc/app.conf", "update")), None, now=NOW) == ""
