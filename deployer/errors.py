"""Every error that a person can meet, and the exit code that it stands for.

Each error carries its data as attributes and builds its text in ``__str__``: where, what is wrong,
what state things are in now, and what to do next. Only the command line prints them::

    DeployerError
    ├── UsageError                  1  wrong usage, playbook or template; no host was touched
    │   ├── SourceError             1  one place in a file: file:line:column, the line shown
    │   ├── SourceErrors            1  several of them, found in one go
    │   └── LabError                1  a rehearsal host could not be made
    ├── CertificateError            3  a CA gave no certificate; hosts are as they were
    └── HostError                   3  a host's own trouble; the host is as it was
        ├── UnreachableError        5  no connection, no login, or a host that fell silent
        │   ├── HostKeyError        5  the host's key is unknown or has changed
        │   └── AuthenticationError 5  the host refuses every key and password that we have
        ├── RunnerError             3  the runner on the host answered with an error
        ├── ConflictError           3  what is on the host stands in the way of the plan
        └── StrandedError           4  a host that is not in a known good state: a person must look
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployer.model import SourceRef

EXIT_DONE = 0
EXIT_USAGE = 1
EXIT_CHANGES = 2
EXIT_REVERTED = 3
EXIT_STRANDED = 4
EXIT_UNREACHABLE = 5
EXIT_INTERRUPTED = 130

#: Worst first: a run over several hosts ends with the first of these that any host earned.
SEVERITY = (EXIT_STRANDED, EXIT_REVERTED, EXIT_UNREACHABLE, EXIT_USAGE, EXIT_CHANGES, EXIT_DONE)


def worst(exit_codes: Iterable[int]) -> int:
    """The exit code of a run: the worst of its hosts' codes, 0 where there are none."""
    return min(exit_codes, key=SEVERITY.index, default=EXIT_DONE)


def link_to(code: str) -> str:
    """The section of the documentation that explains what the lint says."""
    return f"docs/lint.md#{code}"


class DeployerError(Exception):
    """The base of all errors of this package; `exit_code` is the process's exit code."""

    exit_code = EXIT_USAGE


class UsageError(DeployerError):
    """What was asked cannot be done as asked; no host was touched."""

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n{self.hint}" if self.hint else self.problem


class SourceError(UsageError):
    """Something wrong at one place of a file that a person wrote.

    `excerpt` is the line itself, without its line break; `hint` says what to write instead. `code`
    is the lint's word for it, where it has one (docs/lint.md).
    """

    def __init__(
        self,
        problem: str,
        *,
        source: SourceRef | None,
        excerpt: str = "",
        hint: str = "",
        code: str = "",
    ) -> None:
        super().__init__(problem, hint=hint)
        self.source = source
        self.excerpt = excerpt
        self.code = code

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        lines = [f"{where}{self.problem}"]
        if self.excerpt and self.source:
            gutter = f"{self.source.line:>5} | "
            lines.append(f"{gutter}{self.excerpt}")
            lines.append(" " * (len(gutter) - 2) + "| " + " " * (self.source.column - 1) + "^")
        if self.hint:
            lines.append(f"      {self.hint}")
        if self.code:
            lines.append(f"      {link_to(self.code)}")
        return "\n".join(lines)


class SourceErrors(UsageError):  # noqa: N818 - the plural of SourceError
    """Several `SourceError`s of one load, in the order of their places."""

    def __init__(self, errors: Iterable[SourceError]) -> None:
        self.errors = tuple(errors)
        super().__init__(f"{len(self.errors)} errors")

    def __str__(self) -> str:
        return "\n\n".join(str(error) for error in self.errors)


class LabError(UsageError):
    """A rehearsal host could not be made or reached."""


class CertificateError(DeployerError):
    """A CA gave no certificate for `names`; what the hosts serve is what they served before.

    `why` is the CA's or certbot's word for it, `kind` its class for programs. `failed_names` are
    those that it could not validate; `retry_at` is when another try is worth while, in seconds
    since the epoch.
    """

    exit_code = EXIT_REVERTED

    def __init__(
        self,
        why: str,
        *,
        names: Iterable[str],
        kind: str = "unknown",
        failed_names: Iterable[str] = (),
        retry_at: float | None = None,
        hint: str = "",
    ) -> None:
        self.names = tuple(names)
        self.failed_names = tuple(failed_names)
        super().__init__(why, self.names)
        self.why = why
        self.kind = kind
        self.retry_at = retry_at
        self.hint = hint

    def __str__(self) -> str:
        hint = f"\n{self.hint}" if self.hint else ""
        names = ", ".join(self.names)
        return f"no certificate for {names}: {self.why}\nThe hosts serve what they served.{hint}"


class HostError(DeployerError):
    """Trouble on one host, which is as it was before; `doing` is what was in progress.

    `found` says, for programs, which run or commit of somebody stands in the way.
    """

    exit_code = EXIT_REVERTED

    def __init__(
        self,
        problem: str,
        *,
        host: str,
        doing: str = "",
        hint: str = "",
        found: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(problem, host, doing, hint)
        self.problem = problem
        self.host = host
        self.doing = doing
        self.hint = hint
        self.found = found

    def __str__(self) -> str:
        doing = f" while {self.doing}" if self.doing else ""
        hint = f"\n{self.hint}" if self.hint else ""
        return f"{self.host}: {self.problem}{doing}{hint}"


class UnreachableError(HostError):
    """The host could not be reached, or stopped answering before anything was changed on it."""

    exit_code = EXIT_UNREACHABLE


class HostKeyError(UnreachableError):
    """The host's key is not the known one, or no key of it is known."""


class AuthenticationError(UnreachableError):
    """The host, or sudo on it, refused to let us in."""


class RunnerError(HostError):
    """The runner answered with an error; `code` is the wire's word for it, `details` its data."""

    def __init__(
        self,
        problem: str,
        *,
        host: str,
        code: str,
        doing: str = "",
        hint: str = "",
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(problem, host=host, doing=doing, hint=hint)
        self.code = code
        self.details = details or {}


class ConflictError(HostError):
    """What is on the host stands in the way: a folder where a file should be, a taken port."""


class StrandedError(HostError):
    """The host is in no known good state: a revert failed, or its answer never came."""

    exit_code = EXIT_STRANDED
