"""Find the tags of a page in linear time. Pure.

A page may be hostile: `html.parser` takes hours for some pages of two megabytes.
Source: https://html.spec.whatwg.org/multipage/parsing.html, as far as scripts are concerned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape

_BEGINNING = re.compile(r"<!--|<([a-zA-Z][^\s/>]*)")
_ATTRIBUTE = re.compile(
    r"[\s/]*([^\s/>][^\s/>=]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"'][^\s>]*)))?"
)
_UNCLOSED = re.compile(r"\s*=\s*[\"']")
_END = re.compile(r"[\s/]*>")
#: The content of these is text, up to their end tag.
_TEXT_ELEMENTS = frozenset({"script", "style", "textarea", "title"})
_CLOSING = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _TEXT_ELEMENTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A start tag, in lower case; `text` is the content of a text element."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


def tags(text: str) -> Iterator[Tag]:
    """Yield the start tags of a page outside comments, up to a quote that is never closed."""
    at = 0
    while (found := _BEGINNING.search(text, at)) is not None:
        name = (found[1] or "").lower()
        if not name:
            end = text.find("-->", found.end())
            if end < 0:
                return
            at = end + 3
            continue
        attributes: dict[str, str] = {}
        at = found.end()
        while (end_of_tag := _END.match(text, at)) is None:
            given = _ATTRIBUTE.match(text, at)
            if given is None or _UNCLOSED.match(text, given.end()):
                return
            value = next((each for each in given.groups()[1:] if each is not None), "")
            attributes.setdefault(given[1].lower(), unescape(value))
            at = given.end()
        at = end_of_tag.end()
        inside = ""
        if name in _TEXT_ELEMENTS:
            closing = _CLOSING[name].search(text, at)
            end = closing.start() if closing else len(text)
            inside, at = text[at:end], end
        yield Tag(name=name, attributes=attributes, text=inside)
