"""What became of a commit: asked of the host until it is known, or until nobody can wait longer.

A run that has begun to change a host ends in a known state wherever one can be had. Where its
connection breaks, the host takes the commit back by itself, at once or at its deadline: so it is
asked again and again for as long as that may take. A commit that nobody is at work on, but that is
not taken back yet, is taken back at once. Where an answer is not understood, the host is asked to
take the commit back, and its word about that counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from deployer.commit.contact import Contact, now, standing_of
from deployer.commit.host_status import UNKNOWN, UnderWay, ended_from
from deployer.commit.kept_edits import kept_items
from deployer.commit.messages import left_over
from deployer.commit.outcome import HostReport
from deployer.errors import RunnerError, UnreachableError

#: How much longer than its time to confirm a host may take until it answers again, reverted.
_MARGIN_S = 90.0

#: The longest that a host which answers, and is at work, is waited for: package managers take time.
_AT_WORK_S = 1800.0

#: Pauses between two questions: where the host did not answer, and where it is at work.
_UNREACHABLE_PAUSE_S = 2.0
_AT_WORK_PAUSE_S = 0.5


class Settling:
    """One commit whose outcome is not known yet; `why` says what went wrong, for people."""

    def __init__(
        self, contact: Contact, commit: str, *, why: str, rollback_duration_s: float
    ) -> None:
        self._contact = contact
        self._commit = commit
        self._why = why
        self._began = time.monotonic()
        self._due = now() + timedelta(seconds=rollback_duration_s)
        self._until = self._began + rollback_duration_s + _MARGIN_S
        self._problem = ""

    def report(self) -> HostReport:
        """Ask until the host has answered, the time is over, or Ctrl-C ends the waiting."""
        while True:
            try:
                report = self._asked()
                pause_s = _AT_WORK_PAUSE_S
            except UnreachableError as error:
                self._contact.close()
                self._problem = error.problem
                self._wait_words("the host to answer again")
                report, pause_s = None, _UNREACHABLE_PAUSE_S
            except RunnerError as error:
                if error.code != "locked":
                    self._problem = error.problem
                report, pause_s = None, _UNREACHABLE_PAUSE_S
            if report is not None:
                return report
            if time.monotonic() >= self._until or self._contact.cancelled.wait(pause_s):
                return self._not_known()

    # --- what the host says -----------------------------------------------------------------------

    def _asked(self) -> HostReport | None:
        """The report, or `None` where it is too early for one."""
        standing = standing_of(self._contact.facts())
        found = standing.under_way
        # A commit whose records cannot be read has no other name; only ours can be there now.
        is_ours = found is not None and found.commit in (self._commit, UNKNOWN)
        if standing.lock is not None and (is_ours or found is None):
            record = None if is_ours else self._record()
            if record is None:
                self._until = max(self._until, self._later())
                self._wait_words("the host, which is at work on it")
                return None
            return self._ended(record)
        if found is not None and is_ours:
            return self._failed(found) if found.state == "revert-failed" else self._revert(found)
        return self._ended(self._record() or {"state": "unknown"})

    def _later(self) -> float:
        """A host that answers and is at work is waited for longer, but not for ever."""
        return min(time.monotonic() + _MARGIN_S, self._began + _AT_WORK_S)

    def _record(self) -> Mapping[str, Any] | None:
        entries = self._contact.history()
        return next((entry for entry in entries if entry["commit"] == self._commit), None)

    def _revert(self, found: UnderWay) -> HostReport | None:
        """Nobody is at work on it: have it taken back now, and not at its deadline."""
        try:
            reply = self._contact.revert(found.commit, why=self._why, doing="reverting")
        except RunnerError as error:
            if error.code == "not-pending":
                return None  # someone was faster: ask again
            raise
        return after_revert(self._contact, reply, why=self._why)

    def _ended(self, record: Mapping[str, Any]) -> HostReport | None:
        host = self._contact.host.name
        match record["state"]:
            case "confirmed":
                return HostReport(
                    host=host,
                    state="confirmed",
                    message=f"{self._why}, but the host has noted the confirmation",
                    generation=record.get("generation"),
                )
            case "reverted" | "revert-failed":
                ended = ended_from(record)
                return after_revert(
                    self._contact, {"state": record["state"], "kept": ended.kept}, why=self._why
                )
            case "abandoned":
                words = "someone has given the commit up since; the host was left as it was then"
                return HostReport(host=host, state="stranded", message=f"{self._why}; {words}")
            case "pending" | "reverting":
                return None  # it has begun since the question before: ask again
            case _:
                words = "the host has not begun with it: nothing was changed"
                return HostReport(host=host, state="failed", message=f"{self._why}; {words}")

    def _failed(self, found: UnderWay) -> HostReport:
        reply = {"state": "revert-failed", "failed": found.failed}
        return after_revert(self._contact, reply, why=self._why)

    # --- where it does not say anything -----------------------------------------------------------

    def _wait_words(self, what: str) -> None:
        left_s = max(0.0, self._until - time.monotonic())
        end = (now() + timedelta(seconds=left_s)).astimezone()
        self._contact.doing(f"{self._why}; waiting for {what}, until {end:%H:%M:%S}")

    def _not_known(self) -> HostReport:
        last = f" (last: {self._problem})" if self._problem else ""
        waited_s = time.monotonic() - self._began
        due = f"{self._due.astimezone():%Y-%m-%d %H:%M:%S %Z}"
        message = (
            f"{self._why} while a commit was under way, and the host has not told within "
            f"{waited_s:.0f} s what became of it{last}.\n"
            f"Its watchdog, if it has one, takes the commit back soon after {due}, "
            "or when the host is booted.\n"
            f"To find out: {self._contact.again('history')}\n"
            f"To have it taken back, if it was not: {self._contact.again('recover')}"
        )
        return HostReport(host=self._contact.host.name, state="stranded", message=message)


def _certificates(reply: Mapping[str, Any]) -> str:
    """The certificates that were issued for the commit, which no revert gives up."""
    kept: list[str] = reply.get("certificates_kept") or []
    if not kept:
        return ""
    return f"\nKept, for the next apply: the new certificate of {'; '.join(kept)}."


def after_revert(contact: Contact, reply: Mapping[str, Any], *, why: str) -> HostReport:
    """What a reply to ``revert`` means: back, back but for what someone has changed, or neither."""
    host = contact.host.name
    kept = kept_items(reply, secrets=contact.secrets)
    if reply.get("failed") or (reply["state"] != "reverted" and not kept):
        words = (
            f"{why}, and the host is not back in its former state:\n    {left_over(reply)}\n"
            f"To try again: {contact.again('recover')}"
        )
        return HostReport(host=host, state="stranded", message=words, kept=kept)
    if kept:
        words = (
            f"{why}; the host is back in its former state, but for what someone has changed since:"
            " that is kept as it is.\nLook at it, and put right what is not wanted; nothing else"
            " is left to be done."
        )
        return HostReport(host=host, state="stranded", message=words, kept=kept)
    message = f"{why}; the host is back in its former state{_certificates(reply)}"
    return HostReport(host=host, state="reverted", message=message)
