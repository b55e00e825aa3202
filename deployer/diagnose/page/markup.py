"""The tags of a page, in time that grows with its length alone. Pure.

A page may be anybody's: `html.parser` takes hours for some that have two megabytes.
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
#: What stands in these is text, up to their end.
_OF_TEXT = frozenset({"script", "style", "textarea", "title"})
_CLOSING = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _OF_TEXT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A start tag, in lower case; `text` is what stands in it, where that is no markup."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


def tags(text: str) -> Iterator[Tag]:
    """The start tags of a page, without those in comments; up to a quote that is never closed."""
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
        if name in _OF_TEXT:
            closing = _CLOSING[name].search(text, at)
            end = closing.start() if closing else len(text)
            inside, at = text[at:end], end
        yield Tag(name=name, attributes=attributes, text=inside)
