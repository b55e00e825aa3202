"""A finding as lines: its symptom, hop, cause, fix and evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.model import Finding, Severity
from deployer.report.history import HistoryLine

_STYLES: dict[Severity, str] = {"error": "bad", "warning": "late", "note": "note"}
_LABEL = 10
#: The headers that identify a request in its short form.
_IDENTIFYING = ("host:", "origin:", "sec-websocket-protocol:")


def finding_lines(finding: Finding, *, verbose: bool) -> Iterator[HistoryLine]:
    """The lines of `finding`; if `verbose`, with the whole request and answer."""
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
        yield from _labelled("evidence", _other_evidence(finding))
    else:
        yield from _labelled("sent", _shortened(finding.request))
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


def _shortened(request: str) -> str:
    """The request line and the identifying headers, on one line."""
    first, *headers = request.splitlines() or [""]
    return " · ".join([first, *(line for line in headers if line.lower().startswith(_IDENTIFYING))])


def _other_evidence(finding: Finding) -> str:
    """The evidence without the lines of the answer, which is shown separately."""
    shown = set(finding.response.splitlines())
    lines = finding.evidence.splitlines()
    return "\n".join(
        line for line in lines if line not in shown and not line.startswith("HTTP status")
    )
