"""The result of `check` in a terminal: lint notes with their reasons, and the rendered files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.report.output import Output

if TYPE_CHECKING:
    from deployer.plan.rendered_files import RenderedFile
    from deployer.run.check import CheckedProject
    from deployer.sites.lint import Note

_MOST_NAMED = 3


def show_notes(output: Output, notes: Sequence[Note]) -> None:
    """Each note as ``FILE:LINE:COLUMN: warning: …``, which editors can jump to."""
    for note in notes:
        where = f"{note.source}: " if note.source else ""
        output.row([(where, "title"), (f"{note.severity}: ", "late"), (note.problem, "")])
        output.line(note.reason, indent=6, hanging=0)
        output.line(note.link, "note", indent=6)


def show_rendered(output: Output, files: Sequence[RenderedFile], folder: Path) -> None:
    """The rendered files: how many were written, and which were left out and why."""
    counts = Counter(each.kind for each in files if not each.left_out)
    counted = " and ".join(
        _several(counts[kind], kind) for kind in ("file", "link") if counts[kind]
    )
    hosts = len({each.host for each in files})
    output.line(f"wrote {counted or 'nothing'} for {_several(hosts, 'host')} to {folder}")
    left_out: dict[tuple[str, str], list[str]] = {}
    for each in files:
        if each.left_out:
            left_out.setdefault((each.path, each.left_out), []).append(each.host)
    for (path, why), names in left_out.items():
        of = ", ".join(names) if len(names) <= _MOST_NAMED else f"{len(names)} hosts"
        output.line(f"left out: {path} on {of} ({why})", "note", indent=2)


def _several(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def show_checked(checked: CheckedProject, *, notes: Output, result: Output, folder: Path) -> None:
    """Notes and rendered files, then the summary; notes go to `notes`, the rest to `result`."""
    show_notes(notes, checked.notes)
    if checked.rendered is not None:
        show_rendered(result, checked.rendered, folder)
    result.line(checked.summary())
