"""Certificates as a table: those on the hosts, those served, and their problems. Pure.

Each certificate takes one line if the terminal is wide enough, otherwise two, with the names in
the first. Cells are never wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from deployer.certificates.status import issuer_words, short_serial
from deployer.commit.outcome import HostReport
from deployer.model import Document
from deployer.report.history import HistoryLine
from deployer.text.times import minute, moment, relative, span, when

Cells = list[tuple[str, str]]
Status = Document

_GAP = "  "
_MARKS = {"": "✓", "warning": "!", "error": "✗"}
_STYLES = {"": "good", "warning": "late", "error": "bad"}
_FEW_DAYS = timedelta(days=10)
_SHORTEST_SITE = 16
_ISSUER_WIDTH = 24
_SERVED_WIDTH = 24
_NARROW_SERVED_WIDTH = 14

#: The cell that is highlighted, by the code of the problem.
_CELL_OF = {
    "expired": "left",
    "expires-soon": "left",
    "not-yet-valid": "left",
    "no-certificate": "left",
    "renewal-late": "due",
    "no-timer": "due",
    "attempt-failed": "attempt",
    "not-served": "served",
    "other-served": "served",
    "names-missing": "names",
    "wrong-issuer": "issuer",
}
_TITLES = {
    "mark": "",
    "host": "HOST",
    "names": "SITE",
    "issuer": "ISSUER",
    "serial": "SERIAL",
    "until": "NOT AFTER",
    "left": "LEFT",
    "due": "RENEWAL DUE",
    "attempt": "LAST ATTEMPT",
    "served": "SERVED",
}
_ONE_LINE = ("mark", "host", *list(_TITLES)[2:])
_FIRST_LINE = ("mark", "names", "issuer", "served")
_SECOND_LINE = ("until", "left", "due", "attempt", "serial")


class _Row(NamedTuple):
    """One certificate: its cells by column, each a text and a style."""

    host: str
    cells: Mapping[str, tuple[str, str]]
    aliases: tuple[str, ...]


def table(reports: Sequence[HostReport], *, now: datetime, width: int | None) -> Iterator[Cells]:
    """All certificates of `reports` as lines of styled cells, at most `width` columns if given."""
    rows = [
        _Row(report.host, _cells(report.host, status, now), _aliases(status))
        for report in reports
        for status in report.certificates
    ]
    if not rows:
        if reports:
            yield [("no certificates: no site on these hosts uses TLS", "note")]
        return
    columns = [name for name in _ONE_LINE if name != "host" or len({row.host for row in rows}) > 1]
    narrow = [row._replace(cells=_narrow(row.cells)) for row in rows]
    for candidates in (rows, narrow):
        widths = _widths(candidates, columns)
        total = sum(widths.values()) + len(_GAP) * (len(columns) - 1)
        if width is None or total <= width:
            yield from _single_lines(candidates, columns, widths, width)
            return
    yield from _double_lines(narrow, width or total)


def problem_lines(reports: Sequence[HostReport]) -> Iterator[HistoryLine]:
    """The problems, the worst last, each followed by its fix; a site shows the same fix once."""
    found = [
        (report, status)
        for report in reports
        for status in report.certificates
        if status.get("problems")
    ]
    if found or any(report.message or report.notes for report in reports):
        yield HistoryLine("", "")
    for report in reports:
        for note in report.notes:
            yield HistoryLine(f"{report.host}: note: {note}", "note")
        if report.message:
            yield HistoryLine(
                f"{report.host}: {report.message}", "bad" if report.has_failed else ""
            )
    for report, status in sorted(found, key=lambda item: _worst(item[1]) == "error"):
        fixes: set[str] = set()
        for problem in status["problems"]:
            severity, fix = problem["severity"], problem["fix"]
            words = f"{_MARKS[severity]} {report.host}: {status['domain']}: {problem['words']}"
            yield HistoryLine(words, _STYLES[severity])
            if fix not in fixes:
                fixes.add(fix)
                yield HistoryLine(fix, "", 2)


def details(reports: Sequence[HostReport], *, now: datetime) -> Iterator[HistoryLine]:
    """The details of each certificate, for ``--verbose``."""
    for report in reports:
        for status in report.certificates:
            yield HistoryLine("", "")
            yield HistoryLine(f"{report.host}: {', '.join(status['wanted_names'])}", "title")
            for label, text in _detail_texts(status, now):
                yield HistoryLine(f"{label + ':':<14}{text}", "note", 2, 14)


def _detail_texts(status: Status, now: datetime) -> Iterator[tuple[str, str]]:
    if status["serial"] is not None:
        yield "serial", status["serial"]
        yield "signed by", status["certificate_issuer"] or "unknown"
        yield "key", status["key_type"] or "unknown"
        yield "names", ", ".join(status["names"])
    begin, end = moment(status["not_before"]), moment(status["not_after"])
    if begin and end:
        yield "valid", f"{minute(begin)} to {minute(end)}"
    window = [moment(text) for text in status["ari"] or ()]
    due = moment(status["renewal_due_at"])
    if due:
        asked = " to ".join(minute(at) for at in window if at)
        yield "renewal due", minute(due) + (f"; the CA suggests {asked}" if asked else "")
    served = status["served"]
    if served["error"] or not status["is_served"]:
        yield "served", served["error"] or f"{served['serial']}, signed by {served['issuer']}"
    attempt = status["last_attempt"]
    if attempt:
        at = moment(attempt["at"])
        yield "last attempt", f"{minute(at) if at else '?'}, {attempt['what']}: {attempt['words']}"
    next_run = moment(status["next_run"])
    if next_run:
        yield "next check", f"{minute(next_run)}, {relative(next_run, now)}"


# --- lines ----------------------------------------------------------------------------------------


def _single_lines(
    rows: Sequence[_Row], columns: Sequence[str], widths: Mapping[str, int], width: int | None
) -> Iterator[Cells]:
    yield _line([(_TITLES[name], "title", widths[name]) for name in columns])
    indent = sum(widths[name] + len(_GAP) for name in columns[: columns.index("names")])
    for row in rows:
        yield _line([(*row.cells[name], widths[name]) for name in columns])
        if row.aliases:
            yield [(" " * indent + _also(row.aliases, width and width - indent), "note")]


def _double_lines(rows: Sequence[_Row], width: int) -> Iterator[Cells]:
    below = " " * (1 + len(_GAP))
    first, second = _widths(rows, _FIRST_LINE), _widths(rows, _SECOND_LINE)
    taken = sum(first[name] + len(_GAP) for name in ("mark", "issuer", "served"))
    longest = max(len(", ".join((row.cells["names"][0], *row.aliases))) for row in rows)
    first["names"] = max(_SHORTEST_SITE, min(longest, width - taken))
    yield _line([(_TITLES[name], "title", first[name]) for name in _FIRST_LINE])
    yield [(below, ""), *_line([(_TITLES[name], "title", second[name]) for name in _SECOND_LINE])]
    host = ""
    for row in rows:
        if row.host != host:
            host = row.host
            yield [(host, "title")]
        domain, style = row.cells["names"]
        names = _names((domain, *row.aliases), first["names"])
        cells = {**row.cells, "names": (names, style)}
        yield _line([(*cells[name], first[name]) for name in _FIRST_LINE])
        yield [(below, ""), *_line([(*cells[name], second[name]) for name in _SECOND_LINE])]


def _narrow(cells: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    text, style = cells["served"]
    return {**cells, "served": (_short(text, _NARROW_SERVED_WIDTH), style)}


def _line(cells: Sequence[tuple[str, str, int]]) -> Cells:
    """The cells, padded to the widths of their columns; the last one is not padded."""
    line: Cells = []
    for number, (text, style, width) in enumerate(cells):
        gap = "" if number == 0 else _GAP
        line.append((gap, ""))
        line.append((text, style))
        if number < len(cells) - 1:
            line.append((" " * (width - len(text)), ""))
    return line


def _widths(rows: Sequence[_Row], columns: Sequence[str]) -> dict[str, int]:
    return {
        name: max(len(_TITLES[name]), *(len(row.cells[name][0]) for row in rows))
        for name in columns
    }


def _names(names: Sequence[str], width: int) -> str:
    """As many of `names` as fit into `width`, and the number of the others."""
    for shown in range(len(names), 0, -1):
        more = len(names) - shown
        text = ", ".join(names[:shown]) + (f" and {more} more" if more else "")
        if len(text) <= width:
            return text
    return _short(names[0], width)


def _also(aliases: Sequence[str], width: int | None) -> str:
    return f"also {_names(aliases, width - 5) if width else ', '.join(aliases)}"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(1, width - 1)]}…"


# --- cells ----------------------------------------------------------------------------------------


def _cells(host: str, status: Status, now: datetime) -> dict[str, tuple[str, str]]:
    problems, worst = status.get("problems", ()), _worst(status)
    texts = {
        "mark": _MARKS[worst],
        "host": host,
        "names": status["domain"],
        "issuer": _short(issuer_words(status), _ISSUER_WIDTH),
        "serial": short_serial(status["serial"]) if status["serial"] else "-",
        "until": _until(status),
        "left": _left(status, now),
        "due": _due(status, now),
        "attempt": _attempt(status, now),
        "served": _served(status),
    }
    styles = dict.fromkeys(texts, "") | {"mark": _STYLES[worst], "serial": "note"}
    if status["serial"] is not None:
        styles |= {"left": "good"}
    if status["is_served"]:
        styles |= {"served": "good"}
    for problem in reversed(problems):  # the worst comes first, so its style wins
        if problem["code"] in _CELL_OF:
            styles[_CELL_OF[problem["code"]]] = _STYLES[problem["severity"]]
    return {name: (text, styles[name]) for name, text in texts.items()}


def _worst(status: Status) -> str:
    """The severity of the worst problem, which comes first; empty if there is none."""
    problems = status.get("problems")
    return str(problems[0]["severity"]) if problems else ""


def _aliases(status: Status) -> tuple[str, ...]:
    return tuple(name for name in status["wanted_names"] if name != status["domain"])


def _until(status: Status) -> str:
    begin, end = moment(status["not_before"]), moment(status["not_after"])
    if end is None:
        return "-"
    is_short = begin is not None and end - begin < _FEW_DAYS
    return minute(end)[: 16 if is_short else 10]


def _left(status: Status, now: datetime) -> str:
    end = moment(status["not_after"])
    if end is None:
        return "none"
    return span(end - now) if end > now else "expired"


def _due(status: Status, now: datetime) -> str:
    due = moment(status["renewal_due_at"])
    if due is None:
        return "manual" if status["where"] == "you" and status["serial"] else "-"
    begin, end = map(moment, status["ari"] or (None, None))
    if begin is None or end is None or end <= now:
        return when(due, now)
    if begin <= now:
        return f"now, to {when(end, now).removeprefix('in ')}"
    first, last = when(begin, now), when(end, now)
    if not first.startswith("in ") and first[:5] == last[:5]:
        last = last[5:]
    return f"{first} to {last.removeprefix('in ')}"


def _attempt(status: Status, now: datetime) -> str:
    attempt = status["last_attempt"]
    if not attempt:
        return "-"
    at = moment(attempt["at"])
    return f"{attempt['what']} {relative(at, now)}" if at else str(attempt["what"])


def _served(status: Status) -> str:
    served = status["served"]
    if status["is_served"]:
        return "as on disk"
    if served["serial"] is not None:
        words = "OLD" if status["serial"] else "OTHER"
        return f"{words}: {short_serial(served['serial'])}"
    return _short(served["error"] or "nothing", _SERVED_WIDTH)
