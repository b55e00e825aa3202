"""What a rollback runs again."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.agent.commit.undo import _is_off


@pytest.mark.parametrize(
    ("service", "is_off"),
    [
        ({"attributes": {"enabled": True, "active": True}}, False),
        ({"attributes": {"enabled": False, "active": False}}, True),
        ({"attributes": {"enabled": False, "active": False}, "gone": True}, True),
    ],
)
def test_a_service_that_did_not_run_is_not_reloaded(service: dict[str, Any], is_off: bool) -> None:
    assert _is_off(service) is is_off
