"""Why a program on the host did not start: messages of sudo and the shell, and their meaning."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.errors import AuthenticationError, HostError, UnreachableError
from deployer.transport.command import Elevation


class NoPythonError(UnreachableError):
    """The host has no python3, or only a part of it."""


#: Phrases of sudo and of sudo-rs, what they mean, and what to do.
_REFUSALS = (
    (
        ("unknown user", "user not found"),
        "the host has no user {target}",
        "See ansible_become_user.",
    ),
    (
        ("not in the sudoers", "not allowed to", "may not run", "i'm afraid i can't do that"),
        "{user} may not become {target} with sudo",
        "Allow {user} to do so in /etc/sudoers.",
    ),
    (
        ("try again", "incorrect password", "authentication fail", "incorrect authentication"),
        "sudo rejects the password of {user}",
        "Correct it, or let deployer ask for it with -K.",
    ),
    (
        ("password is required", "terminal is required", "authentication is required"),
        "sudo asks for the password of {user}",
        "Give it with -K, or as ansible_become_password.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program that failed to start: its exit status and its standard error."""

    elevation: Elevation
    status: int | None
    said: str

    def error(self) -> HostError:
        """The error to raise."""
        said = self.said.lower()
        if self.elevation.uses_sudo:
            problem, hint = self._sudo_refusal(said)
            if problem:
                return AuthenticationError(
                    problem, host=self.elevation.host, doing="becoming root", hint=hint
                )
        if "python" in said and ("not found" in said or "no such file" in said):
            return NoPythonError(
                "the host has no python3",
                host=self.elevation.host,
                doing="starting the agent",
                hint="Install it with --install-python, or by hand.",
            )
        if "no module named" in said:
            # Debian's python3-minimal has no json, for example.
            return NoPythonError(
                "python3 on the host lacks a part of its standard library: "
                + self.said.splitlines()[-1],
                host=self.elevation.host,
                doing="starting the agent",
                hint="Install the rest with --install-python, or by hand (package python3).",
            )
        ended = "ended" if self.status is None else f"ended with exit status {self.status}"
        return UnreachableError(
            f"the command that starts the agent {ended}"
            + (f": {self.said}" if self.said else " without a message"),
            host=self.elevation.host,
            doing="starting the agent",
            hint=""
            if self.said
            else f"Does the login shell of {self.elevation.user} run commands?",
        )

    def _sudo_refusal(self, said: str) -> tuple[str, str]:
        """sudo's refusal and its fix; `None` if it was not sudo."""
        user = self.elevation.user
        if "sudo" in said and "python3" not in said:
            if "no such file" in said or "not found" in said:
                return (
                    "there is no sudo on the host",
                    f"Log in as root, or install sudo for {user}.",
                )
            if "must have a tty" in said:
                return (
                    "sudo requires a terminal (requiretty)",
                    f"Add to /etc/sudoers: Defaults:{user} !requiretty",
                )
        for phrases, problem, hint in _REFUSALS:
            if any(phrase in said for phrase in phrases):
                target = self.elevation.target
                return problem.format(user=user, target=target), hint.format(user=user)
        if said.startswith("sudo:") and "python3" not in said:
            return f"sudo refuses: {self.said}", ""
        return "", ""
