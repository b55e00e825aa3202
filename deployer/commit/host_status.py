"""What stands on a host between two runs, and the words for it. Pure.

A host tells, with its facts, whether a process is at work on it now (its lock), which commit is
neither confirmed nor taken back (under way), and how the newest commit ended where nobody confirmed
it. What a person is told of these always has the same parts: what was found, since when and by
whom, what the host's state is now, and which command mends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deployer.commit.states import MEANINGS, CommitState

#: The name of a commit whose records cannot be read.
UNKNOWN = "unknown"

#: Why a host has taken a commit back by itself, in the runner's words, and for people.
OWN_REASONS: Mapping[str, str] = {
    "deadline": "it was not confirmed by its deadline",
    "boot": "the host was booted again before it was confirmed",
    "it was not confirmed in time": "it was not confirmed in time",
    "the controller went away": "the run that made it went away",
    "the controller went away during the apply": "the run that made it went away amid its changes",
}

_DAMAGED = "the host is as it was found: the journal is damaged, and nothing is put back by guess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A process at work on the host; `since` is in RFC 3339, by the host's clock."""

    who: str
    origin: str
    since: str

    @property
    def owner(self) -> str:
        """``the run of ada from desk``, or what has no run: ``the watchdog on web1``."""
        if " " in self.who:
            return f"{self.who} on {self.origin}"
        return f"the run of {_by(self.who, self.origin)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A commit that is neither confirmed nor taken back; times are by the host's clock."""

    commit: str
    who: str
    origin: str
    time: str
    state: CommitState
    deadline: str = ""
    watched: bool = True
    failed: tuple[Mapping[str, str], ...] = ()

    @property
    def name(self) -> str:
        """``the commit 20261121T053217Z-abc123 of ada from desk``."""
        return f"the commit {self.commit} of {_by(self.who, self.origin)}"

    @property
    def is_damaged(self) -> bool:
        """Whether its journal is not as it was written: then no revert is tried, now or later."""
        return any(item["resource_id"] == "journal" for item in self.failed)

    @property
    def means(self) -> str:
        """What that says about the host, for a person."""
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
class Standing:
    """All three; `None` where there is none."""

    lock: Lock | None = None
    under_way: UnderWay | None = None
    last: Ended | None = None


def standing_from(about: Mapping[str, Any]) -> Standing:
    """What the reply to ``facts`` (docs/reference/protocol.md) says under ``deployer``."""
    lock, pending, last = about["lock"], about["pending"], about["last"]
    return Standing(
        lock=Lock(who=lock["who"], origin=lock["from"], since=lock["since"]) if lock else None,
        under_way=under_way_from(pending) if pending else None,
        last=ended_from(last) if last else None,
    )


def under_way_from(about: Mapping[str, Any]) -> UnderWay:
    """A commit under way as ``facts``, or the error ``pending``, has it."""
    return UnderWay(
        commit=about["commit"],
        who=about["who"],
        origin=about["from"],
        time=about["time"],
        state=about["state"],
        deadline=about.get("deadline", ""),
        watched=about.get("watched", True),
        failed=tuple(about.get("failed", ())),
    )


def ended_from(record: Mapping[str, Any]) -> Ended:
    """A record of the history, or what ``facts`` says under ``last``."""
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


def lock_from(details: Mapping[str, Any]) -> Lock:
    """The holder of the lock as the error ``locked`` has it."""
    who, _, origin = str(details.get("holder", "")).partition(" from ")
    return Lock(who=who, origin=origin, since=str(details.get("since", "")))


# --- for programs ---------------------------------------------------------------------------------


def found_document(
    *,
    lock: Lock | None = None,
    under_way: UnderWay | None = None,
    last: Ended | None = None,
    recover: str = "",
) -> dict[str, Any] | None:
    """The same as data, for ``--json``; `None` where nothing was found.

    Keys, where there is something to say: ``lock``, ``under_way``, ``last``, and ``recover``, the
    command line that mends what is under way.
    """
    document: dict[str, Any] = {}
    if lock is not None:
        document["lock"] = {"who": lock.who, "from": lock.origin, "since": lock.since}
    if under_way is not None:
        document["under_way"] = {
            **_commit_document(under_way),
            "means": under_way.means,
            "deadline": under_way.deadline or None,
            "watched": under_way.watched,
            "failed": [dict(item) for item in under_way.failed],
        }
        document["recover"] = _mending(under_way, recover)
    if last is not None:
        kept = [item["path"] for item in last.kept]
        document["last"] = {**_commit_document(last), "why": last.why, "kept": kept}
    return document or None


def _commit_document(commit: UnderWay | Ended) -> dict[str, Any]:
    return {
        "commit": commit.commit,
        "who": commit.who,
        "from": commit.origin,
        "time": commit.time,
        "state": commit.state,
    }


# --- words ----------------------------------------------------------------------------------------


def lock_words(lock: Lock, *, now: datetime, waited_s: float = 0.0, history: str) -> str:
    """Why a run cannot begin; after a wait in vain, how long that was.

    `history` is the command that tells what came of the other run.
    """
    at_work = f"{lock.owner} is {'still ' if waited_s else ''}at work on this host"
    waited = f"; waited {waited_s:g} s for it" if waited_s else ""
    return (
        f"{at_work}, since {when(lock.since, now)}{waited}\n"
        "--lock-timeout SECONDS waits until it has ended;\n"
        f"`{history}` then tells what came of it."
    )


def under_way_words(found: UnderWay, *, now: datetime, recover: str = "") -> str:
    """What was found, since when, by whom, the host's state now, and the command that mends it.

    Without `recover`, only what was found: the person is asked about it.
    """
    begun = when(found.time, now)
    lines = [
        f"{found.name}, begun {begun}, {_UNFINISHED[found.state]}",
        f"State: {found.state}: {found.means}.",
        *(f"    {item['resource_id']}: {_inset(item['message'])}" for item in found.failed),
        *_by_itself(found, now),
        *(_mend(found, recover) if recover else ()),
    ]
    return "\n".join(lines)


def unsettled_notes(standing: Standing, *, now: datetime, recover: str) -> Iterator[str]:
    """For a command that only looks, in a line each: what it sees may not stay."""
    lock, found = standing.lock, standing.under_way
    if lock is not None:
        since = when(lock.since, now)
        yield f"{lock.owner} is at work on this host, since {since}: what is seen here may change"
    elif found is not None:
        yield (
            f"{found.name} is {found.state}: "
            f"{found.means}; what is seen here is how it is now; "
            f"to mend it: {_mending(found, recover)}"
        )


def last_note(last: Ended | None, *, now: datetime) -> str:
    """That the last commit did not end as its run may have seen it; empty where it did."""
    if last is None:
        return ""
    whose = f"the last commit here, of {_by(last.who, last.origin)}, begun {when(last.time, now)}"
    if last.state == "abandoned":
        return f"{whose}, was given up: {MEANINGS['abandoned']}"
    reason = OWN_REASONS.get(last.why)
    back = f"was taken back by the host: {reason}" if reason else "was taken back"
    if last.kept:
        paths = ", ".join(item["path"] for item in last.kept)
        return f"{whose}, {back}; kept, because someone had changed it meanwhile: {paths}"
    return f"{whose}, {back}" if reason else ""


def outcome_words(last: Ended | None, *, now: datetime) -> str:
    """How the newest commit of a host's history ended."""
    if last is None:
        return "nothing was applied here yet"
    whose = f"the last commit, of {_by(last.who, last.origin)}, begun {when(last.time, now)}"
    if last.state == "confirmed":
        return f"{whose}, was confirmed as generation {last.generation}"
    told = last_note(last, now=now)
    return told or f"{whose}, was taken back: {last.why}"


def when(text: str, now: datetime) -> str:
    """``2026-11-21 05:32:17 UTC, 12 minutes ago``; the age is left out where clocks disagree."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text or "at an unknown time"
    age_s = (now - at).total_seconds()
    ago = f", {_span(age_s)} ago" if age_s >= 0 else ""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{ago}"


_UNFINISHED: Mapping[CommitState, str] = {
    "pending": "is neither confirmed nor taken back",
    "reverting": "is half taken back",
    "revert-failed": "could not be taken back",
}


def _by_itself(found: UnderWay, now: datetime) -> Sequence[str]:
    """What the host will do without being asked."""
    if not found.time:
        return ("Its record cannot be read: whether the host takes it back by itself is unknown.",)
    if not found.watched and found.state != "revert-failed":
        return ("It was made without a watchdog: the host does nothing about it by itself.",)
    if found.state == "pending":
        try:
            due = datetime.fromisoformat(found.deadline)
        except ValueError:
            return ("The host's watchdog takes it back at the next boot, if not before.",)
        moment = f"soon after {due.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        moment = "within moments" if due <= now else moment
        return (f"The host's watchdog takes it back {moment}, or at the next boot.",)
    if found.state == "reverting":
        return ("The host's watchdog goes on with it within moments, or at the next boot.",)
    return ()


def _mend(found: UnderWay, recover: str) -> Iterator[str]:
    nothing = "Nothing was changed by this run."
    if found.is_damaged:
        yield f"{nothing} {leave_words(recover)}"
    elif found.state == "revert-failed":
        yield f"{nothing} To mend it, once the cause is gone: {recover}"
        yield leave_words(recover)
    else:
        yield f"{nothing} To mend it: {recover}"


def _mending(found: UnderWay, recover: str) -> str:
    return f"{recover} --abandon" if found.is_damaged else recover


def leave_words(recover: str) -> str:
    """The command that gives up what cannot be taken back."""
    return f"To leave the host as it is now: {recover} --abandon"


def _by(who: str, origin: str) -> str:
    return f"{who or 'someone'} from {origin or 'somewhere'}"


def _span(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}s"
    return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"


def _inset(text: str) -> str:
    return text.strip().replace("\n", "\n        ")
