"""Where a value was written: mappings and lists that remember the place of each of their entries.

What is read are plain Python values, except that mappings are `YamlMap` and lists `YamlList`: a
dict and a list with the marks of their entries beside them. So a value can go through validation
and rendering as what it is, and any error about it can still quote the line that a person wrote.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployer.errors import SourceError, SourceErrors
from deployer.model import SourceRef

Mark = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read; the lines of a `secret` one are never shown."""

    path: str
    lines: tuple[str, ...] = field(default=(), repr=False)
    secret: bool = False

    def spot(self, mark: Mark) -> Spot:
        """The place at a line and column, both from 1."""
        return Spot(self, *mark)


@dataclass(frozen=True, slots=True)
class Spot:
    """One place in a file."""

    file: SourceFile
    line: int
    column: int

    @property
    def ref(self) -> SourceRef:
        return SourceRef(self.file.path, self.line, self.column)

    def error(self, problem: str, *, hint: str = "") -> SourceError:
        """An error at this place, with its line shown."""
        shown = not self.file.secret and 0 < self.line <= len(self.file.lines)
        excerpt = self.file.lines[self.line - 1].rstrip("\r\n") if shown else ""
        # A tab takes one column in the marks and up to eight on a terminal.
        return SourceError(problem, source=self.ref, excerpt=excerpt.replace("\t", " "), hint=hint)


class YamlMap(dict[Any, Any]):
    """A mapping; `marks` has for each key where the key and where its value stand."""

    __slots__ = ("file", "mark", "marks")

    def __init__(self, file: SourceFile, mark: Mark) -> None:
        super().__init__()
        self.file = file
        self.mark = mark
        self.marks: dict[Hashable, tuple[Mark, Mark]] = {}

    def put(self, key: Any, value: Any, marks: tuple[Mark, Mark]) -> None:
        self[key] = value
        self.marks[key] = marks

    def like(self, items: Iterable[tuple[Any, Any]]) -> YamlMap:
        """Other values under the same keys, at the same places."""
        other = YamlMap(self.file, self.mark)
        other.update(items)
        other.marks = self.marks
        return other

    def without(self, *keys: str) -> YamlMap:
        return self.like((key, value) for key, value in self.items() if key not in keys)


class YamlList(list[Any]):
    """A list; `marks` has where each entry stands."""

    __slots__ = ("file", "mark", "marks")

    def __init__(self, file: SourceFile, mark: Mark) -> None:
        super().__init__()
        self.file = file
        self.mark = mark
        self.marks: list[Mark] = []

    def like(self, values: Iterable[Any]) -> YamlList:
        """Other values at the same places."""
        other = YamlList(self.file, self.mark)
        other.extend(values)
        other.marks = self.marks
        return other


class MergedVars(dict[str, Any]):
    """Variables of several files in one; `spots` has where each one's winning value stands."""

    __slots__ = ("spots",)

    def __init__(self) -> None:
        super().__init__()
        self.spots: dict[str, Spot] = {}

    def merge(self, variables: YamlMap) -> None:
        """Put another file's variables over these."""
        self.update(variables)
        self.spots.update({key: spot_of(variables, key) for key in variables})


class OctalInt(int):
    """A number that was written as YAML 1.1's octal, ``0644``: right for a mode."""

    __slots__ = ()


def spot_of(node: Any, *path: Any, key: bool = False) -> Spot:
    """The place of the entry at `path` below `node`, or of the nearest one above it.

    With `key` the place of the last entry's key instead of its value.
    """
    mark: Mark = node.mark
    file: SourceFile = node.file
    for step in path:
        if isinstance(node, YamlMap) and step in node.marks:
            # A variable from another file may stand here: then that file has the place.
            file = node.file
            mark = node.marks[step][0 if key and step == path[-1] else 1]
            node = node.get(step)
        elif isinstance(node, YamlList) and isinstance(step, int) and step < len(node.marks):
            file = node.file
            mark = node.marks[step]
            node = node[step] if step < len(node) else None
    return file.spot(mark)


def value_at(node: Any, path: Sequence[Any]) -> Any:
    """The value at `path`, or the last one that could be reached on the way there."""
    for step in path:
        if (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        ):
            node = node[step]
        elif isinstance(node, (dict, list)) or not isinstance(step, int):
            continue
    return node


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing where no known word is near."""
    words = sorted({str(each) for each in known})
    lowered = {each.lower(): each for each in reversed(words)}
    found = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"did you mean '{lowered[found[0]]}'?" if found else ""


class Problems:
    """The errors of one load, gathered so that a person sees all of them at once."""

    def __init__(self) -> None:
        self.errors: list[SourceError] = []

    def add(self, error: SourceError | SourceErrors) -> None:
        new = error.errors if isinstance(error, SourceErrors) else (error,)
        seen = {str(each) for each in self.errors}
        self.errors.extend(each for each in new if str(each) not in seen)

    def mask(self, secrets: Iterable[str]) -> None:
        """Take texts that must not be shown out of every error."""
        texts = sorted(secrets, key=len, reverse=True)
        if not texts:
            return

        def masked(text: str) -> str:
            for each in texts:
                text = text.replace(each, "(secret)")
            return text

        self.errors = [
            SourceError(
                masked(each.problem),
                source=each.source,
                excerpt=masked(each.excerpt),
                hint=masked(each.hint),
                code=each.code,
            )
            for each in self.errors
        ]

    def raise_if_any(self) -> None:
        """Raises: SourceErrors, sorted by place, files in the order in which they were read."""
        if not self.errors:
            return
        files: dict[str, int] = {}
        for error in self.errors:
            files.setdefault(error.source.file if error.source else "", len(files))

        def place(error: SourceError) -> tuple[int, int, int]:
            if error.source is None:
                return (-1, 0, 0)
            return (files[error.source.file], error.source.line, error.source.column)

        raise SourceErrors(sorted(self.errors, key=place))
