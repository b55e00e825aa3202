"""Styled lines on a stream: with rich on a terminal, plain text otherwise."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from threading import Lock
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

#: The style definitions, as rich knows them. Rich itself respects ``NO_COLOR``.
_STYLES = {
    "create": "bold green",
    "update": "bold yellow",
    "delete": "bold red",
    "add": "green",
    "remove": "red",
    "hunk": "cyan",
    "note": "dim",
    "good": "green",
    "bad": "bold red",
    "late": "yellow",
    "title": "bold",
}

#: A command line for the user to run, after a colon or between backquotes. It is never wrapped, so
#: that it can be copied.
_COMMAND = re.compile(r"(?<=: )deployer [^`]+$|(?<=`)deployer [^`]+(?=`)")

#: Replaces a space at which a line must not be broken; no message contains it.
_GLUE = "\x1f"


class Output:
    """A thread-safe writer of styled lines, with live status lines below them on a terminal."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = Lock()
        self._console: Console | None = None
        self._live: Live | None = None
        self.is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int:
        """Columns of the terminal; 100 if there is none."""
        return shutil.get_terminal_size((100, 24)).columns if self.is_terminal else 100

    def line(
        self, text: str = "", style: str = "", *, indent: int = 0, hanging: int | None = None
    ) -> None:
        """Print `text`, each of its lines indented by `indent` columns.

        With `hanging`, a line that is too long for the terminal is wrapped, and continuation lines
        are indented by that many more columns; without it, as for diffs, it is not wrapped.
        """
        lines = [part for whole in text.split("\n") for part in self._parts(whole, indent, hanging)]
        with self._lock:
            for part in lines:
                self._print(part, style)

    def row(self, cells: Sequence[tuple[str, str]]) -> None:
        """Print one line of cells, each a text and a style."""
        with self._lock:
            if not self.is_terminal:
                self._print("".join(text for text, _ in cells).rstrip(), "")
                return
            from rich.text import Text

            styled = ((_printable(text), _STYLES.get(style, "")) for text, style in cells)
            self._rich().print(Text.assemble(*styled), soft_wrap=True)

    def _parts(self, text: str, indent: int, hanging: int | None) -> list[str]:
        pad = " " * indent
        if hanging is None or not self.is_terminal or indent + len(text) <= self.width:
            return [f"{pad}{text}".rstrip()]
        from textwrap import wrap

        lead = text[: len(text) - len(text.lstrip())]
        parts = wrap(
            _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), text.lstrip()),
            self.width,
            initial_indent=pad + lead,
            subsequent_indent=" " * (indent + max(hanging, len(lead))),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [part.replace(_GLUE, " ") for part in parts]

    def _print(self, text: str, style: str) -> None:
        if not self.is_terminal:
            self._stream.write(_printable(text) + "\n")
            self._stream.flush()
            return
        from rich.text import Text

        words = Text(_printable(text), style=_STYLES.get(style, ""))
        self._rich().print(words, soft_wrap=True)

    def _rich(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self._stream, highlight=False, emoji=False)
        return self._console

    def live(self, lines: list[str]) -> None:
        """Show `lines` as the current status at the bottom of a terminal; no-op elsewhere."""
        if not self.is_terminal:
            return
        from rich.live import Live
        from rich.text import Text

        width = self.width - 1
        text = Text("\n".join(_printable(line)[:width] for line in lines), style="dim")
        with self._lock:
            if not lines:
                self._stop_live()
            elif self._live is None:
                self._live = Live(text, console=self._rich(), transient=True, refresh_per_second=8)
                self._live.start()
            else:
                self._live.update(text)

    def close(self) -> None:
        """Remove the live lines."""
        with self._lock:
            self._stop_live()

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _printable(text: str) -> str:
    """`text` with control characters escaped: output of a host must not move the cursor."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else f"\\x{ord(char):02x}" for char in text
    )
