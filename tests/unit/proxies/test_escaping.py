"""Strings in each proxy's configuration are read back as they were, or refused."""

from __future__ import annotations

import pytest

from deployer.proxies import PROXIES
from tests.support.proxies.tokens import apache, haproxy, nginx

READERS = {"apache": apache, "haproxy": haproxy, "nginx": nginx}
TEXTS = (
    *(
        "",
        "plain",
        "/a/b.c",
        "a b",
        'a"b',
        "a'b",
        "a\\b",
        "a\\",
        "\\n",
        "a;b",
        "a{b}",
        "#a",
        "a #b",
    ),
    *('"', "'", "';\"", "a}; server {", "\u00e9", "\u2028", "%[src]", "%{HTTP_HOST}", "|", "a,b"),
)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", sorted(PROXIES))
def test_a_string_is_read_back(name: str, text: str) -> None:
    written = PROXIES[name].escaping.string(text)
    end = (";",) if name == "nginx" else ()
    line = f"directive {written}{';' if end else ''} \nnext{';' if end else ''}\n"
    assert READERS[name](line) == [("directive", text, *end), ("next", *end)]


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "\x7f"])
@pytest.mark.parametrize("name", sorted(PROXIES))
def test_control_characters_are_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        PROXIES[name].escaping.string(text)


@pytest.mark.parametrize(("name", "text"), [("nginx", "$host"), ("apache", "${PATH}")])
def test_variables_are_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        PROXIES[name].escaping.string(text)
