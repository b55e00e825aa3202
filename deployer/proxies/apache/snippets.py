"""Snippets of Apache's configuration: one directive in a line, and sections that end."""

from __future__ import annotations

import re

from deployer.proxies.snippets import SnippetError, reject_control_characters

PLACES = {"server": "<VirtualHost> of the site"}
OF_ROUTES = "<Location>"
_SECTION = re.compile(r"\s*<(/?)\s*([A-Za-z]+)")


def check(text: str) -> None:
    """Check that each section ends, and that no line continues after the snippet."""
    reject_control_characters(text)
    lines = text.rstrip().split("\n")
    if lines[-1].endswith("\\"):
        raise SnippetError(len(lines), "'\\' would continue the line after the snippet")
    open_sections: list[tuple[str, int]] = []
    is_continued = False
    for number, line in enumerate(lines, 1):
        found = None if is_continued else _SECTION.match(line)
        is_continued = line.endswith("\\")
        if found is None:
            continue
        name = found[2].lower()
        if not found[1]:
            open_sections.append((name, number))
        elif not open_sections or open_sections[-1][0] != name:
            raise SnippetError(number, f"</{found[2]}> closes no section of the snippet")
        else:
            open_sections.pop()
    if open_sections:
        name, number = open_sections[-1]
        raise SnippetError(number, f"the section <{name}> is not closed")
