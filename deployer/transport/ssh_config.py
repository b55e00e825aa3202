"""~/.ssh/config and /etc/ssh/ssh_config, as far as they affect a connection.

Options of a command line come first: `ssh_args` has their settings.

A file becomes a list of settings, each with the conditions of its blocks; for one host, the first
value of a keyword whose conditions hold counts. Paramiko's own reader does not support ``Include``,
with which Debian's /etc/ssh/ssh_config begins, and requires importing Paramiko.

Source: ssh_config(5).
"""

from __future__ import annotations

import glob
import os
import shlex
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from deployer.errors import UsageError
from deployer.text.reading import read_limited

_MAX_INCLUDE_DEPTH = 16
_MATCH_EXEC_TIMEOUT_S = 10.0

#: Keywords with several values, of which all count.
_REPEATED = frozenset({"identityfile", "certificatefile"})

#: Keywords of which the first one of the group counts.
_EXCLUSIVE = dict.fromkeys(("proxyjump", "proxycommand"), ("proxyjump", "proxycommand"))

SYSTEM_FILE = "/etc/ssh/ssh_config"
USER_FILE = "~/.ssh/config"


@dataclass(frozen=True, slots=True)
class _Condition:
    """A ``Host`` or ``Match`` line, which the following settings depend on."""

    keyword: str
    words: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class _Setting:
    conditions: tuple[_Condition, ...]
    keyword: str
    words: tuple[str, ...]


Options = dict[str, list[str]]


def lookup(
    target: str,
    *,
    user: str,
    given: Sequence[tuple[str, tuple[str, ...]]] = (),
    files: Sequence[str] | None = None,
) -> Options:
    """The config's settings for `target`, the argument of `ssh`.

    Keywords are in lower case, values as written. `user` is the user unless the config sets one.
    `given` are settings that come before all files. `files` are read in this order, by default the
    user's and then the system's.

    Raises: UsageError if a file is invalid.
    """
    found: Options = {}
    for keyword, words in given:
        _add(found, keyword, words)
    for path in (USER_FILE, SYSTEM_FILE) if files is None else files:
        for setting in _read(str(Path(os.path.expanduser(path)))):
            if not _counts(found, setting.keyword):
                continue
            if all(_holds(one, target, user=user, found=found) for one in setting.conditions):
                _add(found, setting.keyword, setting.words)
    return found


def _counts(found: Options, keyword: str) -> bool:
    """Whether a further value of a keyword has an effect: of most, the first one counts."""
    if keyword in _REPEATED:
        return True
    return not any(each in found for each in _EXCLUSIVE.get(keyword, (keyword,)))


def _add(found: Options, keyword: str, words: Sequence[str]) -> None:
    if _counts(found, keyword):
        values = found.setdefault(keyword, [])
        values += [word for word in words if word not in values]


def expand(text: str, tokens: dict[str, str]) -> str:
    """`text` with its ``%h`` and the like replaced. Raises: UsageError at an unknown one."""
    parts = text.split("%")
    result = [parts.pop(0)]
    while parts:
        part = parts.pop(0)
        if not part:  # two percent signs
            result.append("%" + (parts.pop(0) if parts else ""))
        elif part[0] in tokens:
            result.append(tokens[part[0]] + part[1:])
        else:
            raise UsageError(f"The SSH config uses %{part[0]} in {text!r}, which is unknown.")
    return "".join(result)


@lru_cache(maxsize=8)
def _read(path: str) -> tuple[_Setting, ...]:
    return tuple(_settings(path, within=(), depth=0))


def _settings(path: str, *, within: tuple[_Condition, ...], depth: int) -> Iterator[_Setting]:
    if depth > _MAX_INCLUDE_DEPTH:
        raise UsageError(f"{path}: too many nested Includes")
    try:
        text = read_limited(Path(path)).decode("utf-8", "replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    conditions = within
    for number, line in enumerate(text.splitlines(), 1):
        keyword, words = split_line(line, f"{path}:{number}")
        if keyword in ("host", "match"):
            conditions = (*within, _Condition(keyword, words, f"{path}:{number}"))
        elif keyword == "include":
            for pattern in words:
                for included in _included(pattern, path):
                    yield from _settings(included, within=conditions, depth=depth + 1)
        elif keyword:
            yield _Setting(conditions, keyword, words)


def split_line(line: str, place: str) -> tuple[str, tuple[str, ...]]:
    """A line's keyword in lower case and its arguments; empty for blank lines and comments.

    Raises: UsageError.
    """
    line = line.strip()
    if not line or line.startswith("#"):
        return "", ()
    if line.startswith('"'):
        word, _, rest = line[1:].partition('"')
    else:
        word = (line.replace("=", " ", 1).split(None, 1) or [""])[0]
        rest = line[len(word) :]
    keyword, rest = word.lower(), rest.lstrip()
    if rest.startswith("="):
        rest = rest[1:].lstrip()
    if keyword == "proxycommand":  # the whole line is for the shell
        return keyword, (rest,)
    try:
        lexer = shlex.shlex(rest, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = _before_comment(lexer)
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from error
    if not words:
        raise UsageError(f"{place}: {keyword} has no value")
    return keyword, words


def _before_comment(words: Iterable[str]) -> tuple[str, ...]:
    """The words before the first one that starts with ``#``."""
    return tuple(takewhile(lambda word: not word.startswith("#"), words))


def _included(pattern: str, path: str) -> list[str]:
    expanded = Path(os.path.expanduser(pattern))
    if not expanded.is_absolute():
        folder = "/etc/ssh" if path.startswith("/etc/ssh/") else "~/.ssh"
        expanded = Path(os.path.expanduser(folder)) / expanded
    return sorted(glob.glob(str(expanded)))  # noqa: PTH207 - the pattern is absolute


def _holds(condition: _Condition, target: str, *, user: str, found: Options) -> bool:
    if condition.keyword == "host":
        return _matches(target, condition.words)
    words = iter(condition.words)
    for word in words:
        negated, criterion = word.startswith("!"), word.removeprefix("!").lower()
        if criterion in ("all", "final", "canonical"):
            holds = criterion != "canonical"  # names are never canonicalized here
        else:
            value = next(words, None)
            if value is None:
                raise UsageError(f"{condition.place}: Match {criterion} has no value")
            holds = _criterion_holds(criterion, value, target, user=user, found=found)
        if holds == negated:
            return False
    return True


def _criterion_holds(criterion: str, value: str, target: str, *, user: str, found: Options) -> bool:
    hostname = expand(found.get("hostname", [target])[0], {"h": target})
    login = found.get("user", [user])[0]
    if criterion == "exec":
        port = found.get("port", ["22"])[0]
        tokens = {"h": hostname, "n": target, "p": port, "r": login, "u": local_user()}
        return _succeeds(
            expand(value, tokens | {"d": os.path.expanduser("~"), "l": socket.gethostname()})
        )
    known = {"host": hostname, "originalhost": target, "user": login, "localuser": local_user()}
    if criterion not in known:
        return False
    return _matches(known[criterion], value.split(","))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern of the list matches, and none with ``!``."""
    name = name.lower()
    found = False
    for pattern in patterns:
        literal = pattern.removeprefix("!").lower().replace("[", "[[]")
        if fnmatchcase(name, literal):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _succeeds(command: str) -> bool:
    try:
        run = subprocess.run(  # noqa: S602 - the user's own config says so, as for ssh itself
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_MATCH_EXEC_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


@lru_cache(maxsize=1)
def local_user() -> str:
    """The name of the user of this process."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def forget() -> None:
    """Read the files again at the next lookup."""
    _read.cache_clear()
