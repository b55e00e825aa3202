"""The history of a host as lines: the changes of each commit, its author and its result. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from deployer.agent.commit.states import UNDER_WAY
from deployer.commit.host_status import OWN_REASONS
from deployer.commit.rollback_note import to_words
from deployer.commit.states import MEANINGS
from deployer.model import Document
from deployer.plan.verbs import change_verbs, counted, past

_REASONS = {**OWN_REASONS, "interrupted": "its run was interrupted"}
_SHOWN_NAMES = 3
_SHOWN_LETTERS = 60


class HistoryLine(NamedTuple):
    """One line; continuation lines are indented by `hanging` more columns."""

    text: str
    style: str
    indent: int = 0
    hanging: int = 2


def history_lines(entries: Sequence[Document], *, verbose: bool = False) -> Iterator[HistoryLine]:
    """The lines of `entries` (docs/reference/protocol.md, ``history``), newest first."""
    if not entries:
        yield HistoryLine("nothing has been applied here yet", "note", 2)
    width = max(len(word) for word in ("confirmed", *map(_word, entries)))
    for entry in entries:
        yield from _entry_lines(entry, width=width, verbose=verbose)


def _entry_lines(entry: Document, *, width: int, verbose: bool) -> Iterator[HistoryLine]:
    number, state = entry["generation"], entry["state"]
    name = f"{number:>4}" if number is not None else "   -"
    style = "good" if state == "confirmed" else "bad"
    who = f"{entry['who'] or 'someone'} from {entry['from'] or 'somewhere'}"
    words = f"{name}  {_moment(entry['time'])}  {_word(entry):<{width}}  {who}"
    yield HistoryLine(words, style, 0, 6)
    if (to := entry.get("rolls_back_to")) is not None:
        word = "rolled back" if state == "confirmed" else "rollback"
        yield HistoryLine(f"{word} {to_words(to)}", "", 6)
    if entry.get("purpose"):
        yield HistoryLine(entry["purpose"], "", 6)
    yield HistoryLine(_changes(entry["changes"], with_names=not verbose), "", 6)
    for change in entry["changes"] if verbose else ():
        words = f"{past(change_verbs(change))} {_name(change)}"
        yield HistoryLine(words, "note", 8)
    if entry.get("why") and state not in ("confirmed", "abandoned"):
        yield HistoryLine(f"because {_REASONS.get(entry['why'], entry['why'])}", "note", 6)
    if state in UNDER_WAY and not _has_kept_files(entry):
        yield HistoryLine(f"not finished: {MEANINGS[state]}", "bad", 6)
    for item in entry.get("kept", ()):
        yield HistoryLine(f"but kept {item['path']}: {item['why']}", "bad", 6)
    for item in entry.get("failed", ()):
        yield HistoryLine(f"not restored: {item['resource_id']}: {item['message']}", "bad", 6)
    verified = entry["verified"]
    if verified and verbose:
        yield HistoryLine("verified by", "note", 6)
        yield from (HistoryLine(words, "note", 8) for words in verified)
    elif verified:
        words = ", ".join(_without_names(each) for each in verified)
        yield HistoryLine(f"verified by {words}", "note", 6)


def _word(entry: Document) -> str:
    return "reverted" if _has_kept_files(entry) else str(entry["state"])


def _has_kept_files(entry: Document) -> bool:
    """Whether all was restored except files changed by someone else: that commit is closed."""
    kept, failed = entry.get("kept"), entry.get("failed")
    return bool(kept) and not failed and entry["state"] == "revert-failed"


def _moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    except ValueError:
        return text or "at an unknown time "


def _without_names(verified: str) -> str:
    """``5 more checks`` from ``5 more checks: page, …``; anything else unchanged."""
    counted = verified.partition(": ")[0]
    return counted if counted.endswith((" more check", " more checks")) else verified


def _changes(changes: Sequence[Document], *, with_names: bool) -> str:
    """``1 installed, 2 updated: nginx, /etc/nginx/nginx.conf, /srv/page``."""
    if not changes:
        return "no changes, only reloads"
    words = counted(map(change_verbs, changes), is_done=True)
    if not with_names:
        return words
    names = ", ".join(_short(_name(change)) for change in changes[:_SHOWN_NAMES])
    more = len(changes) - _SHOWN_NAMES
    return f"{words}: {names}" + (f" and {more} more" if more > 0 else "")


def _name(change: Document) -> str:
    """``package nginx``, or a path without its kind."""
    kind, _, name = str(change["resource_id"]).partition(":")
    return name if name.startswith("/") else f"{kind} {name}"


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN_LETTERS else f"{name[: _SHOWN_LETTERS - 1]}…"
