"""The deployment status of a host between two runs, and the messages about it. Pure.

With its facts, a host reports whether a process holds its lock, which commit is unfinished (neither
confirmed nor rolled back), and how the newest commit ended if it was not confirmed. The messages
always have the same parts: what was found, since when and by whom, the state of the host now, and
the command that fixes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deployer.commit.states import MEANINGS
from deployer.model import Document

if TYPE_CHECKING:
    from deployer.agent import replies
    from deployer.agent.commit.states import CommitState
    from deployer.agent.replies import FailedStep

#: The name of a commit whose records cannot be read.
UNKNOWN = "unknown"

#: Why a host rolled a commit back on its own: as the agent records it, and for users.
OWN_REASONS: Mapping[str, str] = {
    "deadline": "it was not confirmed by its deadline",
    "boot": "the host was booted again before it was confirmed",
    "it was not confirmed in time": "it was not confirmed in time",
    "the controller went away": "the run that created it disconnected",
    "the controller went away during the apply": (
        "the run that created it disconnected while applying changes"
    ),
}

_DAMAGED = (
    "the host is as it was found: the journal is damaged, so nothing is restored by guesswork"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A process that holds the host's lock; `since` is in RFC 3339, by the host's clock."""

    who: str
    origin: str
    since: str

    @property
    def owner(self) -> str:
        """``the run of ada from desk``, or outside of a run: ``the watchdog on web1``."""
        if " " in self.who:
            return f"{self.who} on {self.origin}"
        return f"the run of {_by(self.who, self.origin)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedCommit:
    """A commit that is neither confirmed nor rolled back; times are by the host's clock."""

    commit: str
    who: str
    origin: str
    time: str
    state: CommitState
    deadline: str = ""
    watched: bool = True
    failed: tuple[FailedStep, ...] = ()

    @property
    def name(self) -> str:
        """``the commit 20261121T053217Z-abc123 of ada from desk``."""
        return f"the commit {self.commit} of {_by(self.who, self.origin)}"

    @property
    def is_damaged(self) -> bool:
        """Whether its journal is damaged: then no rollback is ever attempted."""
        return any(item["resource_id"] == "journal" for item in self.failed)

    @property
    def means(self) -> str:
        """The state of the host, for users."""
        return _DAMAGED if self.is_damaged else MEANINGS[self.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a commit ended; `generation` is the number of a confirmed one."""

    commit: str
    who: str
    origin: str
    time: str
    state: str
    why: str = ""
    kept: tuple[Mapping[str, str], ...] = ()
    generation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """All three; `None` for those that do not exist."""

    lock: Lock | None = None
    unfinished: UnfinishedCommit | None = None
    last: Ended | None = None


def status_from(about: replies.HostState) -> HostStatus:
    """The status in the reply to ``facts`` (docs/reference/protocol.md), under ``deployer``."""
    lock, pending, last = about["lock"], about["pending"], about["last"]
    return HostStatus(
        lock=Lock(who=lock["who"], origin=lock["from"], since=lock["since"]) if lock else None,
        unfinished=unfinished_from(pending) if pending else None,
        last=ended_from(last) if last else None,
    )


def unfinished_from(about: Document) -> UnfinishedCommit:
    """The unfinished commit in a reply to ``facts``, or in the error ``pending``."""
    return UnfinishedCommit(
        commit=about["commit"],
        who=about["who"],
        origin=about["from"],
        time=about["time"],
        state=about["state"],
        deadline=about.get("deadline", ""),
        watched=about.get("watched", True),
        failed=tuple(about.get("failed", ())),
    )


def ended_from(record: Document) -> Ended:
    """A record of the history, or ``last`` in a reply to ``facts``."""
    return Ended(
        commit=record["commit"],
        who=record["who"],
        origin=record["from"],
        time=record["time"],
        state=record["state"],
        why=record.get("why", ""),
        kept=tuple(record.get("kept", ())),
        generation=record.get("generation"),
    )


def lock_from(details: Document) -> Lock:
    """The holder of the lock in the error ``locked``."""
    who, _, origin = str(details.get("holder", "")).partition(" from ")
    return Lock(who=who, origin=origin, since=str(details.get("since", "")))


# --- JSON -----------------------------------------------------------------------------------------


def status_document(
    *,
    lock: Lock | None = None,
    unfinished: UnfinishedCommit | None = None,
    last: Ended | None = None,
    recover: str = "",
) -> dict[str, object] | None:
    """The same for ``--json``; `None` if there is nothing to report.

    Keys, if they have a value: ``lock``, ``under_way``, ``last``, and ``recover``, the command line
    that fixes the commit under way.
    """
    document: dict[str, Any] = {}
    if lock is not None:
        document["lock"] = {"who": lock.who, "from": lock.origin, "since": lock.since}
    if unfinished is not None:
        document["under_way"] = {
            **_commit_document(unfinished),
            "means": unfinished.means,
            "deadline": unfinished.deadline or None,
            "watched": unfinished.watched,
            "failed": [dict(item) for item in unfinished.failed],
        }
        document["recover"] = _fixing_command(unfinished, recover)
    if last is not None:
        kept = [item["path"] for item in last.kept]
        document["last"] = {**_commit_document(last), "why": last.why, "kept": kept}
    return document or None


def _commit_document(commit: UnfinishedCommit | Ended) -> dict[str, object]:
    return {
        "commit": commit.commit,
        "who": commit.who,
        "from": commit.origin,
        "time": commit.time,
        "state": commit.state,
    }


# --- messages -------------------------------------------------------------------------------------


def lock_words(lock: Lock, *, now: datetime, waited_s: float = 0.0, history: str) -> str:
    """Why a run cannot begin, and for how long it waited.

    `history` is the command that shows how the other run ended.
    """
    holds = f"{lock.owner} {'still ' if waited_s else ''}holds the lock of this host"
    waited = f"; waited {waited_s:g} s for it" if waited_s else ""
    return (
        f"{holds}, since {when(lock.since, now)}{waited}\n"
        "--lock-timeout SECONDS waits until it ends;\n"
        f"`{history}` then shows how it ended."
    )


def unfinished_words(found: UnfinishedCommit, *, now: datetime, recover: str = "") -> str:
    """What was found, since when and by whom, the state of the host, and the command that fixes it.

    Without `recover`, only what was found: the user is asked about it.
    """
    begun = when(found.time, now)
    lines = [
        f"{found.name}, started {begun}, {_UNFINISHED[found.state]}",
        f"State: {found.state}: {found.means}.",
        *(f"    {item['resource_id']}: {_indented(item['message'])}" for item in found.failed),
        *_automatic_rollback(found, now),
        *(_fix(found, recover) if recover else ()),
    ]
    return "\n".join(lines)


def unfinished_notes(status: HostStatus, *, now: datetime, recover: str) -> Iterator[str]:
    """Warnings for a command that only reads the host: its state may change. One line each."""
    lock, found = status.lock, status.unfinished
    if lock is not None:
        since = when(lock.since, now)
        yield f"{lock.owner} holds the lock of this host, since {since}: its state may change"
    elif found is not None:
        yield (
            f"{found.name} is {found.state}: "
            f"{found.means}; this report shows its present state; "
            f"to fix it: {_fixing_command(found, recover)}"
        )


def last_note(last: Ended | None, *, now: datetime) -> str:
    """That the last commit ended differently from what its run may have seen; else empty."""
    if last is None:
        return ""
    whose = f"the last commit here, of {_by(last.who, last.origin)}, started {when(last.time, now)}"
    if last.state == "abandoned":
        return f"{whose}, was abandoned: {MEANINGS['abandoned']}"
    reason = OWN_REASONS.get(last.why)
    back = f"was rolled back by the host: {reason}" if reason else "was rolled back"
    if last.kept:
        paths = ", ".join(item["path"] for item in last.kept)
        return f"{whose}, {back}; not restored, because it was changed meanwhile: {paths}"
    return f"{whose}, {back}" if reason else ""


def outcome_words(last: Ended | None, *, now: datetime) -> str:
    """How the newest commit of a host's history ended."""
    if last is None:
        return "nothing has been applied here yet"
    whose = f"the last commit, of {_by(last.who, last.origin)}, started {when(last.time, now)}"
    if last.state == "confirmed":
        return f"{whose}, was confirmed as generation {last.generation}"
    note = last_note(last, now=now)
    return note or f"{whose}, was rolled back: {last.why}"


def when(text: str, now: datetime) -> str:
    """``2026-11-21 05:32:17 UTC, 12 minutes ago``; without the age if the clocks disagree."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text or "at an unknown time"
    age_s = (now - at).total_seconds()
    ago = f", {_span(age_s)} ago" if age_s >= 0 else ""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{ago}"


_UNFINISHED: Mapping[CommitState, str] = {
    "pending": "is neither confirmed nor rolled back",
    "reverting": "is partly rolled back",
    "revert-failed": "could not be rolled back",
}


def _automatic_rollback(found: UnfinishedCommit, now: datetime) -> Sequence[str]:
    """What the host will do on its own."""
    if not found.time:
        return ("Its record cannot be read: whether the host rolls it back on its own is unknown.",)
    if not found.watched and found.state != "revert-failed":
        return ("It was applied without a watchdog: the host does not roll it back on its own.",)
    if found.state == "pending":
        try:
            due = datetime.fromisoformat(found.deadline)
        except ValueError:
            return ("The host's watchdog rolls it back at the next boot, if not before.",)
        moment = f"soon after {due.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        moment = "shortly" if due <= now else moment
        return (f"The host's watchdog rolls it back {moment}, or at the next boot.",)
    if found.state == "reverting":
        return ("The host's watchdog continues the rollback shortly, or at the next boot.",)
    return ()


def _fix(found: UnfinishedCommit, recover: str) -> Iterator[str]:
    nothing = "Nothing was changed by this run."
    if found.is_damaged:
        yield f"{nothing} {leave_words(recover)}"
    elif found.state == "revert-failed":
        yield f"{nothing} To fix it, once the cause is gone: {recover}"
        yield leave_words(recover)
    else:
        yield f"{nothing} To fix it: {recover}"


def _fixing_command(found: UnfinishedCommit, recover: str) -> str:
    return f"{recover} --abandon" if found.is_damaged else recover


def leave_words(recover: str) -> str:
    """The command that abandons a commit that cannot be rolled back."""
    return f"To leave the host as it is now: {recover} --abandon"


def _by(who: str, origin: str) -> str:
    return f"{who or 'someone'} from {origin or 'somewhere'}"


def _span(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}s"
    return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n        ")
