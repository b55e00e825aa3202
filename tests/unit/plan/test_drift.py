"""The report about a resource that has changed since its plan was made."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.model import Observation
from deployer.plan.drift import stale_lines, stale_text
from deployer.plan.model import Change, Plan

FILE = {"type": "file", "sha256": "a" * 64, "size": 12, "mode": "0644", "owner": "root"}


def lines(
    resource_id: str, before: Any, now: Any, *, secret: bool = False, problem: str = ""
) -> tuple[str, ...]:
    """The lines about one resource that was `before` and is `now`."""
    change = Change(
        resource_id=resource_id,
        action="no-op",
        before=before,
        after=before,
        fingerprint="then",
        secret=secret,
    )
    seen = Observation(resource_id=resource_id, attributes=now, fingerprint="now", problem=problem)
    plan = Plan(host="web1", created_at="2026-11-21T09:00:00+00:00", changes=(change,))
    return stale_lines(plan, [seen])


@pytest.mark.parametrize(
    ("resource_id", "before", "now", "words"),
    [
        (
            "file:/etc/a",
            FILE,
            {**FILE, "sha256": "b" * 64, "size": 1, "mode": "0600"},
            ("file /etc/a: content differs, was 12 bytes, is 1 byte, was mode 0644, is mode 0600"),
        ),
        ("file:/etc/a", FILE, None, "file /etc/a: was removed"),
        (
            "file:/etc/a",
            None,
            FILE,
            ("file /etc/a: was created (type file, 12 bytes, mode 0644, owner root)"),
        ),
        (
            "file:/etc/a",
            FILE,
            {"type": "link", "target": "/b"},
            (
                "file /etc/a: was type file, is type link, content differs, "
                "was 12 bytes, is without size, was mode 0644, is without mode, "
                "was owner root, is without owner, was without target, is target /b"
            ),
        ),
        (
            "service:nginx",
            {"enabled": True, "active": True},
            {"enabled": True, "active": False},
            "service nginx: was active, is not active",
        ),
        (
            "package:nginx",
            {"version": "1.22"},
            {"version": "1.24"},
            "package nginx: was version 1.22, is version 1.24",
        ),
        (
            "user:www",
            {"groups": []},
            {"groups": ["a", "b"]},
            "user www: was groups none, is groups a b",
        ),
        ("command:x", {"done": True}, {"done": False}, "command x: was done, is not done"),
        ("command:x", {"done": True}, {"done": True}, "command x: differs"),
    ],
)
def test_each_difference_is_named(resource_id: str, before: Any, now: Any, words: str) -> None:
    assert lines(resource_id, before, now) == (words,)


def test_no_free_text_of_a_secret_is_shown() -> None:
    before = {**FILE, "comment": "hunter2"}
    now = {**FILE, "sha256": "b" * 64, "comment": "hunter3"}
    (line,) = lines("file:/etc/a", before, now, secret=True)
    assert line == "file /etc/a: content differs, comment differs"
    (line,) = lines("file:/etc/a", None, now, secret=True)
    assert "hunter" not in line
    assert "b" * 64 not in line


def test_an_unreadable_resource_is_reported_with_its_reason() -> None:
    (line,) = lines("file:/etc/a", FILE, None, problem="/etc is not a folder")
    assert line == "file /etc/a: can no longer be read: /etc is not a folder"


def test_an_unchanged_resource_is_not_named() -> None:
    change = Change(
        resource_id="file:/a", action="no-op", before=FILE, after=FILE, fingerprint="same"
    )
    plan = Plan(host="web1", created_at="2026-11-21T09:00:00+00:00", changes=(change,))
    seen = Observation(resource_id="file:/a", attributes=FILE, fingerprint="same")
    assert stale_lines(plan, [seen]) == ()


def test_a_resource_that_changed_back_is_named() -> None:
    assert stale_text(["file /a: was removed"], named=["file:/a"]) == (
        "the host has changed since the plan was made:\n    file /a: was removed"
    )
    assert stale_text((), named=["file:/a:b"]) == (
        "the host has changed since the plan was made:\n"
        "    file /a:b: changed briefly and is back to what the plan recorded"
    )
