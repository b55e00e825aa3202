"""The changes of a plan, for a page: one line each, with its diff. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from deployer.model import Document
from deployer.plan.verbs import change_verbs
from deployer.text.pem import summarized

_MARKS = {"create": "+", "update": "~", "delete": "−"}
#: A longer diff is truncated, to keep the page readable.
_MOST_LINES = 400
LineKind = Literal["add", "remove", "hunk", "context"]
_KINDS: Mapping[str, LineKind] = {"+": "add", "-": "remove", "@": "hunk"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """One change: its `action` as a word and a sign, and the lines of its diff."""

    action: str
    sign: str
    words: str
    kind: str
    name: str
    reason: str
    attributes: tuple[str, ...]
    lines: tuple[tuple[LineKind, str], ...]


def changes_of(plan: Document) -> tuple[ChangeView, ...]:
    """The changes of a plan's document, without unchanged resources."""
    return tuple(
        _change(change) for change in plan.get("changes", ()) if change["action"] in _MARKS
    )


def _change(change: Document) -> ChangeView:
    kind, _, name = str(change["resource_id"]).partition(":")
    reason = str(change.get("reason") or "")
    return ChangeView(
        action=change["action"],
        sign=_MARKS[change["action"]],
        words=", ".join(change_verbs(change)),
        kind=kind,
        name=name,
        reason=reason if reason != name else "",
        attributes=tuple(_attributes(change)),
        lines=tuple(_lines(change)),
    )


def _attributes(change: Document) -> Iterator[str]:
    """Changes other than content: ``mode 0644 → 0600``."""
    before, after = change.get("before") or {}, change.get("after") or {}
    if change.get("secret"):
        yield "secret: not shown"
        return
    if change["action"] != "update":
        return
    for key, value in after.items():
        if key in before and before[key] != value and key not in ("sha256", "size"):
            yield f"{key} {before[key]} → {value}"


def _lines(change: Document) -> Iterator[tuple[LineKind, str]]:
    before = summarized(str(change.get("before_content") or "")).splitlines()
    after = summarized(str(change.get("after_content") or "")).splitlines()
    for number, text in enumerate(difflib.unified_diff(before, after, lineterm="", n=3)):
        if number < 2:  # the two lines that name the files
            continue
        if number > _MOST_LINES:
            yield "hunk", "… and more"
            return
        yield _KINDS.get(text[:1], "context"), text
