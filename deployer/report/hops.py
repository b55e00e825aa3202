"""The results of `verify` as tables: checks by hop, and the times of handshakes. Pure.

    chat.example.com                  backend       proxy         public
    dns                               ·             ·             ✓ 12 ms
    certificate                       ·             ✓ 21 ms       ✓ 30 ms
    handshake /ws                     ✓ 3 ms        ✓ 14 ms       ✗ 502

The detail of each check is in the last column, on several lines if the terminal is narrow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import TextWrapper

from deployer.model import UNFINISHED, CheckResult, Hop

Row = list[tuple[str, str]]

HOPS: Sequence[Hop] = ("backend", "proxy", "public")
_PHASES: Mapping[str, str] = {
    "dns": "DNS",
    "connect": "TCP",
    "tls": "TLS",
    "upgrade": "upgrade",
    "first_message": "message",
    "ping": "ping",
}
_MARGIN = "  "
_CELL = 13
_PHASE = 9
_SHORTEST_LABEL = 18
_SHORTEST_DETAIL = 20
#: A longer detail is cut off; the findings below the table have the whole.
_MOST_LINES = 4
_EMPTY = "·"


class _Wrapper(TextWrapper):
    """Breaks lines at spaces, and before the slashes of paths and URLs."""

    def _split(self, text: str) -> list[str]:
        chunks: list[str] = []
        for word in re.split(r"(\s+)", text):
            is_path = word.startswith("/") or "://" in word
            chunks += re.split(r"(?<=[^/:])(?=/)", word) if is_path else [word]
        return [chunk for chunk in chunks if chunk]


@dataclass(slots=True)
class _Line:
    label: str
    cells: dict[Hop, list[CheckResult]] = field(default_factory=dict)

    @property
    def results(self) -> list[CheckResult]:
        return [result for hop in HOPS for result in self.cells.get(hop, ())]


def check_rows(checks: Sequence[CheckResult], *, host: str, width: int) -> Iterator[Row]:
    """A table for each site of `checks`, `width` columns wide; titled with `host` if not empty."""
    for site in dict.fromkeys(check.site for check in checks):
        of_site = [check for check in checks if check.site == site]
        yield []
        yield from _site_rows(site, of_site, host=host, width=width)
        yield from _time_rows(site, of_site, width=width)


def skip_lines(checks: Sequence[CheckResult]) -> Iterator[str]:
    """Why a hop, or some of its checks, were skipped; each reason once."""
    skipped: dict[tuple[Hop, str], list[str]] = {}
    for check in checks:
        if check.skipped and check.finding is None:
            skipped.setdefault((check.hop, check.detail), []).append(check.name)
    checked = {check.hop for check in checks if not check.skipped}
    for (hop, reason), names in skipped.items():
        what = f"{', '.join(dict.fromkeys(names))} ({hop})" if hop in checked else hop
        yield f"{what} skipped: {reason}"


def _site_rows(site: str, checks: Sequence[CheckResult], *, host: str, width: int) -> Iterator[Row]:
    lines = list(_lines(site, checks))
    title = f"{site} on {host}" if host else site
    hops = [hop for hop in HOPS if any(hop in line.cells for line in lines)]
    longest = max(len(title), *(len(line.label) + len(_MARGIN) for line in lines))
    free = width - _CELL * len(hops) - 1
    longest_detail = max(len(_detail(line.results)) for line in lines)
    for_detail = max(_SHORTEST_DETAIL, min(longest_detail, free // 2))
    label_width = max(_SHORTEST_LABEL, min(longest + 2, free - for_detail))
    detail_width = max(_SHORTEST_DETAIL, free - label_width)
    titles = [(f"{hop:<{_CELL}}", "note") for hop in hops]
    yield from _wrapped(title, "title", label_width, titles, [])
    for line in lines:
        cells = [_cell(line.cells.get(hop, [])) for hop in hops]
        detail = _Wrapper(detail_width, max_lines=_MOST_LINES, placeholder=" …")
        yield from _wrapped(
            _MARGIN + line.label, "", label_width, cells, detail.wrap(_detail(line.results))
        )


def _wrapped(
    label: str, style: str, label_width: int, cells: Row, detail: Sequence[str]
) -> Iterator[Row]:
    """One row of the table on as many lines as its label and its detail need."""
    indent = "    " if label.startswith(_MARGIN) else "  "
    labels = _Wrapper(label_width - 1, subsequent_indent=indent).wrap(label)
    blank: Row = [(" " * _CELL, "")] * len(cells)
    for number in range(max(len(labels), len(detail))):
        shown = labels[number] if number < len(labels) else ""
        row: Row = [(f"{shown:<{label_width}}", style), *(blank if number else cells)]
        yield [*row, (detail[number], "note")] if number < len(detail) else row


def _lines(site: str, checks: Sequence[CheckResult]) -> Iterator[_Line]:
    """One line for each check, with its results at all hops."""
    lines: dict[str, _Line] = {}
    for check in sorted(checks, key=lambda check: check.name != "dns"):
        label = _label(site, check)
        line = lines.setdefault(label, _Line(label))
        line.cells.setdefault(check.hop, []).append(check)
    yield from lines.values()


def _label(site: str, check: CheckResult) -> str:
    place = check.target.partition(" at ")[0]
    if place in (site, f"http://{site}/"):
        return check.name
    return f"{check.name} {place}"


def _cell(results: Sequence[CheckResult]) -> tuple[str, str]:
    if not results:
        return f"{_EMPTY:<{_CELL}}", "note"
    worst = max(results, key=_rank)
    mark, style = _mark(worst)
    several = f" ×{len(results)}" if len(results) > 1 else ""
    return f"{f'{mark} {_outcome(worst)}{several}':<{_CELL}}", style


def _rank(result: CheckResult) -> int:
    if not result.ok:
        return 3
    if result.finding is not None and result.finding.severity == "warning":
        return 2
    return 1 if result.skipped else 0


def _mark(result: CheckResult) -> tuple[str, str]:
    """The sign of a result and its style."""
    return (("✓", "good"), ("–", "note"), ("!", "late"), ("✗", "bad"))[_rank(result)]


def _outcome(result: CheckResult) -> str:
    """How long the check took, or one word for why it did not pass."""
    if result.skipped:
        return "skipped"
    if result.ok:
        return _milliseconds(result.seconds) if result.seconds else "passed"
    status = result.handshake.status_code if result.handshake else None
    if status is not None and status != 101:
        return str(status)
    return "unfinished" if result.detail == UNFINISHED else "failed"


def _detail(results: Sequence[CheckResult]) -> str:
    """The detail of a line: of the worst result, or of the proxy's if all passed."""
    detailed = [result for result in results if result.detail]
    if not detailed:
        return ""
    worst = max(detailed, key=_rank)
    if _rank(worst) > 0:
        return worst.detail
    at_proxy = [result for result in detailed if result.hop == "proxy"] or detailed
    answering = [f"answered by {result.answered_by}" for result in results if result.answered_by]
    return ", ".join([at_proxy[0].detail, *answering[:1]])


# --- times ----------------------------------------------------------------------------------------


def _time_rows(site: str, checks: Sequence[CheckResult], *, width: int) -> Iterator[Row]:
    """The time of each handshake by phase."""
    shaken = [
        check
        for check in checks
        if check.name == "handshake" and check.handshake and check.handshake.timings_s
    ]
    if not shaken:
        return
    labels = {id(check): _time_label(site, check) for check in shaken}
    room = width - len(_MARGIN) - _PHASE * len(_PHASES) - 9
    longest = max(len(label) for label in labels.values())
    label_width = max(8, min(longest, room))
    yield []
    titles = "".join(f"{title:>{_PHASE}}" for title in _PHASES.values())
    yield [
        (_fitted("  times in ms", len(_MARGIN) + label_width + 9), "note"),
        (titles, "note"),
    ]
    previous = ""
    for check in sorted(shaken, key=lambda check: (_order(labels, check), HOPS.index(check.hop))):
        label = labels[id(check)]
        timings = check.handshake.timings_s if check.handshake else {}
        figures = "".join(f"{_figure(timings.get(phase)):>{_PHASE}}" for phase in _PHASES)
        shown = "" if label == previous else label
        previous = label
        yield [
            (_MARGIN + _fitted(shown, label_width), ""),
            (f" {check.hop:<8}", "note"),
            (figures, "" if check.ok else "bad"),
        ]


def _order(labels: Mapping[int, str], check: CheckResult) -> int:
    return list(dict.fromkeys(labels.values())).index(labels[id(check)])


def _time_label(site: str, check: CheckResult) -> str:
    place = check.target.partition(" at ")[0]
    return place or site


def _figure(seconds: float | None) -> str:
    if seconds is None:
        return _EMPTY
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def _milliseconds(seconds: float) -> str:
    if seconds >= 10:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _fitted(text: str, width: int) -> str:
    """`text` in exactly `width` columns, the last one blank."""
    return f"{_shortened(text, width - 1):<{width}}"
