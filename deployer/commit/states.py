"""The commit of an apply: its states, what moves it from one to the next, and what each means.

Theory of operation
===================

An apply is a commit that something must confirm; the words are those of gNMI's commit-confirmed.
The host keeps it as one folder below ``/var/lib/deployer``, and the folder's place is its state:
whoever renames the folder has decided. `rename(2)` is atomic, so that of a confirm, a revert and
the deadline that come at the same moment one wins, and the others find the folder gone::

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

`pending` begins when all that a revert needs is on the disk and the watchdog is armed, before the
first change. `reverting` survives every crash: what finds it goes on with it. `revert-failed` is a
revert that has come to its end and could not put everything back; it stays in the same folder and
is told from `reverting` by what its record says. What made it fail may pass by itself (a full disk,
a package manager at work), so the watchdog tries again, some times and at the next boot; a person
tries again when asked to, or gives the commit up and leaves the host as it is now.

The runner on the host has the same table (`deployer/remote/runner.py` can import nothing); a test
holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

CommitState = Literal["pending", "confirmed", "reverting", "reverted", "revert-failed", "abandoned"]
CommitEvent = Literal["confirm", "revert", "deadline", "boot", "done", "fail", "abandon"]

#: State and event → the next state. What is not here cannot happen, and is refused.
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

#: The folder of each state, below the state folder; the ended ones hold a folder a commit.
FOLDERS: Mapping[CommitState, str] = {
    "pending": "pending",
    "reverting": "reverting",
    "revert-failed": "reverting",
    "confirmed": "generations",
    "reverted": "reverted",
    "abandoned": "abandoned",
}

#: In these states a commit stands in the way of the next one.
UNDER_WAY: frozenset[CommitState] = frozenset({"pending", "reverting", "revert-failed"})

#: What a state says about the host, for a person.
MEANINGS: Mapping[CommitState, str] = {
    "pending": "the host has its changes or a part of them, and nobody has confirmed them",
    "confirmed": "the host has its changes, and a verification has confirmed them",
    "reverting": "the host is between its changes and its former state: a revert is not finished",
    "reverted": "the host is back in the state from before it",
    "revert-failed": "the host is partly in its former state: the revert could not put all back",
    "abandoned": "the host was left as it was then",
}


def next_state(state: CommitState, event: CommitEvent) -> CommitState | None:
    """The state that `event` leads to, or `None` where it cannot happen in `state`."""
    return TRANSITIONS.get((state, event))


def ended(state: CommitState) -> bool:
    """Whether nothing can happen to the commit any more."""
    return state not in UNDER_WAY
