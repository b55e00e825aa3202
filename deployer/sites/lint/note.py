"""Notes, the results of the lint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deployer.errors import link_to
from deployer.model import SourceRef

#: Renamed codes by their former name, which is still accepted for one release.
RENAMED_CODES: Mapping[str, str] = {"silence-unsaid": "idle-unspecified"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One problem, with its consequence and its fix in `reason`.

    An ``error`` cannot be deployed; a ``warning`` can, but is likely a mistake.
    """

    code: str
    severity: Literal["error", "warning"]
    problem: str
    reason: str
    source: SourceRef | None = None

    @property
    def link(self) -> str:
        """The URL of the section that explains the code."""
        return link_to(self.code)

    def place(self) -> tuple[str, int, int]:
        """The sort key of notes: file, line, column."""
        source = self.source
        return (source.file, source.line, source.column) if source else ("", 0, 0)

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        return f"{where}{self.problem}\n      {self.reason}\n      {self.link}"

    def document(self) -> dict[str, Any]:
        """The note for ``--json``."""
        return note_document(
            code=self.code,
            severity=self.severity,
            problem=self.problem,
            reason=self.reason,
            source=self.source,
            link=self.link,
        )


def note_document(
    *,
    code: str,
    severity: str,
    problem: str,
    reason: str,
    source: SourceRef | None,
    link: str | None,
) -> dict[str, object]:
    """An entry of ``notes`` in the JSON of a check; a schema error has no link."""
    return {
        "code": code,
        "severity": severity,
        "file": source.file if source else None,
        "line": source.line if source else None,
        "column": source.column if source else None,
        "problem": problem,
        "reason": reason,
        "link": link,
    }


def warning(code: str, problem: str, reason: str, source: SourceRef | None) -> Note:
    """A note that does not prevent a deployment."""
    return Note(code=code, severity="warning", problem=problem, reason=reason, source=source)


def error(code: str, problem: str, reason: str, source: SourceRef | None) -> Note:
    """A note that prevents a deployment."""
    return Note(code=code, severity="error", problem=problem, reason=reason, source=source)
