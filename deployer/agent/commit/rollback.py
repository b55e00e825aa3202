"""What generations record about rollbacks: their target, and what a later apply would undo."""

from __future__ import annotations

import os

from deployer.agent.files import now_text, read_json
from deployer.agent.kinds import thing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.commit.state_folder import StateFolder
    from deployer.agent.settings import Json

#: The file with what a rollback to a generation is verified with.
VERIFICATION = "verification.json"


def rollback_after(state: StateFolder, commit: Json, plan: Json) -> Json | None:
    """The newest rollback that still determines the host once `plan` is confirmed, if any.

    What a later plan names, changed or not, no longer counts: its playbook has decided on it.
    """
    if commit.get("rolls_back_to") is not None:
        changed = [each for each in plan["changes"] if each["action"] != "no-op"]
        return {
            "to": int(commit["rolls_back_to"]),
            "generation": state.last_generation() + 1,
            "who": commit.get("who", ""),
            "from": commit.get("from", ""),
            "time": now_text(),
            "resource_ids": [each["resource_id"] for each in changed],
        }
    former = last_rollback(state)
    if former is None:
        return None
    named = {thing(change["resource_id"]) for change in plan["changes"]}
    left = [each for each in former["resource_ids"] if thing(each) not in named]
    return {**former, "resource_ids": left} if left else None


def last_rollback(state: StateFolder) -> Json | None:
    """The rollback that the newest generation records, if any."""
    number = state.last_generation()
    if not number:
        return None
    meta = read_json(os.path.join(state.generations, str(number), "meta.json")) or {}
    rollback: Json | None = meta.get("rollback")
    return rollback
