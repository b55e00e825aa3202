"""The states of a commit: the table, which the agent and the controller share."""

from __future__ import annotations

from deployer.agent.commit.states import FOLDERS, TRANSITIONS, UNDER_WAY, next_state
from deployer.commit.states import MEANINGS

EVENTS = {event for _, event in TRANSITIONS}


def test_every_state_has_a_folder_and_a_meaning() -> None:
    assert (
        set(FOLDERS)
        == set(MEANINGS)
        == {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values())
    )


def test_final_states_are_final() -> None:
    for state in FOLDERS:
        leads_on = any(next_state(state, event) for event in EVENTS)
        assert leads_on == (state in UNDER_WAY)


def test_every_commit_can_end() -> None:
    """A final state can be reached from every state."""
    can_end = {state for state in FOLDERS if state not in UNDER_WAY}
    for _ in TRANSITIONS:
        can_end |= {start for (start, _), then in TRANSITIONS.items() if then in can_end}
    assert can_end == set(FOLDERS)


def test_only_pending_is_confirmed_and_only_revert_failed_abandoned() -> None:
    for state in FOLDERS:
        assert (next_state(state, "confirm") == "confirmed") == (state == "pending")
        assert (next_state(state, "abandon") == "abandoned") == (state == "revert-failed")


def test_a_commit_can_be_reverted_until_it_ends() -> None:
    for event in ("revert", "deadline", "boot"):
        assert all(next_state(state, event) == "reverting" for state in UNDER_WAY)
