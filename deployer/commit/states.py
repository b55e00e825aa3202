"""What each state of a commit means; `deployer.agent.commit.states` defines the states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployer.agent.commit.states import CommitState

#: What a state means for the host, for users.
MEANINGS: Mapping[CommitState, str] = {
    "pending": "the host has some or all of its changes, and they are not confirmed",
    "confirmed": "the host has its changes, and a verification has confirmed them",
    "reverting": "the host is between its changes and its former state: a rollback is unfinished",
    "reverted": "the host is back in its former state",
    "revert-failed": "the host is partly in its former state: the rollback is incomplete",
    "abandoned": "the host was left as it was then",
}
