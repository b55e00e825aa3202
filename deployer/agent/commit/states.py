"""The states of a commit, and the events that lead from one to the next.

Theory of operation
===================

An apply is a commit that must be confirmed; the terms are those of gNMI's commit-confirmed. The
host keeps it as one folder below ``/var/lib/deployer``, and the location of the folder is its
state: renaming the folder is the decision. `rename(2)` is atomic, so if a confirm, a revert and the
deadline come at the same moment, one of them wins and the others find the folder gone::

                     confirm
        pending ───────────────────▶ confirmed           generations/N
           │
           │ revert, deadline, boot
           ▼                 done
       reverting ──────────────────▶ reverted            reverted/ID
         │   ▲
    fail │   │ revert, deadline, boot
         ▼   │           abandon
      revert-failed ───────────────▶ abandoned           abandoned/ID

`pending` begins when all that a revert needs is on disk and the watchdog is armed, before the first
change. `reverting` survives every crash: whatever finds it continues it. `revert-failed` is a
revert that ended without restoring everything; it stays in the same folder, and its record
distinguishes it from `reverting`. The cause may be temporary (a full disk, a running package
manager), so the watchdog retries a few times and at the next boot. The user may retry too, or
abandon the commit and leave the host as it is now.

The controller imports this module too: there is one table.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    CommitState = Literal[
        "pending", "confirmed", "reverting", "reverted", "revert-failed", "abandoned"
    ]
    CommitEvent = Literal["confirm", "revert", "deadline", "boot", "done", "fail", "abandon"]

#: State and event → the next state. Every other event is refused.
TRANSITIONS: Mapping[tuple[CommitState, CommitEvent], CommitState] = {
    ("pending", "confirm"): "confirmed",
    ("pending", "revert"): "reverting",
    ("pending", "deadline"): "reverting",
    ("pending", "boot"): "reverting",
    ("reverting", "revert"): "reverting",
    ("reverting", "deadline"): "reverting",
    ("reverting", "boot"): "reverting",
    ("reverting", "done"): "reverted",
    ("reverting", "fail"): "revert-failed",
    ("revert-failed", "revert"): "reverting",
    ("revert-failed", "deadline"): "reverting",
    ("revert-failed", "boot"): "reverting",
    ("revert-failed", "abandon"): "abandoned",
}

#: The folder of each state, below the state folder; final ones hold one folder per commit.
FOLDERS: Mapping[CommitState, str] = {
    "pending": "pending",
    "reverting": "reverting",
    "revert-failed": "reverting",
    "confirmed": "generations",
    "reverted": "reverted",
    "abandoned": "abandoned",
}

#: In these states a commit blocks the next one.
UNDER_WAY: frozenset[CommitState] = frozenset(["pending", "reverting", "revert-failed"])


def next_state(state: CommitState, event: CommitEvent) -> CommitState | None:
    """The state that `event` leads to, or `None` if it cannot happen in `state`."""
    return TRANSITIONS.get((state, event))
