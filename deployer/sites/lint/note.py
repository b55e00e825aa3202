"""What a lint has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deployer.errors import link_to
from deployer.model import SourceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that is amiss: what it is, what it leads to, and what to write instead.

    An ``error`` cannot be deployed; a ``warning`` can, and will be a disappointment.
    """

    code: str
    severity: Literal["error", "warning"]
    problem: str
    reason: str
    source: SourceRef | None = None

    @property
    def link(self) -> str:
        """The section of the documentation that explains it."""
        return link_to(self.code)

    def place(self) -> tuple[str, int, int]:
        """What notes are sorted by."""
        source = self.source
        return (source.file, source.line, source.column) if source else ("", 0, 0)

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        return f"{where}{self.problem}\n      {self.reason}\n      {self.link}"

    def document(self) -> dict[str, Any]:
        """The note as ``--json`` shows it."""
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
) -> dict[str, Any]:
    """An entry of ``notes`` in the document of a check; an error of the language has no link."""
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
    """A note that does not stop anybody."""
    return Note(code=code, severity="warning", problem=problem, reason=reason, source=source)


def error(code: str, problem: str, reason: str, source: SourceRef | None) -> Note:
    """A note that nothing gets past."""
    return Note(code=code, severity="error", problem=problem, reason=reason, source=source)
