"""What the watchdog and the boot unit run: a revert without a controller."""

from __future__ import annotations

import os
import signal
import sys
import time

from deployer.agent import settings
from deployer.agent.children import CHILD_ENVIRONMENT
from deployer.agent.commit.revert import Revert
from deployer.agent.commit.state_folder import StateFolder
from deployer.agent.commit.watchdog import Watchdog
from deployer.agent.errors import Refusal, check_name, os_words
from deployer.agent.files import read_json
from deployer.agent.processes import boot_id, started_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deployer.agent.settings import Json

_WHYS = {"deadline": "it was not confirmed by its deadline", "boot": "the host was booted again"}


class _Alone:
    """In place of a session: there is no controller to report to."""

    def __init__(self) -> None:
        self.state = StateFolder()
        self.made_commit = ""

    def event(self, name: str, **details: Any) -> None:
        """Do nothing."""

    def step(
        self, n: int, total: int, resource_id: str, action: str, *, seconds: float | None = None
    ) -> None:
        """Do nothing."""


def revert_alone(commit: str, why: str, say: Callable[[str], None]) -> bool:
    """Revert a commit that was not confirmed, and report the result; true if it succeeded.

    A live agent holds the lock and decides itself; a commit that has ended stays as it is.
    """
    alone = _Alone()
    state = alone.state
    state.make()
    try:
        state.lock({"who": "the watchdog", "from": os.uname().nodename})
    except Refusal as refusal:
        _leave_alone(commit, refusal.reply, say)
        return True
    going = state.under_way()
    if going is None or going["commit"] != commit:
        say(f"commit {commit} is {state.state_of(commit)}; there is nothing to revert")
        made = [item for item in state.history() if item["commit"] == commit and going is None]
        makes_wants = any((item.get("watchdog") or {}).get("makes_wants") for item in made)
        watchdog = Watchdog(commit, duration_s=0, makes_wants=makes_wants)
        watchdog.disarm(boot_too=going is None)
        return True
    if why == "boot" and state.under_way_meta().get("boot_id") == boot_id():
        say(f"commit {commit} is left alone: the host has not been booted since it was made")
        return True
    if why == "boot":  # D-Bus starts later: apt would wait for it, systemctl does not need it
        CHILD_ENVIRONMENT["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent"
    who = f"commit {commit} of {going['who']} from {going['from']}"
    tell = lambda result: say(f"{who}: {_WHYS[why]}; {_outcome(result)}")  # noqa: E731 - one line
    # Report before the unit is removed: systemd then starts whatever waits for it.
    reply = Revert(
        alone, commit, why, event="boot" if why == "boot" else "deadline", on_end=tell
    ).run()
    return not reply["failed"]


def _outcome(result: Json) -> str:
    """The result of a revert, in one line."""
    left = [f"{item['path']}: {item['why']}" for item in result["kept"]]
    left += [f"{item['resource_id']}: {item['message']}" for item in result["failed"]]
    if not left:
        return "it was reverted, and the host is as it was before"
    what = "it could not be reverted" if result["failed"] else "it was reverted, except for"
    return " ".join(f"{what}: {'; '.join(left)}".split())


def _leave_alone(commit: str, holder: Json, say: Callable[[str], None]) -> None:
    """Leave a commit to the process that holds the lock, but kill that process if it hangs.

    An agent announces how long it will work, and acts itself at the deadline: one that still holds
    the lock a while later hangs. Nothing is reported about one that is in time.
    """
    pulse = read_json(settings.PULSE) or {}
    pid = holder.get("pid")
    if not pid or any(pulse.get(key) != holder.get(key) for key in ("pid", "started")):
        say(f"commit {commit} is left alone: {holder['message']}")
        return
    late_s = time.monotonic() - pulse["until_s"]
    if late_s > HUNG_AFTER_S and started_at(pid) == holder["started"]:
        os.kill(pid, signal.SIGKILL)
        say(f"commit {commit} was held by process {pid}, which hung and was killed")
    elif late_s > 0:
        say(f"commit {commit} is left alone: {holder['message']}")


#: How long after its announced time a process may still hold the lock.
HUNG_AFTER_S = 30.0


def main(arguments: list[str]) -> int:
    """``--revert=COMMIT --why=deadline|boot``; exit code 0 if nothing is left to do."""
    given = dict(word.partition("=")[::2] for word in arguments)
    if set(given) != {"--revert", "--why"} or given["--why"] not in _WHYS:
        sys.stderr.write("usage: watchdog.pyz --revert=COMMIT --why=deadline|boot\n")
        return 2
    os.umask(0o022)
    os.chdir("/")

    def say(words: str) -> None:
        sys.stdout.write(words + "\n")
        sys.stdout.flush()

    try:
        return 0 if revert_alone(check_name(given["--revert"]), given["--why"], say) else 1
    except Refusal as refusal:
        say(str(refusal.reply["message"]))
    except OSError as error:
        say(f"{error.filename or settings.STATE}: {os_words(error)}")
    return 1
