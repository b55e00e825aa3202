"""Snippets of nginx's configuration, read like ngx_conf_read_token() does."""

from __future__ import annotations

from deployer.proxies.snippets import SnippetError, reject_control_characters

PLACES = {"http": "http{}", "server": "server{} of the site"}
OF_ROUTES = "location{}"
_SPACE = " \t\r\n"


def check(text: str) -> None:
    """Check that braces and quotes are closed, and that each directive ends."""
    reject_control_characters(text)
    depth = place = 0
    is_open = False
    while place < len(text):
        character = text[place]
        if character == "#":
            place = text.find("\n", place) if "\n" in text[place:] else len(text)
        elif character in _SPACE:
            place += 1
        elif character in ";{}":
            _check_end(character, is_open=is_open, depth=depth, line=_line(text, place))
            depth += {"{": 1, "}": -1}.get(character, 0)
            is_open, place = False, place + 1
        else:
            is_open, place = True, _after_word(text, place)
    if is_open or depth:
        why = "a '}' is missing" if depth and not is_open else "a directive has no ';'"
        raise SnippetError(_line(text, len(text.rstrip())), why)


def _check_end(character: str, *, is_open: bool, depth: int, line: int) -> None:
    if character == "}" and depth == 0:
        raise SnippetError(line, "'}' would close the block around the snippet")
    if character == "}" and is_open:
        raise SnippetError(line, "a directive has no ';'")
    if character in ";{" and not is_open:
        raise SnippetError(line, f"'{character}' without a directive")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _after_word(text: str, place: int) -> int:
    start, quote = place, text[place] if text[place] in "\"'" else ""
    place += len(quote)
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 2
        elif quote and character == quote:
            if place + 1 < len(text) and text[place + 1] not in f"{_SPACE};{{)":
                raise SnippetError(_line(text, place), "text follows a quote")
            return place + 1
        elif not quote and text.startswith("${", place):
            place = text.find("}", place) + 1 or len(text)
        elif not quote and character in f"{_SPACE};{{":
            return place
        else:
            place += 1
    if quote or place > len(text):
        raise SnippetError(_line(text, start), "a quote or an escape is not closed")
    return place
