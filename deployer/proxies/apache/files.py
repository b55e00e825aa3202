"""Apache's configuration from its files, as far as they show it: includes, conditions, macros.

Apache's own output is better, but is only about the files that it has now. Source: httpd, core
features "Include"; mod_macro.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from deployer.agent.proxies.apache.config import joined_lines
from deployer.proxies.apache.tree import Directive, Tree, words_of
from deployer.proxies.inspect.model import ConfigFile

_VARIABLE = re.compile(r"\$\{([\w-]+)\}")
_CONDITIONAL = frozenset({"ifmodule", "ifdefine", "ifversion", "iffile", "ifdirective"})
_INCLUDES = frozenset({"include", "includeoptional"})
_DEEPEST = 20
#: A line with its place.
_Line = tuple[str, str, int]


def read(files: Sequence[ConfigFile], modules: frozenset[str]) -> list[Directive]:
    """The directives of the first file, with those that it includes; of all if it includes none."""
    reader = _Files(files, modules)
    for each in files[:1]:
        reader.take(each, depth=0)
    if len(reader.reached) < 2:
        for each in files[1:]:
            reader.take(each, depth=0)
    return reader.tree.top


class _Files:
    def __init__(self, files: Sequence[ConfigFile], modules: frozenset[str]) -> None:
        self.tree = Tree()
        self.reached: set[str] = set()
        self._files = {each.path: each for each in files}
        self._modules = modules
        self._root = posixpath.dirname(files[0].path) if files else ""
        self._defined: dict[str, str] = {}
        self._within: set[str] = set()
        self._macros: dict[str, tuple[tuple[str, ...], list[str]]] = {}

    def take(self, file: ConfigFile, *, depth: int) -> None:
        """Read one file, each time that it is included, but not within itself."""
        self.reached.add(file.path)
        lines = joined_lines(file.text)
        self._once(file.path, ((text, file.path, number) for number, text in lines), depth)

    def _once(self, name: str, lines: Iterator[_Line], depth: int) -> None:
        """Read `lines` of a file or macro; Apache refuses one that leads to itself."""
        if name not in self._within:
            self._within.add(name)
            self._lines(lines, depth)
            self._within.discard(name)

    def _lines(self, lines: Iterator[_Line], depth: int) -> None:
        conditions: list[bool] = []
        for text, file, line in lines:
            name = text.lstrip("</").partition(" ")[0].rstrip(">").lower()
            if name in _CONDITIONAL and text.startswith("</"):
                conditions = conditions[:-1]
            elif name in _CONDITIONAL and text.startswith("<"):
                conditions.append(self._applies(name, text))
            elif not all(conditions):
                continue
            elif name == "macro" and text.startswith("<"):
                self._define_macro(text, lines)
            else:
                text = _VARIABLE.sub(lambda found: self._defined.get(found[1], found[0]), text)
                self._directive(name, (text, file, line), depth)

    def _directive(self, name: str, place: _Line, depth: int) -> None:
        text, file, line = place
        words = words_of(text)
        if name in _INCLUDES and len(words) > 1 and depth < _DEEPEST:
            for each in self._included(words[1]):
                self.take(each, depth=depth + 1)
        elif name == "use" and len(words) > 1 and depth < _DEEPEST:
            expanded = ((each, file, line) for each in self._expanded(words[1:]))
            self._once(f"macro {words[1].lower()}", expanded, depth + 1)
        elif name == "define" and len(words) > 1:
            self._defined[words[1]] = words[2] if len(words) > 2 else ""
        elif name == "serverroot" and len(words) > 1:
            self._root = words[1]
        else:
            self.tree.take(text, file=file, line=line)

    def _included(self, pattern: str) -> list[ConfigFile]:
        """The files that a pattern matches, or those in a folder, in the order of their names."""
        wanted = posixpath.normpath(posixpath.join(self._root, pattern)).split("/")
        found = []
        for path in sorted(self._files):
            parts = path.split("/")
            if len(parts) >= len(wanted) and all(map(fnmatchcase, parts, wanted)):
                found.append(self._files[path])
        return found

    # --- macros -----------------------------------------------------------------------------------

    def _define_macro(self, opening: str, lines: Iterator[_Line]) -> None:
        words = words_of(opening.strip("<>"))[1:]
        body = []
        for text, _, _ in lines:
            if text.lower().startswith("</macro"):
                break
            body.append(text)
        if words:
            self._macros[words[0].lower()] = (words[1:], body)

    def _expanded(self, words: Sequence[str]) -> Iterator[str]:
        parameters, body = self._macros.get(words[0].lower(), ((), []))
        values = dict(zip(parameters, words[1:], strict=False))
        longest_first = sorted(values, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        for line in body:
            yield pattern.sub(lambda found: values[found[0]], line)

    # --- conditions -------------------------------------------------------------------------------

    def _applies(self, name: str, text: str) -> bool:
        words = words_of(text.strip("<>").partition(" ")[2])
        argument = words[0] if words else ""
        is_negated, argument = argument.startswith("!"), argument.lstrip("!")
        if name == "ifmodule":
            module = re.sub(r"^mod_|\.c$|_module$", "", argument)
            return (module in self._modules) is not is_negated
        if name == "ifdefine":
            return (argument in self._defined) is not is_negated
        return True
