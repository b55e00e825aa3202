"""Positions of values: mappings and lists that know the position of each of their entries.

Files are read as plain Python values, except that mappings are `YamlMap` and lists are `YamlList`,
a dict and a list with the marks of their entries. So values can be validated and rendered as usual,
and errors about them can still quote the line of the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deployer.errors import SourceError, SourceErrors
from deployer.model import SourceRef, Value

Mark = tuple[int, int]
_LONGEST_PROBLEM = 2000


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read; the lines of a `secret` file are never shown."""

    path: str
    lines: tuple[str, ...] = field(default=(), repr=False)
    secret: bool = False

    def spot(self, mark: Mark) -> Spot:
        """The position at a line and column, both from 1."""
        return Spot(self, *mark)


@dataclass(frozen=True, slots=True)
class Spot:
    """One position in a file."""

    file: SourceFile
    line: int
    column: int

    @property
    def ref(self) -> SourceRef:
        return SourceRef(self.file.path, self.line, self.column)

    def error(self, problem: str, *, hint: str = "") -> SourceError:
        """An error at this position, with its line as excerpt."""
        if len(problem) > _LONGEST_PROBLEM:  # it quotes a value
            problem = f"{problem[: _LONGEST_PROBLEM // 2]} … {problem[-_LONGEST_PROBLEM // 2 :]}"
        shown = not self.file.secret and 0 < self.line <= len(self.file.lines)
        excerpt = self.file.lines[self.line - 1].rstrip("\r\n") if shown else ""
        # A tab is one column in the marks and up to eight on a terminal.
        return SourceError(problem, source=self.ref, excerpt=excerpt.replace("\t", " "), hint=hint)


class YamlMap(dict[Value, Value]):
    """A mapping; `marks` has the positions of each key and its value."""

    __slots__ = ("file", "mark", "marks")

    def __init__(self, file: SourceFile, mark: Mark) -> None:
        super().__init__()
        self.file = file
        self.mark = mark
        self.marks: dict[Hashable, tuple[Mark, Mark]] = {}

    def put(self, key: Value, value: Value, marks: tuple[Mark, Mark]) -> None:
        self[key] = value
        self.marks[key] = marks

    def like(self, items: Iterable[tuple[Value, Value]]) -> YamlMap:
        """A mapping of `items` with the same positions; keys are a subset of the own ones."""
        other = YamlMap(self.file, self.mark)
        other.update(items)
        other.marks = self.marks
        return other

    def without(self, *keys: str) -> YamlMap:
        return self.like((key, value) for key, value in self.items() if key not in keys)


class YamlList(list[Value]):
    """A list; `marks` has the position of each entry."""

    __slots__ = ("file", "mark", "marks")

    def __init__(self, file: SourceFile, mark: Mark) -> None:
        super().__init__()
        self.file = file
        self.mark = mark
        self.marks: list[Mark] = []

    def like(self, values: Iterable[Value]) -> YamlList:
        """A list of `values` with the same positions."""
        other = YamlList(self.file, self.mark)
        other.extend(values)
        other.marks = self.marks
        return other


class MergedVars(dict[str, Value]):
    """Variables merged from several files; `spots` has the position of each effective value."""

    __slots__ = ("spots",)

    def __init__(self) -> None:
        super().__init__()
        self.spots: dict[str, Spot] = {}

    def merge(self, variables: YamlMap) -> None:
        """Override these variables with those of a further file."""
        self.update(variables)
        self.spots.update({key: spot_of(variables, key) for key in variables})

    def take(self, variables: Mapping[str, Value]) -> None:
        """Override these variables with others, and with their positions if they have any."""
        self.update(variables)
        if isinstance(variables, MergedVars):
            self.spots.update(variables.spots)


class UnsafeText(str):
    """A text with the tag ``!unsafe``: never a template."""

    __slots__ = ()


class OctalInt(int):
    """A number written as YAML 1.1 octal, ``0644``: valid as a mode."""

    __slots__ = ()


def spot_of(node: Value, *path: Value, key: bool = False) -> Spot:
    """The position of the entry at `path` below `node`, or of the closest existing parent.

    With `key`, the position of the last entry's key instead of its value.
    """
    mark: Mark = node.mark
    file: SourceFile = node.file
    for step in path:
        if isinstance(node, YamlMap) and step in node.marks:
            # The value can be a variable from a different file: then the position is in that file.
            file = node.file
            mark = node.marks[step][0 if key and step == path[-1] else 1]
            node = node.get(step)
        elif isinstance(node, YamlList) and isinstance(step, int) and step < len(node.marks):
            file = node.file
            mark = node.marks[step]
            node = node[step] if step < len(node) else None
    return file.spot(mark)


def value_at(node: Value, path: Sequence[Value]) -> object:
    """The value at `path`, or its closest existing parent."""
    for step in path:
        if (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        ):
            node = node[step]
        elif isinstance(node, (dict, list)) or not isinstance(step, int):
            continue
    return node


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or an empty string if no known word is similar."""
    words = sorted({str(each) for each in known})
    lowered = {each.lower(): each for each in reversed(words)}
    found = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"did you mean '{lowered[found[0]]}'?" if found else ""


class Problems:
    """The errors of one load, collected so that the user sees all of them at once."""

    def __init__(self) -> None:
        self.errors: list[SourceError] = []
        #: Texts that no error may quote, not even in its line of the file.
        self.hidden: set[str] = set()

    def add(self, error: SourceError | SourceErrors) -> None:
        new = error.errors if isinstance(error, SourceErrors) else (error,)
        seen = {str(each) for each in self.errors}
        self.errors.extend(each for each in new if str(each) not in seen)

    def mask(self, secrets: Iterable[str]) -> None:
        """Replace secret texts in every error."""
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
        """Raise all errors, if there are any.

        Raises:
            SourceErrors: sorted by position, files in the order of reading.
        """
        if not self.errors:
            return
        self.mask(self.hidden)
        files: dict[str, int] = {}
        for error in self.errors:
            files.setdefault(error.source.file if error.source else "", len(files))

        def place(error: SourceError) -> tuple[int, int, int]:
            if error.source is None:
                return (-1, 0, 0)
            return (files[error.source.file], error.source.line, error.source.column)

        raise SourceErrors(sorted(self.errors, key=place))
