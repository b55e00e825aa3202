"""Settles a commit whose outcome is unknown: asks the host until it is known, or time is up.

A run that has begun to change a host ends in a known state if at all possible. When its connection
breaks, the host rolls the commit back on its own, at once or at its deadline; so the host is polled
for as long as that may take. A commit that no process works on, but that is not rolled back yet, is
rolled back at once. After a reply that cannot be understood, the host is asked to roll back; its
answer to that counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from deployer.commit.contact import Contact, now, status_of
from deployer.commit.host_status import UNKNOWN, UnfinishedCommit, ended_from
from deployer.commit.kept_edits import kept_edits
from deployer.commit.messages import not_restored
from deployer.commit.outcome import HostReport
from deployer.errors import AgentError, UnreachableError
from deployer.model import Document

#: How much longer than its time to confirm a host may take to roll back and answer again.
_MARGIN_S = 90.0

#: The usual end of a rollback, in words, and how many exceptions from it are listed.
BACK = "the host is back in its former state"
_MOST_LOST = 5

#: The longest wait for a host that answers and is still working: package managers take time.
_WORKING_S = 1800.0

#: Pauses between two requests: if the host did not answer, and if it is still working.
_UNREACHABLE_PAUSE_S = 2.0
_WORKING_PAUSE_S = 0.5


class Settlement:
    """One commit whose outcome is unknown; `why` is what went wrong, for users."""

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
        """Ask until the host has answered, the time is up, or Ctrl-C ends the wait."""
        while True:
            try:
                report = self._asked()
                pause_s = _WORKING_PAUSE_S
            except UnreachableError as error:
                self._contact.close()
                self._problem = error.problem
                self._show_wait("the host to answer again")
                report, pause_s = None, _UNREACHABLE_PAUSE_S
            except AgentError as error:
                if error.code != "locked":
                    self._problem = error.problem
                report, pause_s = None, _UNREACHABLE_PAUSE_S
            if report is not None:
                return report
            if time.monotonic() >= self._until or self._contact.cancelled.wait(pause_s):
                return self._unknown()

    # --- the host's answers -----------------------------------------------------------------------

    def _asked(self) -> HostReport | None:
        """The report, or `None` if it is too early for one."""
        status = status_of(self._contact.facts())
        found = status.unfinished
        # A commit with unreadable records is called UNKNOWN; only this run's can be there now.
        is_own = found is not None and found.commit in (self._commit, UNKNOWN)
        if status.lock is not None and (is_own or found is None):
            record = None if is_own else self._record()
            if record is None:
                self._until = max(self._until, self._later())
                self._show_wait("the host, which is working on it")
                return None
            return self._ended(record)
        if found is not None and is_own:
            return self._failed(found) if found.state == "revert-failed" else self._revert(found)
        return self._ended(self._record() or {"state": "unknown"})

    def _later(self) -> float:
        """A host that answers and is working gets more time, up to a limit."""
        return min(time.monotonic() + _MARGIN_S, self._began + _WORKING_S)

    def _record(self) -> Mapping[str, object] | None:
        entries = self._contact.history()
        return next((entry for entry in entries if entry["commit"] == self._commit), None)

    def _revert(self, found: UnfinishedCommit) -> HostReport | None:
        """No process works on it: roll it back now instead of at its deadline."""
        try:
            reply = self._contact.revert(found.commit, why=self._why, doing="reverting")
        except AgentError as error:
            if error.code == "not-pending":
                return None  # the host was faster: ask again
            raise
        return after_revert(self._contact, reply, why=self._why)

    def _ended(self, record: Document) -> HostReport | None:
        host = self._contact.host.name
        match record["state"]:
            case "confirmed":
                return HostReport(
                    host=host,
                    state="confirmed",
                    message=f"{self._why}, but the host has recorded the confirmation",
                    generation=record.get("generation"),
                )
            case "reverted" | "revert-failed":
                ended = ended_from(record)
                return after_revert(
                    self._contact, {"state": record["state"], "kept": ended.kept}, why=self._why
                )
            case "abandoned":
                words = "the commit was abandoned meanwhile; the host was left as it was then"
                return HostReport(host=host, state="stranded", message=f"{self._why}; {words}")
            case "pending" | "reverting":
                return None  # it has begun since the last request: ask again
            case _:
                words = "the host had not started the commit: nothing was changed"
                return HostReport(host=host, state="failed", message=f"{self._why}; {words}")

    def _failed(self, found: UnfinishedCommit) -> HostReport:
        reply = {"state": "revert-failed", "failed": found.failed}
        return after_revert(self._contact, reply, why=self._why)

    # --- no answer --------------------------------------------------------------------------------

    def _show_wait(self, what: str) -> None:
        left_s = max(0.0, self._until - time.monotonic())
        end = (now() + timedelta(seconds=left_s)).astimezone()
        self._contact.doing(f"{self._why}; waiting for {what}, until {end:%H:%M:%S}")

    def _unknown(self) -> HostReport:
        last = f" (last: {self._problem})" if self._problem else ""
        waited_s = time.monotonic() - self._began
        due = f"{self._due.astimezone():%Y-%m-%d %H:%M:%S %Z}"
        message = (
            f"{self._why} while a commit was pending, and the host did not report the outcome "
            f"within {waited_s:.0f} s{last}.\n"
            f"Its watchdog, if it has one, rolls the commit back soon after {due}, "
            "or when the host boots.\n"
            f"To see the outcome: {self._contact.again('history')}\n"
            f"To roll it back, if that has not happened: {self._contact.again('recover')}"
        )
        return HostReport(host=self._contact.host.name, state="stranded", message=message)


def _certificates(reply: Document) -> str:
    """The certificates that were issued for the commit; a rollback keeps them."""
    kept: list[str] = reply.get("certificates_kept") or []
    if not kept:
        return ""
    return f"\nKept, for the next apply: the new certificate of {'; '.join(kept)}."


def but_not_restored(report: HostReport, lost: Sequence[str]) -> HostReport:
    """`report` on a rollback after which other sites still answer worse than before."""
    listed = "\n".join(f"    - {each}" for each in lost[:_MOST_LOST])
    more = f"\n    - and {len(lost) - _MOST_LOST} more" if len(lost) > _MOST_LOST else ""
    restored = "what this commit changed is back in its former state"
    words = (
        f"{report.message.replace(BACK, restored)}; but other sites are not:\n{listed}{more}\n"
        "A command or a package's script had effects that no rollback restores, or a reload loaded"
        " what someone had changed before. Correct it on the host."
    )
    return replace(report, state="stranded", message=words)


def after_revert(contact: Contact, reply: Mapping[str, object], *, why: str) -> HostReport:
    """The report on a reply to ``revert``: rolled back, rolled back but for edits, or failed."""
    host = contact.host.name
    kept = kept_edits(reply, secrets=contact.secrets)
    if reply.get("failed") or (reply["state"] != "reverted" and not kept):
        words = (
            f"{why}, and the host is not back in its former state:\n    {not_restored(reply)}\n"
            f"To try again: {contact.again('recover')}"
        )
        return HostReport(host=host, state="stranded", message=words, kept=kept)
    if kept:
        words = (
            f"{why}; the host is back in its former state, except for files that were changed since"
            " the commit: they were left as they are.\nReview them and correct what is not wanted;"
            " nothing else needs to be done."
        )
        return HostReport(host=host, state="stranded", message=words, kept=kept)
    message = f"{why}; {BACK}{_certificates(reply)}"
    return HostReport(host=host, state="reverted", message=message)
