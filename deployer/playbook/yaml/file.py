"""YAML with Ansible's rules (``yes`` is true, ``0644`` octal) and the position of every value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.errors import SourceError, UsageError
from deployer.model import Value
from deployer.playbook.yaml.source import (
    Mark,
    OctalInt,
    SourceFile,
    Spot,
    UnsafeText,
    YamlList,
    YamlMap,
    nearest,
)
from deployer.playbook.yaml.vault import SecretText, VaultError, decrypt, is_encrypted
from deployer.text.paths import is_folder
from deployer.text.reading import read_limited

if TYPE_CHECKING:
    import yaml

_TAG = "tag:yaml.org,2002:"
_MAX_DEPTH = 60
_LONGEST_NUMBER = 100
_MAX_VALUES = 200_000
_MAX_BYTES = 4 * 1024 * 1024


def read_text(path: Path, *, what: str = "file") -> str:
    """A text file's content.

    Raises:
        UsageError: it is missing (with a similar name as hint), not readable or not UTF-8.
    """
    try:
        data = read_limited(path, _MAX_BYTES)
    except FileNotFoundError:
        raise missing_file(path, what=what) from None
    except ValueError:  # a NUL in the name
        raise UsageError(f"{what} {str(path)!r}: not a valid file name") from None
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{what} {path}, line {line}: not UTF-8 text") from None


def missing_file(path: Path, *, what: str = "file") -> UsageError:
    """The error for a missing file."""
    folder = path.parent
    if not is_folder(folder):
        return UsageError(f"{what} {path} does not exist: folder {folder} is missing")
    try:
        names = [each.name for each in folder.iterdir() if nearest(path.stem, [each.stem])]
    except OSError:
        names = []
    return UsageError(f"{what} {path} does not exist", hint=nearest(path.name, names))


def load_yaml(path: Path, *, what: str = "file", secret: bool = False) -> tuple[object, SourceFile]:
    """The single document of a YAML file, and the file for errors about the file as a whole.

    Raises:
        UsageError: the file cannot be read.
        SourceError: bad syntax, a tab, a duplicate key, a tag such as ``!vault``.
    """
    return parse_yaml(read_text(path, what=what), name=str(path), secret=secret)


def parse_yaml(text: str, *, name: str, secret: bool = False) -> tuple[Value, SourceFile]:
    """Like `load_yaml`, but from a text; errors show `name` as the file."""
    is_sealed = is_encrypted(text)
    if is_sealed:
        text = _opened(text, SourceFile(name).spot((1, 1)))
    file = SourceFile(name, tuple(text.split("\n")), secret or is_sealed)
    return next(_documents(text, file, only_one=True, is_sealed=is_sealed), None), file


def parse_documents(text: str, *, name: str, only_one: bool = False) -> Iterator[Value]:
    """Like `parse_yaml`, for a text with several documents."""
    return _documents(text, SourceFile(name, tuple(text.split("\n"))), only_one=only_one)


def _documents(
    text: str, file: SourceFile, *, only_one: bool, is_sealed: bool = False
) -> Iterator[Value]:
    import yaml

    loader_class: Value = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loader = loader_class(text)
    except yaml.reader.ReaderError as error:
        raise _unreadable(error, text, file) from None
    builder = _Builder(loader, file, is_sealed=is_sealed)
    try:
        if only_one:
            node = loader.get_single_node()
            if node is not None:
                yield builder.build(node)
            return
        while loader.check_node():
            yield builder.build(loader.get_node())
    except yaml.reader.ReaderError as error:
        raise _unreadable(error, text, file) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, file) from None
    except RecursionError:
        raise UsageError(f"{file.path}: nested more than {_MAX_DEPTH} levels") from None
    finally:
        loader.dispose()


def _opened(text: str, spot: Spot) -> str:
    """A text that was encrypted. Raises: SourceError."""
    try:
        return decrypt(text)
    except VaultError as error:
        raise spot.error(error.problem, hint=error.hint) from None


def _unreadable(error: Value, text: str, file: SourceFile) -> SourceError:
    before = text[: error.position]
    column = error.position - (before.rfind("\n") + 1) + 1
    spot = file.spot((before.count("\n") + 1, column))
    character = error.character if isinstance(error.character, int) else ord(error.character)
    return spot.error(f"YAML must not contain the control character U+{character:04X}")


def _syntax_error(error: yaml.MarkedYAMLError, file: SourceFile) -> SourceError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = str(error.problem or error.context or "cannot be read")
    at = file.lines[line - 1] if line <= len(file.lines) else ""
    hint = ""
    if "\t" in at[:column] or "'\\t'" in problem:
        problem, hint = "a tab; YAML is indented with spaces", "replace the tab with spaces"
    elif "mapping values are not allowed" in problem:
        problem = "a second ': ' on one line"
        hint = "quote a value that contains ': ', or check the indentation of this line"
    elif "expected a single document" in problem:
        problem, hint = "a second document starts here", "a file must contain one document"
    elif "found unknown escape character" in problem:
        hint = "in double quotes a backslash starts an escape: use single quotes"
    elif "did not find expected key" in problem or "block end" in problem:
        problem = "this line does not match the lines before it"
        hint = "check its indentation, and that all quotes and brackets before it are closed"
    elif "found undefined tag handle" in problem:
        hint = "quote a value that starts with '!'"
    elif "expected ',' or" in problem:
        hint = "within brackets, quote a value that contains {{ }} or a comma"
    elif "cannot start any token" in problem:
        hint = "quote a value that starts with '@', '`' or '%'"
    elif "undefined alias" in problem:
        hint = "quote a value that starts with '*'"
    return file.spot((line, column)).error(f"not valid YAML: {problem}", hint=hint)


class _Builder:
    """Converts composed nodes to values with marks; with `is_sealed`, all texts are secret."""

    def __init__(self, loader: Value, file: SourceFile, *, is_sealed: bool = False) -> None:
        self.loader = loader
        self.file = file
        self.is_sealed = is_sealed
        self.done: dict[int, tuple[Value, int]] = {}
        self.open: set[int] = set()
        self.count = 0

    def build(self, node: Value, depth: int = 0) -> Value:
        return self._build(node, depth)[0]

    def _error(self, node: Value, problem: str, hint: str = "") -> SourceError:
        return self.file.spot(_mark(node)).error(problem, hint=hint)

    def _build(self, node: Value, depth: int) -> tuple[object, int]:
        """The value, and the number of values in it with all aliases expanded."""
        identity = id(node)
        if identity in self.done:
            value, size = self.done[identity]
            self._count(node, size)
            return value, size
        if identity in self.open:
            raise self._error(node, "an anchor that contains itself")
        if depth > _MAX_DEPTH:
            raise self._error(node, f"nested more than {_MAX_DEPTH} levels")
        before = self.count
        self._count(node, 1)
        self.open.add(identity)
        kind = type(node).__name__
        if kind == "ScalarNode":
            value = self._scalar(node)
            if self.is_sealed and type(value) is str:
                value = SecretText(value)
        elif node.tag == "!unsafe":
            node.tag = _TAG + ("seq" if kind == "SequenceNode" else "map")
            is_list = kind == "SequenceNode"
            value = _unsafe(self._sequence(node, depth) if is_list else self._mapping(node, depth))
        elif kind == "SequenceNode":
            value = self._sequence(node, depth)
        else:
            value = self._mapping(node, depth)
        self.open.discard(identity)
        size = self.count - before
        self.done[identity] = (value, size)
        return value, size

    def _count(self, node: Value, size: int) -> None:
        self.count += size
        if self.count > _MAX_VALUES:
            raise self._error(node, f"more than {_MAX_VALUES:,} values with aliases expanded")

    def _scalar(self, node: Value) -> object:
        tag, text = node.tag, node.value
        if tag == _TAG + "str":
            return text
        if tag == "!unsafe":
            return UnsafeText(text)
        if tag in ("!vault", "!vault-encrypted"):
            return SecretText(_opened(text, self.file.spot(_mark(node))))
        if tag in (_TAG + "timestamp", _TAG + "value"):
            return text  # Ansible's templates also print a date as written
        if tag == _TAG + "int" and re.fullmatch(r"0[0-7]+", text):
            return OctalInt(text, 8)
        if tag.removeprefix(_TAG) in ("null", "bool", "int", "float"):
            if len(text) > _LONGEST_NUMBER:
                raise self._error(node, f"a number with {len(text):,} characters", "quote it")
            try:
                return self.loader.construct_object(node)
            except ValueError:
                raise self._error(node, f"'{text}' is not a number", "quote it") from None
        raise self._tagged(node)

    def _tagged(self, node: Value) -> SourceError:
        tag = node.tag.replace(_TAG, "!!")
        return self._error(node, f"the tag {tag} is not supported", "remove it, or quote it")

    def _sequence(self, node: Value, depth: int) -> YamlList:
        if node.tag != _TAG + "seq":
            raise self._tagged(node)
        values = YamlList(self.file, _mark(node))
        for child in node.value:
            values.append(self.build(child, depth + 1))
            values.marks.append(_mark(child))
        return values

    def _mapping(self, node: Value, depth: int) -> YamlMap:
        if node.tag != _TAG + "map":
            raise self._tagged(node)
        values = YamlMap(self.file, _mark(node))
        merged: list[YamlMap] = []
        for key_node, value_node in node.value:
            if type(key_node).__name__ != "ScalarNode":
                raise self._error(
                    key_node,
                    "a key must be a word",
                    'a value that starts with {{ must be quoted: key: "{{ value }}"',
                )
            if key_node.tag == _TAG + "merge":
                merged += self._merge(value_node, depth)
                continue
            key = self._scalar(key_node)
            if key in values:
                first = values.marks[key][0][0]
                raise self._error(key_node, f"duplicate key '{key}'; first on line {first}")
            values.put(key, self.build(value_node, depth + 1), (_mark(key_node), _mark(value_node)))
        for other in merged:
            for key, value in other.items():
                if key not in values:
                    values.put(key, value, other.marks[key])
        return values

    def _merge(self, node: Value, depth: int) -> list[YamlMap]:
        value = self.build(node, depth + 1)
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(each, YamlMap) for each in found):
            raise self._error(node, "'<<' requires a mapping or a list of mappings")
        return list(found)


def _mark(node: Value) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _unsafe(value: Value) -> Value:
    """A structure whose texts are never templates."""
    if isinstance(value, YamlMap):
        for key, each in value.items():
            value[key] = _unsafe(each)
    elif isinstance(value, YamlList):
        value[:] = [_unsafe(each) for each in value]
    elif type(value) is str:
        return UnsafeText(value)
    return value
