"""The pages of docs/findings/, from the catalogue. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from deployer.findings.entries import PLACES, Catalogue, Entry

_WIDTH = 132
_SEVERITIES = {
    "error": "An **error** that fails its check; where nothing has failed yet, a warning.",
    "warning": "A **warning**: nothing has failed, and it will hurt some day.",
    "note": "A **note**: nothing is wrong, and it explains what somebody may have seen.",
}
_MENTION = re.compile(
    r"(?<!\*)\*([a-z0-9][a-z0-9.-]*-[a-z0-9.-]*[a-z0-9]|redirected|timeout)\*(?!\*)"
)


def page(entry: Entry, *, links: bool = True, width: int = _WIDTH) -> str:
    """The page of one finding, as Markdown of `width` columns; for a terminal without `links`."""
    parts = [
        f"# {entry.code}",
        f"**{entry.title}.** {_SEVERITIES[entry.severity]}",
        _section("What one sees", entry.sees),
        _section("Why", entry.why),
        _section("How to tell", entry.tell),
        _section("How deployer finds it", entry.found),
        "## What mends it",
        *(f"**{PLACES[place]}.**\n\n{text}" for place, text in _in_order(entry)),
    ]
    if entry.measured:
        parts.append(_section("Measured", entry.measured))
    if entry.related:
        parts.append(_section("See also", ", ".join(f"*{code}*" for code in entry.related)))
    text = "\n\n".join(_wrapped(part, width) for part in parts) + "\n"
    return _MENTION.sub(r"[\1](\1.md)" if links else r"\1", text)


def index(catalogue: Catalogue) -> str:
    """docs/findings/README.md: all findings by group, and the ways to fail by number."""
    return "\n".join([*_index_lines(catalogue), ""])


def _index_lines(catalogue: Catalogue) -> Iterator[str]:
    yield "# Findings"
    yield ""
    yield _wrapped(
        "What `deployer verify`, `apply` and `diagnose` can find, a page for each code."
        " `deployer verify --explain CODE` prints the page where this folder is not at hand."
        " Where a finding cannot be told from another, it names both, and how to tell them apart."
    )
    yield ""
    yield "<!-- Made by `make findings` from deployer/findings/catalogue/. -->"
    for group in catalogue.groups:
        yield from ("", f"## {group.title}", "", _wrapped(group.intro), "")
        yield "| code | what it is | |"
        yield "|---|---|---|"
        for code in group.codes:
            entry = catalogue.entries[code]
            severity = "" if entry.severity == "error" else entry.severity
            yield f"| [{code}]({code}.md) | {entry.title} | {severity} |"
    yield from ("", "## Forty ways to fail", "")
    yield _wrapped(
        "Each is made on a rehearsal host or by a scripted server in the tests, beside"
        " a healthy twin on which the finding must not appear."
    )
    yield from ("", "| | what happens | found as |", "|---|---|---|")
    for number, what in catalogue.rows.items():
        about = (entry.code for entry in catalogue.entries.values() if number in entry.rows)
        yield f"| {number} | {what} | {', '.join(f'[{code}]({code}.md)' for code in about)} |"


def _in_order(entry: Entry) -> Iterator[tuple[str, str]]:
    for place in PLACES:
        if place in entry.mend:
            yield place, entry.mend[place]


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _wrapped(text: str, width: int = _WIDTH) -> str:
    """Paragraphs of `width` columns; headings and config lines as they are."""
    return "\n\n".join(
        paragraph if paragraph.startswith(("    ", "#", "|")) else _filled(paragraph, width)
        for paragraph in text.split("\n\n")
    )


def _filled(paragraph: str, width: int) -> str:
    return textwrap.fill(
        " ".join(paragraph.split()), width, break_long_words=False, break_on_hyphens=False
    )
