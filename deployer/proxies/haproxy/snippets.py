"""Snippets of HAProxy's configuration: lines of a section, none of which begins another."""

from __future__ import annotations

from deployer.proxies.snippets import SnippetError, reject_control_characters

PLACES: dict[str, str] = {}
OF_ROUTES = "backend"
_SECTIONS = frozenset(
    (
        *("global", "defaults", "frontend", "backend", "listen", "userlist", "peers", "mailers"),
        *("resolvers", "program", "http-errors", "ring", "log-forward", "cache", "fcgi-app"),
        *("crt-store", "traces", "acme", "log-profile", "dynamic-update", "ruleset", "namespace"),
        *("namespace_list", ".if", ".elif", ".else", ".endif"),
    )
)


def check(text: str) -> None:
    """Check that no line begins a section, and that quotes end in their line."""
    reject_control_characters(text)
    for number, line in enumerate(text.rstrip().split("\n"), 1):
        words = line.split()
        if words and _bare(words[0]) in _SECTIONS:
            raise SnippetError(number, f"'{words[0]}' would begin another section")
        if line.endswith("\\") or not _is_closed(line):
            raise SnippetError(number, "a quote or an escape is not closed in its line")


def _bare(word: str) -> str:
    """A word without what quotes it."""
    return word.replace('"', "").replace("'", "").replace("\\", "").lower()


def _is_closed(line: str) -> bool:
    quote, place = "", 0
    while place < len(line):
        character = line[place]
        if character == "\\" and quote != "'":
            place += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif not quote and character == "#":
            return True
        place += 1
    return not quote
