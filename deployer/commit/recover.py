"""Finishing what an interrupted run has left on a host: ``deployer recover``.

A commit under way is taken back, as its run or the host itself would have done. Where that has
failed and cannot succeed, a person may give the commit up: the host then stays as it is now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deployer.commit.contact import Contact, now, standing_of
from deployer.commit.host_status import (
    UnderWay,
    ended_from,
    found_document,
    leave_words,
    lock_from,
    outcome_words,
    under_way_words,
)
from deployer.commit.outcome import HostReport
from deployer.commit.settle import Settling, after_revert
from deployer.errors import HostError, RunnerError, StrandedError, UnreachableError

_WHY = "a person asked for it with deployer recover"

#: How long a host is asked what came of a revert that it was busy with when the connection broke.
_SETTLE_S = 60.0


class Recovery:
    """One host's way out of what was interrupted there."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._host = contact.host.name

    def recover(self) -> HostReport:
        """Take back the commit that is under way, if there is one.

        Raises:
            HostError: another run is at work on the host.
        """
        found = self._found()
        if found is None:
            return self._nothing()
        whose = found.name
        try:
            reply = self._contact.revert(found.commit, why=_WHY, doing=f"taking back {whose}")
        except UnreachableError as error:
            settling = Settling(
                self._contact, found.commit, why=error.problem, rollback_duration_s=_SETTLE_S
            )
            return self._recovered(settling.report(), whose)
        except RunnerError as error:
            return self._refused(error, found)
        report = after_revert(self._contact, reply, why=f"{whose} was taken back")
        if reply.get("failed"):
            found = replace(found, state="revert-failed", failed=tuple(reply["failed"]))
            message = self._again_in_vain(found)
            return replace(report, message=message, found=self._document(found))
        return self._recovered(report, whose)

    def plan_abandon(self) -> HostReport:
        """Say what would be given up, changing nothing; report ``planned`` where there is it.

        Raises:
            HostError: another run is at work on the host.
            StrandedError: the commit under way can still be taken back.
        """
        found = self._found()
        if found is None:
            return self._nothing()
        if found.state != "revert-failed":
            words = under_way_words(found, now=now(), recover=self._contact.again("recover"))
            raise StrandedError(
                f"only a commit that could not be taken back can be abandoned\n{words}",
                host=self._host,
                found=self._document(found),
            )
        message = under_way_words(found, now=now())
        found_there = self._document(found)
        return HostReport(host=self._host, state="planned", message=message, found=found_there)

    def abandon(self) -> HostReport:
        """Give up the commit whose revert has failed, and leave the host as it is now.

        Raises:
            HostError: another run is at work on the host.
        """
        found = self._found()
        if found is None:
            return self._nothing()
        try:
            self._contact.doing("abandoning")
            self._contact.link().request("abandon", commit=found.commit, doing="abandoning")
        except RunnerError as error:
            return self._refused(error, found)
        message = (
            f"{found.name} is given up; the host stays as it is.\n"
            f"What it did, and what was there before, is kept for a look in "
            f"/var/lib/deployer/abandoned/{found.commit} on the host."
        )
        return HostReport(host=self._host, state="abandoned", message=message)

    # --- parts ------------------------------------------------------------------------------------

    def _found(self) -> UnderWay | None:
        return standing_of(self._contact.free_facts()).under_way

    def _document(self, found: UnderWay) -> Mapping[str, Any] | None:
        return found_document(under_way=found, recover=self._contact.again("recover"))

    def _nothing(self) -> HostReport:
        try:
            self._contact.link().request("tidy", doing="clearing away what a run has left")
        except RunnerError as error:
            if error.code == "locked":
                raise self._contact.locked(lock_from(error.details)) from error
            raise
        entries = self._contact.history()
        last = outcome_words(ended_from(entries[0]) if entries else None, now=now())
        return HostReport(host=self._host, state="unchanged", message=f"nothing to recover: {last}")

    def _recovered(self, report: HostReport, whose: str) -> HostReport:
        """Back in the former state is what was asked for, so no failure here."""
        if report.state != "reverted":
            return report
        message = f"{whose} was taken back; the host is back in its former state"
        return replace(report, state="recovered", message=message)

    def _refused(self, error: RunnerError, found: UnderWay) -> HostReport:
        if error.code == "locked":
            raise self._contact.locked(lock_from(error.details)) from error
        if error.code == "not-pending" and error.details.get("state") == "reverted":
            report = HostReport(host=self._host, state="reverted")
            return self._recovered(report, found.name)
        if error.code == "not-pending":
            raise HostError(f"{error.problem}; nothing was changed", host=self._host) from error
        raise StrandedError(
            f"the host could not do it: {error.problem}\n"
            + under_way_words(found, now=now(), recover=self._contact.again("recover")),
            host=self._host,
            found=self._document(found),
        ) from error

    def _again_in_vain(self, found: UnderWay) -> str:
        again = self._contact.again("recover")
        failed = "\n".join(f"    {item['resource_id']}: {item['message']}" for item in found.failed)
        return (
            f"{found.name} could not be taken back:\n{failed}\n"
            f"State: {found.state}: {found.means}.\n"
            + ("" if found.is_damaged else f"To try again, once the cause is gone: {again}\n")
            + f"{leave_words(again)}\n"
            f"That keeps the journal for a look in /var/lib/deployer/abandoned/{found.commit} on "
            "the host, and lets applies go on."
        )
