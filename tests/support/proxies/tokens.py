"""The configurations that roles write, as the tokens that each proxy reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator


def nginx(text: str) -> list[tuple[str, ...]]:
    """Each directive with its parameters, and ``{`` or ``;`` at its end: ngx_conf_read_token()."""
    found: list[tuple[str, ...]] = []
    words: list[str] = []
    place = 0
    while place < len(text):
        character = text[place]
        if character in " \t\r\n":
            place += 1
        elif character == "#":
            place = text.find("\n", place) if "\n" in text[place:] else len(text)
        elif character in ";{}":
            found.append((*words, character))
            words, place = [], place + 1
        else:
            word, place = _nginx_word(text, place)
            words.append(word)
    assert not words, f"a directive without an end: {words}"
    return found


def _nginx_word(text: str, place: int) -> tuple[str, int]:
    quote = text[place] if text[place] in "\"'" else ""
    word, place = "", place + len(quote)
    while True:
        character = text[place]
        if character == "\\":
            following = text[place + 1]
            word += following if following in "\"'\\" else character + following
            place += 2
        elif quote and character == quote:
            assert text[place + 1] in " \t\r\n;{)", f"text follows a quote: {text[place:][:20]!r}"
            return word, place + 1
        elif not quote and (character in " \t\r\n;" or (character == "{" and word[-1:] != "$")):
            return word, place
        else:
            word += character
            place += 1


def apache(text: str) -> list[tuple[str, ...]]:
    """The words of each line: ap_cfg_getline(), ap_getword_conf()."""
    joined = re.sub(r"\\\r?\n", "", text)
    lines = (line.strip() for line in re.split(r"[\r\n]", joined))
    return [tuple(_apache_words(line)) for line in lines if line and not line.startswith("#")]


def _apache_words(line: str) -> Iterator[str]:
    rest = line
    while rest:
        quoted = re.match(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')(?=\s|>|$)\s*""", rest)
        found = quoted or re.match(r"\S+\s*", rest)
        assert found is not None
        word = found[0].strip()
        yield re.sub(r'\\(["\\])', r"\1", word[1:-1]) if quoted else word
        rest = rest[found.end() :]


def haproxy(text: str) -> list[tuple[str, ...]]:
    """The words of each line: parse_line()."""
    lines = re.split(r"[\r\n]", text)
    return [words for line in lines if (words := tuple(_haproxy_words(line)))]


def _haproxy_words(line: str) -> Iterator[str]:
    word, quote, started, place = "", "", False, 0
    while place < len(line):
        character = line[place]
        place += 1
        if character == "\\" and quote != "'":
            word, started = word + line[place : place + 1], True
            place += 1
        elif quote:
            quote, word = ("", word) if character == quote else (quote, word + character)
        elif character in "\"'":
            quote, started = character, True
        elif character in " \t":
            if started:
                yield word
            word, started = "", False
        elif character == "#":
            break
        else:
            word, started = word + character, True
    assert not quote, f"an open quote: {line!r}"
    if started:
        yield word


READERS: dict[str, Callable[[str], list[tuple[str, ...]]]] = {
    "/etc/nginx/": nginx,
    "/etc/apache2/": apache,
    "/etc/haproxy/haproxy.cfg": haproxy,
}
