"""A finding as people read it: what is seen, where, why, what mends it, and what shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.model import Finding, Severity
from deployer.report.history import HistoryLine

_STYLES: dict[Severity, str] = {"error": "bad", "warning": "late", "note": "note"}
_LABEL = 10
#: What of a request identifies it, where there is no room for all of it.
_TELLING = ("host:", "origin:", "sec-websocket-protocol:")


def finding_lines(finding: Finding, *, verbose: bool) -> Iterator[HistoryLine]:
    """`finding`, line by line; `verbose` with the whole request and answer."""
    kind = "" if finding.severity == "error" else f"{finding.severity}: "
    yield HistoryLine("", "")
    words = f"{kind}{finding.symptom}  [{finding.code}]"
    yield HistoryLine(words, _STYLES[finding.severity], 2, 2)
    yield from _labelled("hop", finding.hop)
    yield from _labelled("cause", finding.cause)
    yield from _labelled("fix", finding.fix)
    yield from _labelled("write", finding.directive)
    yield from _labelled("in" if finding.directive else "see", finding.file)
    if verbose and finding.request:
        yield from _labelled("sent", finding.request)
        yield from _labelled("got", finding.response)
        yield from _labelled("evidence", _beyond(finding))
    else:
        yield from _labelled("sent", _in_short(finding.request))
        yield from _labelled("evidence", finding.evidence)
    for other in finding.alternatives:
        yield from _labelled("or", f"{other.code}: {other.tell}")
    yield from _labelled("more", f"deployer verify --explain {finding.code} ({finding.page})")


def _labelled(label: str, text: str) -> Iterator[HistoryLine]:
    if not text:
        return
    first, *rest = text.splitlines()
    yield HistoryLine(f"{label + ':':<{_LABEL}}{first}", "", 4, _LABEL)
    for line in rest:
        yield HistoryLine(line, "note", 4 + _LABEL, 0)


def _in_short(request: str) -> str:
    """The request line and the headers that matter, on one line."""
    first, *headers = request.splitlines() or [""]
    return " · ".join([first, *(line for line in headers if line.lower().startswith(_TELLING))])


def _beyond(finding: Finding) -> str:
    """The evidence that is not a part of the answer, which is shown whole."""
    told = set(finding.response.splitlines())
    lines = finding.evidence.splitlines()
    return "\n".join(
        line for line in lines if line not in told and not line.startswith("HTTP status")
    )
