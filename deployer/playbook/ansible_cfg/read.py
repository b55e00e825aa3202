"""Find ``ansible.cfg`` by Ansible's rules, and read it with the position of every setting."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.playbook.yaml.file import read_text
from deployer.playbook.yaml.source import SourceFile, Spot
from deployer.text.paths import is_file, is_folder

_OPTION = re.compile(r"([^:=\s][^:=]*?)\s*[:=]")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as written, and the folder of its file, which relative paths start from."""

    section: str
    key: str
    text: str
    spot: Spot
    folder: Path


def find(environment: Mapping[str, str]) -> tuple[Path | None, str]:
    """The file, if there is any, and a note on one that is not read.

    In this order: ``ANSIBLE_CONFIG``, ``ansible.cfg`` in the current folder unless everyone may
    write there, ``~/.ansible.cfg``, ``/etc/ansible/ansible.cfg``.
    """
    note = ""
    named = environment.get("ANSIBLE_CONFIG")
    if named:
        path = Path(os.path.expanduser(os.path.expandvars(named)))
        if is_folder(path):
            path /= "ansible.cfg"
        if is_file(path):
            return path, note
        note = f"ANSIBLE_CONFIG: {path} does not exist"
    here = Path("ansible.cfg")
    if is_file(here):
        if not Path().stat().st_mode & stat.S_IWOTH:
            return here, note
        note = f"{Path.cwd()}/ansible.cfg is not read, as everyone may write in this folder"
    for path in (Path("~/.ansible.cfg"), Path("/etc/ansible/ansible.cfg")):
        if is_file(expanded := Path(os.path.expanduser(path))):
            return expanded, note
    return None, note


def read(path: Path) -> list[Setting]:
    """The settings of a file, in its order. Raises: UsageError."""
    import configparser

    text = read_text(path, what="settings file")
    file = SourceFile(str(path), tuple(text.split("\n")))
    parser = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None)
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or _first_error(error)
        problem = _problem(error)
        raise file.spot((line, 1)).error(
            problem, hint="write [section], then key = value"
        ) from None
    places = _places(file)
    return [
        Setting(
            section,
            key,
            _unquoted(value),
            file.spot(places.get((section, key)) or places.get(("DEFAULT", key), (1, 1))),
            path.parent,
        )
        for section in parser.sections()
        for key, value in parser.items(section)
        # The special section DEFAULT has values for all others.
        if (section, key) in places or section == "defaults"
    ]


def _first_error(error: Exception) -> int:
    errors = getattr(error, "errors", None)
    return int(errors[0][0]) if errors else 1


def _problem(error: Exception) -> str:
    import configparser

    if isinstance(error, configparser.DuplicateOptionError):
        return f"a second '{error.option}' in [{error.section}]"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"a second section [{error.section}]"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return "a setting before the first section"
    return "neither a section nor a setting"


def _places(file: SourceFile) -> dict[tuple[str, str], tuple[int, int]]:
    """The position of each setting, by its section and its key in lower case."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    section = ""
    for number, line in enumerate(file.lines, start=1):
        header = re.match(r"\[(?P<name>[^\]]+)\]", line.strip())
        if header is not None:
            section = header["name"]
        elif line[:1].strip() and line[0] not in "#;" and (option := _OPTION.match(line)):
            found.setdefault((section, option[1].strip().lower()), (number, 1))
    return found


def _unquoted(text: str) -> str:
    """As in Ansible, quotes around a whole value do not belong to it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[-2] != "\\":
        return text[1:-1]
    return text


def from_environment(name: str, text: str) -> Setting:
    """A setting of an environment variable; relative paths start from the current folder."""
    spot = SourceFile(f"environment variable {name}").spot((1, 1))
    return Setting("", name, text, spot, Path())


def path_of(setting: Setting, text: str) -> Path:
    """A path of a setting: ``~``, ``$VAR`` and ``{{CWD}}`` are replaced. Raises: UsageError."""
    text = text.strip().replace("{{CWD}}", str(Path.cwd()))
    if "{{" in text:
        raise setting.spot.error(f"'{text}' is a template, which settings do not support")
    return setting.folder / os.path.expanduser(os.path.expandvars(text))
