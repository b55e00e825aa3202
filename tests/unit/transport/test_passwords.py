"""Passwords that are typed: when they are asked for, and where they never appear."""

from __future__ import annotations

import getpass
import sys

import pytest

from deployer.errors import UsageError
from deployer.transport.options import ConnectOptions
from deployer.transport.passwords import Passwords, ask_passwords


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is typed at each prompt; others fail."""
    typed: dict[str, str] = {}
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: typed.pop(prompt))
    return typed


def test_nothing_is_asked_unless_wanted() -> None:
    assert ask_passwords(for_login=False, for_become=False) == Passwords()


def test_each_password_has_its_prompt(answers: dict[str, str]) -> None:
    answers["SSH password: "] = "one"
    assert ask_passwords(for_login=True, for_become=False) == Passwords(login="one")
    answers["BECOME password: "] = "two"
    assert ask_passwords(for_login=False, for_become=True) == Passwords(become="two")


def test_the_ssh_password_serves_for_sudo_unless_another_is_typed(answers: dict[str, str]) -> None:
    for typed, become in (("", "one"), ("two", "two")):
        answers |= {"SSH password: ": "one", "BECOME password[defaults to SSH password]: ": typed}
        asked = ask_passwords(for_login=True, for_become=True)
        assert (asked.login, asked.become) == ("one", become)


def test_a_terminal_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match=r"-k prompts for a password, but there is no terminal"):
        ask_passwords(for_login=True, for_become=True)
    with pytest.raises(UsageError, match=r"-K prompts"):
        ask_passwords(for_login=False, for_become=True)


def test_no_repr_shows_a_password() -> None:
    options = ConnectOptions(password="hunter2", become_password="hunter3")
    assert "hunter" not in repr(options) + repr(Passwords(login="hunter2", become="hunter3"))
