"""Passwords that a user types: never an argument of a process, never in a ``repr``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from deployer.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """For the SSH login and for sudo; `None` if the user was not asked."""

    login: str | None = field(default=None, repr=False)
    become: str | None = field(default=None, repr=False)


def ask_passwords(*, for_login: bool, for_become: bool) -> Passwords:
    """Prompt for what ``-k`` and ``-K`` ask for; as in Ansible, the first may serve for both.

    Raises:
        UsageError: there is no terminal.
    """
    option = "-k" if for_login else "-K" if for_become else ""
    if not option:
        return Passwords()
    if not sys.stdin.isatty():
        raise UsageError(f"{option} prompts for a password, but there is no terminal.")
    from getpass import getpass

    login = getpass("SSH password: ") if for_login else None
    if not for_become:
        return Passwords(login=login)
    default = "[defaults to SSH password]" if for_login else ""
    become = getpass(f"BECOME password{default}: ")
    return Passwords(login=login, become=become or login)
