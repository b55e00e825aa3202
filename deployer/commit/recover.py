"""Cleans up after an interrupted run on one host: ``deployer recover``.

An unfinished commit is rolled back, as its run or the host itself would have done. If the rollback
has failed and cannot succeed, the user may abandon the commit: the host then stays as it is now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deployer.commit.contact import Contact, now, status_of
from deployer.commit.host_status import (
    UnfinishedCommit,
    ended_from,
    leave_words,
    lock_from,
    outcome_words,
    status_document,
    unfinished_words,
)
from deployer.commit.outcome import HostReport
from deployer.commit.settle import Settlement, after_revert
from deployer.errors import AgentError, HostError, StrandedError, UnreachableError

_WHY = "requested with deployer recover"

#: How long to poll a host for the outcome of a rollback during which the connection broke.
_SETTLE_S = 60.0


class Recovery:
    """The recovery of one host from an interrupted run."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._host = contact.host.name

    def recover(self) -> HostReport:
        """Roll back the unfinished commit, if there is one.

        Raises:
            HostError: another run holds the lock of the host.
        """
        found = self._found()
        if found is None:
            return self._nothing()
        whose = found.name
        try:
            reply = self._contact.revert(found.commit, why=_WHY, doing=f"rolling back {whose}")
        except UnreachableError as error:
            settlement = Settlement(
                self._contact, found.commit, why=error.problem, rollback_duration_s=_SETTLE_S
            )
            return self._recovered(settlement.report(), whose)
        except AgentError as error:
            return self._refused(error, found)
        report = after_revert(self._contact, reply, why=f"{whose} was rolled back")
        if reply.get("failed"):
            found = replace(found, state="revert-failed", failed=tuple(reply["failed"]))
            message = self._failed_words(found)
            return replace(report, message=message, found=self._document(found))
        return self._recovered(report, whose)

    def plan_abandon(self) -> HostReport:
        """Report the commit that would be abandoned, as ``planned``; changes nothing.

        Raises:
            HostError: another run holds the lock of the host.
            StrandedError: the unfinished commit can still be rolled back.
        """
        found = self._found()
        if found is None:
            return self._nothing()
        if found.state != "revert-failed":
            words = unfinished_words(found, now=now(), recover=self._contact.again("recover"))
            raise StrandedError(
                f"only a commit that could not be rolled back can be abandoned\n{words}",
                host=self._host,
                found=self._document(found),
            )
        message = unfinished_words(found, now=now())
        found_there = self._document(found)
        return HostReport(host=self._host, state="planned", message=message, found=found_there)

    def abandon(self) -> HostReport:
        """Abandon the commit whose rollback has failed, and leave the host as it is now.

        Raises:
            HostError: another run holds the lock of the host.
        """
        found = self._found()
        if found is None:
            return self._nothing()
        try:
            self._contact.doing("abandoning")
            self._contact.link().request("abandon", commit=found.commit, doing="abandoning")
        except AgentError as error:
            return self._refused(error, found)
        message = (
            f"{found.name} is abandoned; the host stays as it is.\n"
            f"Its changes, and the former state, remain for inspection in "
            f"/var/lib/deployer/abandoned/{found.commit} on the host."
        )
        return HostReport(host=self._host, state="abandoned", message=message)

    # --- parts ------------------------------------------------------------------------------------

    def _found(self) -> UnfinishedCommit | None:
        return status_of(self._contact.free_facts()).unfinished

    def _document(self, found: UnfinishedCommit) -> Mapping[str, object] | None:
        return status_document(unfinished=found, recover=self._contact.again("recover"))

    def _nothing(self) -> HostReport:
        try:
            self._contact.link().request("tidy", doing="cleaning up after a run")
        except AgentError as error:
            if error.code == "locked":
                raise self._contact.locked(lock_from(error.details)) from error
            raise
        entries = self._contact.history()
        last = outcome_words(ended_from(entries[0]) if entries else None, now=now())
        return HostReport(host=self._host, state="unchanged", message=f"nothing to recover: {last}")

    def _recovered(self, report: HostReport, whose: str) -> HostReport:
        """The former state is what was requested, so it is no failure here."""
        if report.state != "reverted":
            return report
        message = f"{whose} was rolled back; the host is back in its former state"
        return replace(report, state="recovered", message=message)

    def _refused(self, error: AgentError, found: UnfinishedCommit) -> HostReport:
        if error.code == "locked":
            raise self._contact.locked(lock_from(error.details)) from error
        if error.code == "not-pending" and error.details.get("state") == "reverted":
            report = HostReport(host=self._host, state="reverted")
            return self._recovered(report, found.name)
        if error.code == "not-pending":
            raise HostError(f"{error.problem}; nothing was changed", host=self._host) from error
        raise StrandedError(
            f"the host refused: {error.problem}\n"
            + unfinished_words(found, now=now(), recover=self._contact.again("recover")),
            host=self._host,
            found=self._document(found),
        ) from error

    def _failed_words(self, found: UnfinishedCommit) -> str:
        again = self._contact.again("recover")
        failed = "\n".join(f"    {item['resource_id']}: {item['message']}" for item in found.failed)
        return (
            f"{found.name} could not be rolled back:\n{failed}\n"
            f"State: {found.state}: {found.means}.\n"
            + ("" if found.is_damaged else f"To try again, once the cause is gone: {again}\n")
            + f"{leave_words(again)}\n"
            f"That keeps the journal in /var/lib/deployer/abandoned/{found.commit} on the host, "
            "and allows applies again."
        )
