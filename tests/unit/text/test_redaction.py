"""Masking of secrets in output."""

from __future__ import annotations

from deployer.commit.messages import error_words
from deployer.errors import AgentError
from deployer.model import CheckResult, HandshakeResult
from deployer.text.redaction import masked


def test_a_check_keeps_its_structure_without_secrets() -> None:
    handshake = HandshakeResult(
        uri="wss://a.example/ws?token=hunter2",
        hop="proxy",
        status_code=101,
        headers=(("X-Echo", "hunter2!"),),
        timings_s={"tls": 0.1},
        body=b"hunter2",
    )
    check = CheckResult(
        site="a.example",
        name="verify",
        target="/ws?token=hunter2",
        hop="proxy",
        ok=True,
        handshake=handshake,
    )
    (shown,) = masked([check], {"hunter2"})
    assert "hunter2" not in repr(shown)
    assert shown.target == "/ws?token=(secret)"
    assert shown.handshake is not None
    assert shown.handshake.headers == (("X-Echo", "(secret)!"),)
    assert (shown.handshake.status_code, shown.handshake.timings_s) == (101, {"tls": 0.1})


def test_a_longer_secret_is_masked_before_one_that_it_contains() -> None:
    assert masked("pass: hunter22", {"hunter2", "hunter22"}) == "pass: (secret)"


def test_the_output_of_a_secret_command_is_not_shown() -> None:
    error = AgentError(
        "run: /bin/sh ended with exit code 3",
        host="web1",
        code="step-failed",
        details={"output": "hunter2"},
    )
    assert "hunter2" in error_words(error)
    assert "hunter2" not in error_words(error, has_secret_output=True)
    assert "exit code 3" in error_words(error, has_secret_output=True)
