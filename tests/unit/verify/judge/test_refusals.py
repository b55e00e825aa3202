"""Redirects of a service below a stripped prefix are the same as those that clients get."""

from __future__ import annotations

import pytest

from deployer.model import HandshakeResult
from deployer.verify.judge.refusals import is_same_refusal
from deployer.verify.probe.attempt import Attempt


def redirect(location: str) -> Attempt:
    return Attempt(
        answer=HandshakeResult(
            uri="ws://a.example/", hop="proxy", status_code=302, headers=(("Location", location),)
        )
    )


@pytest.mark.parametrize(
    ("through", "is_same"), [("/app/login", True), ("/app/", False), ("/login", True)]
)
def test_the_prefix_does_not_count(through: str, is_same: bool) -> None:
    direct = redirect("http://127.0.0.1:3000/login")
    assert is_same_refusal(redirect(through), direct, below="/app") is is_same
