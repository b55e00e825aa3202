"""systemd's files, read by the rules of its manual pages and its source, not by ours.

Sources: systemd.syntax(7), systemd.service(5), systemd.exec(5); read_line(), extract-word.c and
env-file.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_ENDS = re.compile(r"\r\n|\n\r|[\n\r\0]")
_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39}
_CODED = {"x": 2, "u": 4, "U": 8}
#: Settings that are split into words, with C escapes or without.
COMMANDS = ("ExecStart", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop")
PATH_LISTS = ("ReadWritePaths", "StateDirectory", "RuntimeDirectory")


def settings(unit: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Section, name and decoded words or value of each setting."""
    found, section = [], ""
    for line in _logical_lines(unit):
        if line.startswith("["):
            section = line
            found.append((section, "", ()))
            continue
        name, sign, value = line.partition("=")
        assert sign, f"a line without an assignment: {line!r}"
        name, value = name.strip(), value.strip()
        if name in COMMANDS:
            found.append((section, name, tuple(_command(value, is_plain="Start" in name))))
        elif name in PATH_LISTS:
            found.append((section, name, tuple(map(_specifiers, _words(value, escapes=False)))))
        else:
            found.append((section, name, (_specifiers(value),)))
    return found


def _logical_lines(text: str) -> Iterator[str]:
    pending = ""
    for raw in _LINE_ENDS.split(text):
        line = raw.lstrip(" \t")
        if line.startswith(("#", ";")):
            continue
        if raw.endswith("\\"):
            pending += raw[:-1] + " "
            continue
        whole = (pending + raw).strip()
        pending = ""
        if whole:
            yield whole


def _specifiers(text: str) -> str:
    assert not re.search(r"%(?!%)", text.replace("%%", "")), f"a specifier: {text!r}"
    return text.replace("%%", "%")


def _command(value: str, *, is_plain: bool) -> Iterator[str]:
    for number, word in enumerate(_words(value, escapes=True)):
        text = _specifiers(word)
        if number == 0 and not is_plain:
            yield text  # with the template's own prefix
        elif number == 0:
            assert text.startswith("/"), f"a prefix, or not a path: {text!r}"
            yield text
        elif text == "$MAINPID":
            yield text
        else:
            assert not re.search(r"\$(?!\$)", text.replace("$$", "")), f"a variable: {text!r}"
            yield text.replace("$$", "$")


def _words(value: str, *, escapes: bool) -> Iterator[str]:
    """The words of extract_first_word(); quotes are removed, and escapes decoded."""
    place = 0
    while place < len(value):
        if value[place] in " \t\n\r":
            place += 1
            continue
        is_separator = value[place] == ";" and value[place + 1 : place + 2] in ("", " ", "\t")
        assert not is_separator, f"a second command: {value!r}"
        word, quote = "", ""
        while place < len(value):
            character = value[place]
            if not quote and character in " \t\n\r":
                break
            if character == "\\":
                assert escapes, f"a backslash in a list of paths: {value!r}"
                decoded, place = _escape(value, place)
                word += decoded
                continue
            if character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            else:
                word += character
            place += 1
        assert not quote, f"an open quote: {value!r}"
        yield word


def _escape(value: str, place: int) -> tuple[str, int]:
    letter = value[place + 1]
    if letter in _SIMPLE:
        return chr(_SIMPLE[letter]), place + 2
    if letter == "s":
        return " ", place + 2
    size = _CODED[letter]  # a KeyError is an escape that systemd does not know
    code = int(value[place + 2 : place + 2 + size], 16)
    assert code, f"a NUL: {value!r}"
    assert not 0xD800 <= code <= 0xDFFF, f"half a character: {value!r}"
    return chr(code), place + 2 + size


def environment(text: str) -> dict[str, str]:
    """The variables of an EnvironmentFile= that systemd accepts."""
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        if text[place] in "\n\r \t":
            place += 1
        elif text[place] in "#;":
            while place < len(text) and text[place] not in "\n\r":
                place += 1
        else:
            end = text.index("=", place)
            key, place = text[place:end], end + 1
            value, place = _environment_value(text, place)
            assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key), f"a key: {key!r}"
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value), f"systemd drops {value!r}"
            found[key] = value
    return found


def _environment_value(text: str, place: int) -> tuple[str, int]:
    assert text[place] == '"', "every value is quoted"
    value, place = "", place + 1
    while text[place] != '"':
        if text[place] == "\\":
            place += 1
            value += {'"': '"', "\\": "\\", "`": "`", "$": "$", "\n": ""}.get(
                text[place], "\\" + text[place]
            )
        else:
            value += text[place]
        place += 1
    assert place + 1 == len(text) or text[place + 1] in "\n\r", "text follows the value"
    return value, place + 1
