"""Checks spelling and the word list of docs/contributing.md: ``python docs/words.py [FOLDER]…``.

codespell finds common misspellings and the single words of the list. This program finds phrases,
which codespell cannot, and checks the names of tests, in which underscores count as blanks.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs/contributing.md"
_HEADING = "### Word list"
#: Files that are checked.
_CHECKED = ("*.md", "*.py", "*.yml", "*.j2", "*.sh", "*.cfg", "*.toml", "Makefile")
_FOLDERS = ("benchmarks", "deployer", "docs", "playbooks", "roles", "tests")
#: Files that quote the word list.
_UNLISTED = (
    "docs/contributing.md",
    "tests/unit/docs/test_words.py",
)
#: Recorded output of other programs, and pages generated from texts that are checked themselves.
_EXCLUDED = (
    "tests/unit/cases/",
    "docs/findings/",
    "docs/reference/commands.md",
    "docs/reference/playbook.md",
)
#: Between two words of a wrapped phrase: blanks, and the marks of a comment or string.
_GAP = r"""(?:\s|["']\s*\n\s*f?["']|\n\s*(?:\#:?|\*|--)\s)+"""


def word_list(page: str) -> dict[str, str]:
    """Each word or phrase to avoid, and its replacement."""
    table = page.partition(_HEADING)[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)[1:]
    return {word.strip(): use for use, words in rows for word in words.split(",")}


def files() -> list[str]:
    """The files that are checked, without links and `_EXCLUDED`."""
    found = (
        path
        for folder in _FOLDERS
        for pattern in _CHECKED
        for path in (ROOT / folder).rglob(pattern)
    )
    top = (path for pattern in _CHECKED for path in ROOT.glob(pattern))
    names = (str(path.relative_to(ROOT)) for path in (*top, *found) if not path.is_symlink())
    return sorted(name for name in names if not name.startswith(_EXCLUDED))


def is_listed(name: str, folders: tuple[str, ...]) -> bool:
    """Whether the word list applies to a file, or to one of `folders`."""
    return name.startswith(folders) if folders else not name.startswith(_UNLISTED)


def phrases_in(text: str, words: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """Line, phrase and replacement."""
    for phrase, use in words.items():
        if " " in phrase:
            for found in re.finditer(rf"(?i)\b{_GAP.join(phrase.split())}\b", text):
                yield text.count("\n", 0, found.start()) + 1, phrase, use


def names_in(text: str, words: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """The same for the names of tests, including single words."""
    for found in re.finditer(r"^\s*(?:async )?def (test_\w+)", text, re.MULTILINE):
        name = found[1].replace("_", " ")
        for word, use in words.items():
            if re.search(rf"\b{word}\b", name):
                yield text.count("\n", 0, found.start(1)) + 1, word, use


def _spelling(names: list[str], words: dict[str, str] | None = None) -> int:
    """codespell's exit code."""
    if not names:
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as dictionary:
        given = []
        if words is not None:
            dictionary.writelines(f"{w}->{use},\n" for w, use in words.items() if " " not in w)
            dictionary.flush()
            given = ["--dictionary", dictionary.name]
        command = [sys.executable, "-m", "codespell_lib", *given, *names]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def main(*folders: str) -> int:
    """Check the word list in `folders`; the exit code is 1 if anything was found."""
    words = word_list(LIST.read_text(encoding="utf-8"))
    checked = files()
    clean = [name for name in checked if is_listed(name, folders)]
    failures = _spelling(checked) + _spelling(clean, words)
    for name in clean:
        text = (ROOT / name).read_text(encoding="utf-8")
        for line, phrase, use in (*phrases_in(text, words), *names_in(text, words)):
            print(f"{name}:{line}: {phrase} ==> {use}", file=sys.stderr)
            failures += 1
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
