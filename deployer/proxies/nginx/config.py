"""nginx's configuration as a tree of directives, each with its file and line.

crossplane parses each file; included files replace their ``include``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from deployer.model import Document
from deployer.proxies.inspect import model
from deployer.proxies.inspect.model import ConfigFile

_DEEPEST = 20
_MOST_DIRECTIVES = 500_000
#: A longer damaged file is not parsed repeatedly to find where the damage ends.
_LONG = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive(model.Directive):
    """One directive; `block` is `None` for one that ends with a semicolon."""

    block: tuple[Directive, ...] | None = None

    def all(self, *names: str) -> Iterator[Directive]:
        """The directives of those names directly in this block."""
        return (each for each in self.block or () if each.name in names)

    def last(self, name: str) -> Directive | None:
        """The last one directly in this block."""
        found = list(self.all(name))
        return found[-1] if found else None


@lru_cache(maxsize=8)
def tree_of(config: tuple[ConfigFile, ...]) -> Directive:
    """The whole configuration, below a directive without a name; empty if there is no file.

    A damaged file is read up to the damage.
    """
    if not config:
        return Directive(name="", words=(), file="", line=0, block=())
    with tempfile.TemporaryDirectory(prefix="deployer-") as folder:  # mode 0700
        parsed = {each.path: _parsed(each.text, Path(folder) / "file") for each in config}
    main = config[0].path
    block = _Expansion(parsed, PurePosixPath(main).parent).of(parsed[main], (main,))
    return Directive(name="", words=(), file=main, line=0, block=block)


@lru_cache(maxsize=8)
def damage_of(config: tuple[ConfigFile, ...]) -> str:
    """The first place from which on a file cannot be parsed; empty if there is none."""
    with tempfile.TemporaryDirectory(prefix="deployer-") as folder:  # mode 0700
        for each in config:
            statements, line = _taken_apart(each.text, Path(folder) / "file")
            if not statements and line is not None:
                return f"{each.path}:{line}"
    return ""


def _parsed(text: str, scratch: Path) -> list[dict[str, object]]:
    """The statements of one file; of a damaged one, those before the damage."""
    statements, line = _taken_apart(text, scratch)
    if statements or line is None:
        return statements
    before = "\n".join(text.splitlines()[: line - 1])
    is_long = len(before) > _LONG
    for closing in [_open_blocks(before)] if is_long else range(_DEEPEST):
        statements, _ = _taken_apart(f"{before}\n{'}' * closing}", scratch)
        if statements:
            return statements
    return []


def _open_blocks(text: str) -> int:
    """The approximate number of open blocks at the end of a text; quotes may be unbalanced."""
    bare = re.sub(r"#[^\n]*|\{[\w,]*\}|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'", "", text)
    return min(_DEEPEST, max(0, bare.count("{") - bare.count("}")))


def _taken_apart(text: str, scratch: Path) -> tuple[list[dict[str, object]], int | None]:
    """crossplane's result for a text, and the line of the first error."""
    import crossplane

    scratch.write_text(text, encoding="utf-8", errors="replace")
    payload = crossplane.parse(
        str(scratch), single=True, check_ctx=False, check_args=False, comments=False
    )
    statements: list[dict[str, object]] = payload["config"][0]["parsed"]
    lines = [error["line"] for error in payload["errors"] if error["line"]]
    return statements, lines[0] if lines else None


class _Expansion:
    """Replaces each ``include`` with its files, within a limit: files may include themselves,
    which nginx rejects, or each other many times over."""

    def __init__(self, parsed: Mapping[str, Sequence[Document]], folder: PurePosixPath) -> None:
        self._parsed, self._folder = parsed, folder
        self._left = _MOST_DIRECTIVES
        self._included: dict[str, list[str]] = {}

    def of(self, statements: Sequence[Document], files: tuple[str, ...]) -> tuple[Directive, ...]:
        """The directives of `statements` from the last of `files`, which the one before it
        includes, and so on."""
        found: list[Directive] = []
        for each in statements:
            self._left -= 1
            if self._left < 0:
                break
            name, args = str(each["directive"]), tuple(map(str, each["args"]))
            if name == "include" and args and len(files) <= _DEEPEST:
                for path in self._files(args[0]):
                    if path not in files:
                        found += self.of(self._parsed[path], (*files, path))
                continue
            block = None
            if each.get("block") is not None:
                block = self.of(each["block"], files)
            found.append(
                Directive(name=name, words=args, file=files[-1], line=each["line"], block=block)
            )
        return tuple(found)

    def _files(self, pattern: str) -> list[str]:
        if pattern not in self._included:
            whole = str(self._folder / pattern)
            self._included[pattern] = _included(whole, self._parsed)
        return self._included[pattern]


def _included(pattern: str, parsed: Document) -> list[str]:
    """The files that an ``include`` matches, in the order of glob(3)."""
    if pattern in parsed:
        return [pattern]
    if not re.search(r"[*?\[]", pattern):
        return []
    return sorted(path for path in parsed if PurePosixPath(path).match(pattern))


def walk(directive: Directive) -> Iterator[Directive]:
    """All directives below one, in order."""
    for each in directive.block or ():
        yield each
        yield from walk(each)


def http_of(tree: Directive) -> Directive | None:
    """The block ``http``; nginx rejects several."""
    return tree.last("http")
