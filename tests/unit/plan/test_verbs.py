"""The verbs of changes: each kind has its own."""

from __future__ import annotations

import pytest

from deployer.model import Attributes
from deployer.plan.verbs import counted, past, verbs


@pytest.mark.parametrize(
    ("kind", "action", "done"),
    [
        ("package", "create", "installed"),
        ("package", "update", "upgraded"),
        ("package", "delete", "removed"),
        ("file", "create", "created"),
        ("file", "update", "updated"),
        ("directory", "delete", "deleted"),
        ("user", "create", "created"),
        ("command", "create", "run"),
        ("certificate", "update", "renewed"),
        ("service", "create", "set up"),
        ("service", "update", "changed"),
    ],
)
def test_each_kind_has_its_verbs(kind: str, action: str, done: str) -> None:
    assert past(verbs(kind, action)) == done


@pytest.mark.parametrize(
    ("before", "after", "done"),
    [
        (None, {"active": True, "enabled": True}, "started and enabled"),
        ({"active": False, "enabled": True}, {"active": True}, "started"),
        ({"active": True, "enabled": True}, {"active": False, "enabled": True}, "stopped"),
        ({"active": False, "enabled": True}, {"enabled": False}, "disabled"),
    ],
)
def test_a_service_is_started_stopped_enabled_or_disabled(
    before: Attributes | None, after: Attributes, done: str
) -> None:
    assert past(verbs("service", "update", before, after)) == done


def test_changes_are_counted_by_verb() -> None:
    found = [("delete",), ("install",), ("start", "enable"), ("install",)]
    assert counted(found) == "2 to install, 1 to start and enable, 1 to delete"
    assert counted(found, is_done=True) == "2 installed, 1 started and enabled, 1 deleted"
