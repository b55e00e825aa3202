"""The catalogue's data, read and checked."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

FOLDER = Path(__file__).parent / "catalogue"
_ROWS = FOLDER / "rows.yml"

Severity = Literal["error", "warning", "note"]

#: What can be mended, by its heading on the page.
PLACES: Mapping[str, str] = {
    "dns": "In DNS",
    "client": "In the client",
    "nginx": "nginx",
    "apache": "Apache",
    "haproxy": "HAProxy",
    "service": "The service",
    "host": "On the host",
    "balancer": "In what stands before the host",
    "issuer": "With the issuer",
    "playbook": "In the playbook",
    "here": "Here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What there is to know about a code. All texts are Markdown, ``*code*`` names another entry.

    `sees` is what a client gets to see, `tell` how to tell it from its neighbours, `found` how it
    is found; `mend` is by `PLACES`; `measured` are figures; `rows` are keys of `Catalogue.rows`.
    """

    code: str
    group: str
    title: str
    severity: Severity
    sees: str
    why: str
    tell: str
    found: str
    mend: Mapping[str, str]
    measured: str = ""
    rows: tuple[int, ...] = ()
    related: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Entries that belong together, and what is common to them."""

    title: str
    intro: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All of it; `rows` are the ways to fail, by number."""

    groups: tuple[Group, ...]
    entries: Mapping[str, Entry]
    rows: Mapping[int, str] = field(default_factory=dict)


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue that ships with us.

    Raises:
        ValueError: a file of it is wrong; our own fault.
    """
    files = [path for path in sorted(FOLDER.glob("*.yml")) if path != _ROWS]
    groups: list[Group] = []
    entries: dict[str, Entry] = {}
    for path in files:
        document = _loaded(path)
        found = document["findings"]
        groups.append(Group(title=document["title"], intro=document["intro"], codes=tuple(found)))
        for code, fields in found.items():
            if code in entries:
                raise ValueError(f"{path.name}: {code} is there twice")
            entries[code] = _entry(path.name, code, fields, group=document["title"])
    rows: dict[int, str] = _loaded(_ROWS)
    made = Catalogue(groups=tuple(groups), entries=entries, rows=rows)
    _check(made)
    return made


def _loaded(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _entry(file: str, code: str, fields: Mapping[str, Any], *, group: str) -> Entry:
    try:
        given: dict[str, Any] = {
            name: text.strip() if isinstance(text, str) else tuple(text)
            for name, text in fields.items()
            if name != "mend"
        }
        mend = {place: text.rstrip() for place, text in fields["mend"].items()}
        entry = Entry(code=code, group=group, mend=mend, **given)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file}: {code}: {error}") from None
    if entry.severity not in get_args(Severity):
        raise ValueError(f"{file}: {code}: no severity is called {entry.severity!r}")
    if strange := set(mend) - set(PLACES):
        raise ValueError(f"{file}: {code}: no place is called {', '.join(sorted(strange))}")
    return entry


def _check(made: Catalogue) -> None:
    for entry in made.entries.values():
        if strange := set(entry.related) - set(made.entries):
            raise ValueError(f"{entry.code}: relates to {', '.join(sorted(strange))}, unknown")
        if missing := set(entry.rows) - set(made.rows):
            raise ValueError(f"{entry.code}: there is no row {missing}")
    told = {row for entry in made.entries.values() for row in entry.rows}
    if untold := set(made.rows) - told:
        raise ValueError(f"no finding is about row {', '.join(map(str, sorted(untold)))}")
