"""Report files: an HTML page, JUnit XML for CI, metrics for Prometheus."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deployer.errors import EXIT_USAGE, UsageError, worst
from deployer.model import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """The paths of a run's report files; `None` if not requested."""

    html: Path | None = None
    junit: Path | None = None
    metrics: Path | None = None

    def __bool__(self) -> bool:
        return any(path is not None for path in (self.html, self.junit, self.metrics))

    def check_writable(self) -> None:
        """Check that every requested file can be written, before the run starts.

        Raises:
            UsageError: a path is a folder, or its folder is missing or not writable.
        """
        asked = (("--html", self.html), ("--junit", self.junit), ("--metrics", self.metrics))
        for option, path in asked:
            if path is None:
                continue
            if path.is_dir():
                raise UsageError(f"{option} {path}: is a folder.", hint="Name a file.")
            if _is_special_file(path):
                continue
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise UsageError(
                    f"{option} {path}: {path.parent} is not a writable folder.",
                    hint="Create the folder first, or name a different file.",
                )

    def write(self, document: Mapping[str, object], *, at: datetime) -> None:
        """Write the requested reports of a run's JSON document, each file atomically.

        Raises:
            UsageError: a file cannot be written; the run itself is over by then.
        """
        if self.html is not None:
            from deployer.report.page import page_of

            _write(self.html, page_of(document, at=at))
        if self.junit is not None:
            from deployer.report.junit import junit_of

            _write(self.junit, junit_of(document, at=at))
        if self.metrics is not None:
            from deployer.report.metrics import metrics_of

            # node_exporter reads it, as a different user than the writer (often root, by cron).
            _write(self.metrics, metrics_of(document, at=at), mode=0o644)

    def after(self, exit_code: int, document: Document, *, at: datetime) -> int:
        """Write the reports after a run; return its `exit_code`, or a worse one if that fails."""
        try:
            self.write(document, at=at)
        except UsageError as error:
            print(f"Error: {error}", file=sys.stderr)
            return worst((exit_code, EXIT_USAGE))
        return exit_code


def _is_special_file(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _write_special(path: Path, text: str) -> None:
    """Write to a device or pipe, such as /dev/stdout, which must not be replaced by a file.

    Raises:
        OSError: for example if no process reads from a pipe.
    """
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(handle, "wb") as sink:
        os.set_blocking(handle, True)
        sink.write(text.encode("utf-8", "replace"))


def _write(path: Path, text: str, *, mode: int | None = None) -> None:
    try:
        if _is_special_file(path):
            _write_special(path, text)
            return
        path = path.resolve()  # so that a symbolic link remains one
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        half = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8", "replace"))
            umask = os.umask(0)
            os.umask(umask)
            half.chmod(0o666 & ~umask if mode is None else mode)
            half.replace(path)
        except BaseException:
            half.unlink()
            raise
    except OSError as error:
        raise UsageError(
            f"{path}: the report could not be written: {error.strerror}.",
            hint="The run itself is over; its result is shown above.",
        ) from error
