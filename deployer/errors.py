"""Every error that is shown to users, with its exit code.

Each error carries its data as attributes and builds its text in ``__str__``: the place, the
problem, the present state, and what to do next. Only the command line prints them::

    DeployerError
    ├── UsageError                  1  wrong usage, playbook or template; no host was touched
    │   ├── SourceError             1  one place in a file: file:line:column, with the line
    │   ├── SourceErrors            1  several of them, found in one pass
    │   └── LabError                1  a lab host could not be created
    ├── CertificateError            3  a CA issued no certificate; the hosts are unchanged
    └── HostError                   3  a problem on one host, which is unchanged
        ├── UnreachableError        5  no connection, no login, or no more replies
        │   ├── HostKeyError        5  the host's key is unknown or has changed
        │   └── AuthenticationError 5  the host rejects every available key and password
        ├── AgentError              3  the agent on the host replied with an error
        ├── ConflictError           3  something on the host conflicts with the plan
        └── StrandedError           4  the host is not in a known good state: inspect it
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

#: Worst first: a run over several hosts ends with the worst code of its hosts.
SEVERITY = (EXIT_STRANDED, EXIT_REVERTED, EXIT_UNREACHABLE, EXIT_USAGE, EXIT_CHANGES, EXIT_DONE)


_LONGEST_EXCERPT = 400


def worst(exit_codes: Iterable[int]) -> int:
    """The exit code of a run: the worst of its hosts' codes, or 0 without hosts."""
    return min(exit_codes, key=SEVERITY.index, default=EXIT_DONE)


def link_to(code: str) -> str:
    """The section of the documentation on a lint code."""
    return f"docs/lint.md#{code}"


def defect_words(error: Exception) -> str:
    """The message for an error that nothing expected, with its place in the program."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return (
        f"unexpected data: {type(error).__name__}: {str(error)[:200]} ({place})\n"
        "Either a host sends wrong data, or this is a defect of deployer: please report it."
    )


class DeployerError(Exception):
    """The base of all errors of this package; `exit_code` is that of the process."""

    exit_code = EXIT_USAGE


class UsageError(DeployerError):
    """The request is invalid; no host was touched."""

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n{self.hint}" if self.hint else self.problem


class SourceError(UsageError):
    """An error at one place of a file.

    `excerpt` is the line, without its line break; `hint` is what to write instead. `code` is its
    lint code, if it has one (docs/lint.md).
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
            excerpt, column = _window(self.excerpt, self.source.column)
            lines.append(f"{gutter}{excerpt}")
            lines.append(" " * (len(gutter) - 2) + "| " + " " * (column - 1) + "^")
        if self.hint:
            lines.append(f"      {self.hint}")
        if self.code:
            lines.append(f"      {link_to(self.code)}")
        return "\n".join(lines)


def _window(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around a column, and the column in it."""
    if len(line) <= _LONGEST_EXCERPT:
        return line, column
    start = max(0, min(column - 1, len(line)) - _LONGEST_EXCERPT // 2)
    part = line[start : start + _LONGEST_EXCERPT]
    before = "…" if start else ""
    after = "…" if start + len(part) < len(line) else ""
    return f"{before}{part}{after}", column - start + len(before)


class SourceErrors(UsageError):  # noqa: N818 - the plural of SourceError
    """Several `SourceError`s of one load, in the order of their places."""

    def __init__(self, errors: Iterable[SourceError]) -> None:
        self.errors = tuple(errors)
        super().__init__(f"{len(self.errors)} errors")

    def __str__(self) -> str:
        return "\n\n".join(str(error) for error in self.errors)


class LabError(UsageError):
    """A lab host could not be created or reached."""


class CertificateError(DeployerError):
    """A CA issued no certificate for `names`; the hosts still serve the former ones.

    `why` is the reason given by the CA or certbot, `kind` its class for programs. `failed_names`
    could not be validated; `retry_at` is when a retry makes sense, in seconds since the epoch.
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
        return (
            f"no certificate for {names}: {self.why}\nThe hosts still serve the former ones.{hint}"
        )


class HostError(DeployerError):
    """A problem on one host, which is unchanged; `doing` is what was in progress.

    `found` is the run or commit that blocks this one, for programs.
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
    """The host could not be reached, or stopped answering before anything was changed."""

    exit_code = EXIT_UNREACHABLE


class HostKeyError(UnreachableError):
    """The host's key differs from the known one, or none is known."""


class AuthenticationError(UnreachableError):
    """The host, or sudo on it, rejected the login."""


class AgentError(HostError):
    """The agent replied with an error: its `code` and `details` of the protocol."""

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
    """Something on the host conflicts with the plan: a folder in place of a file, a used port."""


class StrandedError(HostError):
    """The host is not in a known good state: a rollback failed, or its outcome is unknown."""

    exit_code = EXIT_STRANDED
