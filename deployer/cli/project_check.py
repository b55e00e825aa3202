"""Check one project: for ``deployer check``, and for ``--syntax-check`` of other commands."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployer.errors import EXIT_DONE, SourceError, SourceErrors, UsageError, link_to


def run_check(
    playbook: Path,
    *,
    folder: Path | None,
    release: str,
    as_json: bool,
    is_syntax_only: bool = False,
    **given: Any,
) -> int:
    """Check `playbook`, and render into `folder` if one is named; the exit code.

    With `is_syntax_only`, only errors count, and no warning is shown.

    Raises:
        UsageError: all that is wrong; no file was written.
    """
    from deployer.plan import rendered_folder
    from deployer.report.check import show_checked
    from deployer.report.document import as_json as json_text
    from deployer.report.output import Output
    from deployer.run.check import check_project
    from deployer.run.options import SessionOptions
    from deployer.run.project import load_project

    if folder is not None:
        rendered_folder.check_folder(folder)
    try:
        project = load_project(playbook, SessionOptions(**given))
        checked = check_project(project, release=release, render=folder is not None)
    except UsageError as error:
        if not as_json:
            raise
        print(f"Error: {error}", file=sys.stderr)
        print(json_text(_error_document(error)))
        return error.exit_code
    for note in project.notes:
        print(f"note: {note}", file=sys.stderr)
    if is_syntax_only:
        checked = replace(checked, notes=())
    if folder is not None:
        rendered_folder.write_folder(folder, checked.rendered or ())
    if as_json:
        print(json_text(checked.document()))
    else:
        show_checked(
            checked, notes=Output(sys.stderr), result=Output(sys.stdout), folder=folder or Path()
        )
    return EXIT_DONE


def _error_document(error: UsageError) -> dict[str, object]:
    """The document of a failed check; each error of a file is a note."""
    from deployer.report.document import error_document
    from deployer.sites.lint import note_document

    errors = error.errors if isinstance(error, SourceErrors) else (error,)
    return {
        **error_document("check", exit_code=error.exit_code, message=str(error)),
        "notes": [
            note_document(
                code=each.code or "invalid",
                severity="error",
                problem=each.problem,
                reason=each.hint,
                source=each.source,
                link=link_to(each.code) if each.code else None,
            )
            for each in errors
            if isinstance(each, SourceError)
        ],
    }
