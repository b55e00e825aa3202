"""Why a program on the host did not start: messages of sudo and the shell, and their meaning."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.errors import AuthenticationError, HostError, UnreachableError
from deployer.transport.command import Elevation


class NoPythonError(UnreachableError):
    """The host has no python3, or only a part of it."""


#: Phrases of sudo, sudo-rs, su and doas, what they mean, and what to do.
_REFUSALS = (
    (
        ("unknown user", "user not found", "does not exist"),
        "the host has no user {target}",
        "See ansible_become_user.",
    ),
    (
        ("doas is not enabled", "operation not permitted"),
        "{user} may not become {target} with {method}",
        "Allow {user} to do so in /etc/doas.conf.",
    ),
    (
        ("not in the sudoers", "not allowed to", "may not run", "i'm afraid i can't do that"),
        "{user} may not become {target} with sudo",
        "Allow {user} to do so in /etc/sudoers.",
    ),
    (
        ("try again", "incorrect password", "authentication fail", "incorrect authentication"),
        "{method} rejects the password of {whose}",
        "Correct it, or let deployer ask for it with -K.",
    ),
    (
        (
            *("password is required", "terminal is required", "authentication is required"),
            *("authentication required", "authentication failure"),
        ),
        "{method} asks for the password of {whose}",
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
        if self.elevation.method is not None:
            problem, hint = self._refusal(said, self.elevation.method)
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

    def _refusal(self, said: str, method: str) -> tuple[str, str]:
        """The refusal to become another user, and its fix; empty if it was something else."""
        elevation = self.elevation
        user, is_own = elevation.user, "python3" not in said
        if method in said and is_own:
            is_missing = "no such file" in said or "not found" in said
            if is_missing and "doas.conf" not in said:
                return (
                    f"there is no {elevation.exe[0]} on the host",
                    f"Log in as root, or install {method} for {user}.",
                )
            if "must have a tty" in said:
                return (
                    "sudo requires a terminal (requiretty)",
                    f"Add to /etc/sudoers: Defaults:{user} !requiretty",
                )
        words = {"user": user, "target": elevation.target, "method": method}
        words["whose"] = elevation.whose
        for phrases, problem, hint in _REFUSALS:
            has_password = elevation.password is not None
            if "{method} rejects" in problem and not has_password:
                continue
            if "doas.conf" in hint and method != "doas":
                continue
            if any(phrase in said for phrase in phrases):
                if method == "doas" and "-K" in hint:
                    hint = "Allow it without one: permit nopass {user} in /etc/doas.conf."
                return problem.format(**words), hint.format(**words)
        if said.startswith(f"{method}:") and is_own:
            return f"{method} refuses: {self.said}", ""
        return "", ""
