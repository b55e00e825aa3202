"""Rendered units, parsed back: a unit of a built-in role has only the settings of its template.

The filters of the templates and the types of the variables prevent a value from adding a setting.
This check does not rely on either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from deployer.playbook.yaml.source import Spot

_SUFFIXES = (".service", ".socket", ".timer", ".target", ".mount", ".path", ".slice", ".conf")
_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9]*)\s*=")


def is_unit(path: str) -> bool:
    """Whether systemd reads the file at `path` on a host."""
    pure = PurePosixPath(path)
    return pure.suffix in _SUFFIXES and str(pure).startswith(
        ("/etc/systemd/", "/lib/systemd/", "/usr/lib/systemd/")
    )


def settings_of(text: str) -> Iterator[tuple[str, str]]:
    """Section and setting of each assignment in a unit, and of what is not an assignment.

    Source: systemd.syntax(7). A line that ends with a backslash continues; comments are skipped
    even between the lines of one setting. A carriage return and a NUL end a line too.
    """
    section, continued = "", False
    for line in re.split(r"\r\n|\n\r|[\n\r\0]", text):
        bare = line.strip(" \t\r\f\v")
        if bare.startswith(("#", ";")):
            continue
        is_first = not continued
        continued = line.endswith("\\")
        if not is_first or not bare:
            continue
        if bare.startswith("["):
            section = bare
            yield section, ""
            continue
        found = _SETTING.match(bare)
        yield section, found[1] if found else bare


def check_unit(text: str, template: str, spot: Spot) -> None:
    """Check that the settings of a unit are those of its template, in the same order.

    Raises:
        SourceError: it has a section, a setting or a line of which the template has no such one.
    """
    bare = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", template, flags=re.DOTALL)
    known = iter(settings_of(bare))
    for section, setting in settings_of(text):
        if (section, setting) not in known:  # consumes the iterator up to the same setting
            what = f"the setting {setting[:40]}" if setting else f"the section {section[:40]}"
            raise spot.error(
                f"a value adds {what} to the unit",
                hint="the template writes a variable without a filter such as systemd_word",
            )
