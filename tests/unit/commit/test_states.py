"""The commit's states: the table itself, and that the runner has the same one."""

from __future__ import annotations

from typing import get_args

from deployer.agent.commit import apply as runner
from deployer.commit.states import (
    FOLDERS,
    MEANINGS,
    TRANSITIONS,
    UNDER_WAY,
    CommitEvent,
    CommitState,
    ended,
    next_state,
)


def test_the_agent_has_the_same_table() -> None:
    assert runner.TRANSITIONS == TRANSITIONS
    assert runner.FOLDERS == FOLDERS


def test_every_state_has_a_folder_and_a_meaning() -> None:
    assert set(FOLDERS) == set(MEANINGS) == set(get_args(CommitState))


def test_final_states_are_final() -> None:
    for state in get_args(CommitState):
        leads_on = any(next_state(state, event) for event in get_args(CommitEvent))
        assert leads_on == (state in UNDER_WAY) == (not ended(state))


def test_every_commit_can_end() -> None:
    """A final state can be reached from every state."""
    can_end = {state for state in get_args(CommitState) if ended(state)}
    for _ in TRANSITIONS:
        can_end |= {start for (start, _), then in TRANSITIONS.items() if then in can_end}
    assert can_end == set(get_args(CommitState))


def test_only_pending_is_confirmed_and_only_revert_failed_abandoned() -> None:
    for state in get_args(CommitState):
        assert (next_state(state, "confirm") == "confirmed") == (state == "pending")
        assert (next_state(state, "abandon") == "abandoned") == (state == "revert-failed")


def test_a_commit_can_be_reverted_until_it_ends() -> None:
    for event in ("revert", "deadline", "boot"):
        assert all(next_state(state, event) == "reverting" for state in UNDER_WAY)
