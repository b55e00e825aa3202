"""Load and validate the data of the catalogue."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from deployer.model import Document
from deployer.proxies import PROXIES

FOLDER = Path(__file__).parent / "catalogue"
_ROWS = FOLDER / "rows.yml"

Severity = Literal["error", "warning", "note"]

#: The heading on the page for each place where a fix is made.
PLACES: Mapping[str, str] = {
    "dns": "In DNS",
    "client": "In the client",
    **{proxy.name: proxy.title for proxy in PROXIES.values()},
    "service": "The service",
    "host": "On the host",
    "balancer": "In the CDN or load balancer",
    "issuer": "At the certificate issuer",
    "playbook": "In the playbook",
    "here": "In deployer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One finding. All texts are Markdown; ``*code*`` links to a different entry.

    `symptom` is what a client observes, `distinguish` how to rule out similar findings, `detection`
    how deployer finds it; `fix` is keyed by `PLACES`; `measured` are figures from tests; `rows` are
    keys of `Catalogue.rows`.
    """

    code: str
    group: str
    title: str
    severity: Severity
    symptom: str
    cause: str
    distinguish: str
    detection: str
    fix: Mapping[str, str]
    measured: str = ""
    rows: tuple[int, ...] = ()
    related: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Related entries, under one title and introduction."""

    title: str
    intro: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All entries by group and by code; `rows` are the ways to fail, by number."""

    groups: tuple[Group, ...]
    entries: Mapping[str, Entry]
    rows: Mapping[int, str] = field(default_factory=dict)


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue shipped with deployer.

    Raises:
        ValueError: a catalogue file is invalid, which is a bug in deployer.
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
                raise ValueError(f"{path.name}: {code} is defined twice")
            entries[code] = _entry(path.name, code, fields, group=document["title"])
    rows: dict[int, str] = _loaded(_ROWS)
    made = Catalogue(groups=tuple(groups), entries=entries, rows=rows)
    _check(made)
    return made


def _loaded(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _entry(file: str, code: str, fields: Document, *, group: str) -> Entry:
    try:
        given: dict[str, Any] = {
            name: text.strip() if isinstance(text, str) else tuple(text)
            for name, text in fields.items()
            if name != "fix"
        }
        fix = {place: text.rstrip() for place, text in fields["fix"].items()}
        entry = Entry(code=code, group=group, fix=fix, **given)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file}: {code}: {error}") from None
    if entry.severity not in get_args(Severity):
        raise ValueError(f"{file}: {code}: unknown severity {entry.severity!r}")
    if unknown := set(fix) - set(PLACES):
        raise ValueError(f"{file}: {code}: unknown place {', '.join(sorted(unknown))}")
    return entry


def _check(made: Catalogue) -> None:
    for entry in made.entries.values():
        if unknown := set(entry.related) - set(made.entries):
            raise ValueError(f"{entry.code}: unknown related {', '.join(sorted(unknown))}")
        if missing := set(entry.rows) - set(made.rows):
            raise ValueError(f"{entry.code}: there is no row {missing}")
    covered = {row for entry in made.entries.values() for row in entry.rows}
    if uncovered := set(made.rows) - covered:
        raise ValueError(f"no finding covers row {', '.join(map(str, sorted(uncovered)))}")
