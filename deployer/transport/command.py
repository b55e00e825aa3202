"""Starting a program on the host, as root if required: the command, and the password's dialogue.

Sources: sudo(8), -n, -S, -p and -u; su(1) of util-linux; doas(1) of OpenDoas, which reads passwords
from a terminal only.
"""

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
    """How `user` of `host` becomes `target`: not at all, or by `method`, which may need a password.

    `prompt` is the password prompt on standard error; sudo's is different for each connection, so
    that it cannot be confused with anything else. `exe` is the program, `flags` are its options.
    """

    host: str
    user: str
    method: str | None
    password: str | None = field(default=None, repr=False)
    prompt: str = ""
    target: str = "root"
    exe: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, options: ConnectOptions, *, host: str, user: str, variables: Mapping[str, object]
    ) -> Elevation:
        """According to `options` and the host's variables; who is the target needs nothing.

        Raises: AuthenticationError, if the method cannot be given the password.
        """
        target = str(options.value(variables, connection.BECOME_USER) or "root")
        if user == target or not options.become:
            return cls(host=host, user=user, method=None)
        method = str(options.value(variables, connection.BECOME_METHOD) or "sudo")
        password = options.become_password
        # The variables of sudo's own have no effect on the others.
        end = None if method == "sudo" else 1
        exe, flags = (
            _words(options.value(variables, names[:end]))
            for names in (connection.BECOME_EXE, connection.BECOME_FLAGS)
        )
        if method == "doas" and password is not None:
            raise AuthenticationError(
                f"doas reads the password of {user} from a terminal only",
                host=host,
                doing="becoming root",
                hint=f"Allow it without one, 'permit nopass {user}' in /etc/doas.conf, or use su.",
            )
        return cls(
            host=host,
            user=user,
            method=method,
            password=password,
            prompt="" if password is None else _prompt(method),
            target=target,
            exe=exe or (method,),
            flags=flags,
        )

    @property
    def whose(self) -> str:
        """Whose password is asked for."""
        return self.target if self.method == "su" else self.user

    def argv(self, program: Sequence[str]) -> list[str]:
        """`program` with what makes it run as `target` before it."""
        if self.method is None:
            return list(program)
        # In the C locale, so that messages can be recognised.
        start = ["env", "LC_ALL=C", *self.exe]
        if self.method == "su":
            return [*start, *self.flags, self.target, "-c", "exec " + shlex.join(program)]
        as_user = [] if self.target == "root" else ["-u", self.target]
        if self.method == "doas":
            return [*start, *self.flags, "-n", *as_user, "--", *program]
        how = ["-n"] if self.password is None else ["-S", "-p", self.prompt]
        flags = self.flags if self.password is None else _interactive(self.flags)
        return [*start, *flags, *how, *as_user, "--", *program]

    def shell_line(self, program: Sequence[str]) -> str:
        """The same as one line for the login shell, which it replaces."""
        return "exec " + shlex.join(self.argv(program))

    def give_password(
        self, process: Process, *, has_begun: Callable[[], bool], timeout_s: float
    ) -> None:
        """Answer the prompt once; return when the program has begun or ended, or in time.

        The password must not become the program's input, so it waits for the prompt, and
        everything else for `has_begun`.

        Raises: AuthenticationError if it asks again; OSError if it is gone.
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
                    f"{self.method} rejects the password of {self.whose}",
                    host=self.host,
                    doing="becoming root",
                    hint="Correct it, or let deployer ask for it with -K.",
                )
            process.write(f"{self.password}\n".encode())

    def without_prompt(self, said: str) -> str:
        """A program's standard error, without prompts."""
        if self.prompt:
            # sudo-rs prints [sudo: PROMPT] Password:
            said = said.replace(f"[sudo: {self.prompt}] Password:", "").replace(self.prompt, "")
        return said.strip()


def _prompt(method: str) -> str:
    return "Password: " if method == "su" else f"[deployer-{secrets.token_hex(8)}]"


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
