"""Marks for results, which the page shows as signs and colours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from deployer.model import Document

Mark = Literal["good", "warn", "bad", "skip"]

_FROM_THE_WORST: tuple[Mark, ...] = ("bad", "warn", "good", "skip")


def mark_of(check: Document) -> Mark:
    """The mark of a check, given as its JSON document."""
    if check.get("skipped"):
        return "skip"
    if not check["ok"]:
        return "bad"
    finding = check.get("finding")
    return "warn" if finding and finding.get("severity") == "warning" else "good"


def worst(marks: Sequence[Mark]) -> Mark:
    """The worst of `marks`; ``skip`` ranks below ``good``."""
    return next((mark for mark in _FROM_THE_WORST if mark in marks), "good")


def is_open(check: Document) -> bool:
    """Whether the check has opened a WebSocket."""
    handshake: Mapping[str, object] = check.get("handshake") or {}
    return handshake.get("status_code") == 101
