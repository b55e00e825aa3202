"""Starting a program on the host, as root if required: the command, and sudo's dialogue."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deployer.errors import AuthenticationError
from deployer.text import connection
from deployer.transport.options import ConnectOptions
from deployer.transport.process import Process, seconds_left


@dataclass(frozen=True, slots=True, kw_only=True)
class Elevation:
    """How `user` of `host` becomes root: not at all, by sudo, or by sudo with a password.

    `prompt` is sudo's password prompt on standard error; it is different for each connection, so
    that it cannot be confused with anything else. `target` is the user to become; `exe` and `flags`
    are sudo and its options.
    """

    host: str
    user: str
    uses_sudo: bool
    password: str | None = field(default=None, repr=False)
    prompt: str = ""
    target: str = "root"
    exe: tuple[str, ...] = ("sudo",)
    flags: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, options: ConnectOptions, *, host: str, user: str, variables: Mapping[str, object]
    ) -> Elevation:
        """According to `options` and the host's variables; who is the target needs nothing."""
        target = str(options.value(variables, connection.BECOME_USER) or "root")
        if user == target or not options.become:
            return cls(host=host, user=user, uses_sudo=False)
        password = options.become_password
        prompt = "" if password is None else f"[deployer-{secrets.token_hex(8)}]"
        return cls(
            host=host,
            user=user,
            uses_sudo=True,
            password=password,
            prompt=prompt,
            target=target,
            exe=_words(options.value(variables, connection.BECOME_EXE)) or ("sudo",),
            flags=_words(options.value(variables, connection.BECOME_FLAGS)),
        )

    def argv(self, program: Sequence[str]) -> list[str]:
        """`program` with sudo before it. Source: sudo(8), -n, -S, -p and -u."""
        if not self.uses_sudo:
            return list(program)
        how = ["-n"] if self.password is None else ["-S", "-p", self.prompt]
        flags = self.flags if self.password is None else _interactive(self.flags)
        as_user = [] if self.target == "root" else ["-u", self.target]
        # In the C locale, so that sudo's messages can be recognised.
        return ["env", "LC_ALL=C", *self.exe, *flags, *how, *as_user, "--", *program]

    def shell_line(self, program: Sequence[str]) -> str:
        """The same as one line for the login shell, which it replaces."""
        return "exec " + shlex.join(self.argv(program))

    def give_password(
        self, process: Process, *, has_begun: Callable[[], bool], timeout_s: float
    ) -> None:
        """Answer sudo's prompt once; return when the program has begun or ended, or in time.

        The password must not become the program's input, so it waits for the prompt, and
        everything else for `has_begun`.

        Raises: AuthenticationError if sudo asks again; OSError if it is gone.
        """
        if self.password is None:
            return
        prompt = self.prompt.encode()
        deadline = time.monotonic() + timeout_s
        for answered in (0, 1):
            process.wait(
                lambda before=answered: (  # type: ignore[misc]
                    has_begun() or process.has_ended or process.count_in_errors(prompt) > before
                ),
                seconds_left(deadline),
            )
            if has_begun() or process.has_ended or process.count_in_errors(prompt) <= answered:
                return
            if answered:
                raise AuthenticationError(
                    f"sudo rejects the password of {self.user}",
                    host=self.host,
                    doing="becoming root",
                    hint="Correct it, or let deployer ask for it with -K.",
                )
            process.write(f"{self.password}\n".encode())

    def without_prompt(self, said: str) -> str:
        """A program's standard error, without sudo's prompts."""
        if self.prompt:
            # sudo-rs prints [sudo: PROMPT] Password:
            said = said.replace(f"[sudo: {self.prompt}] Password:", "").replace(self.prompt, "")
        return said.strip()


def _words(text: object) -> tuple[str, ...]:
    return () if text is None else tuple(shlex.split(str(text)))


#: Letters of sudo's options without a value, which may share one word.
_LETTERS = frozenset("ABEHKNPSVbeiknsv")


def _interactive(flags: Sequence[str]) -> list[str]:
    """The flags without ``-n``: with a password, as in Ansible, sudo may ask for it."""
    found = []
    for flag in flags:
        if flag.startswith("-") and not flag.startswith("--") and set(flag[1:]) <= _LETTERS:
            flag = flag.replace("n", "")
        if flag not in ("-", "--non-interactive"):
            found.append(flag)
    return found
