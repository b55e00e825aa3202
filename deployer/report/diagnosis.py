"""A diagnosis in a terminal: a table of the checks, then each finding with its details."""

from __future__ import annotations

from deployer.commit.outcome import HostReport, RunReport
from deployer.model import CheckResult, Finding
from deployer.report.output import Output

_MARKS = {"error": ("✗", "bad"), "warning": ("!", "late"), "note": ("·", "note")}


def show_diagnosed(run: RunReport, *, output: Output, verbose: bool) -> None:
    """Print the checks of each host, its findings, and a summary."""
    for report in run.hosts:
        _table(report, output)
        for check in report.checks:
            if check.finding is not None:
                _finding(check.finding, output, verbose=verbose)
        output.line()
        for note in report.notes:
            output.line(f"note: {note}", "note", hanging=6)
        _summary(report, output)


def _table(report: HostReport, output: Output) -> None:
    rows = [(check, f"{check.seconds * 1000:,.0f} ms") for check in report.checks]
    if not rows:
        return
    width = max(len(check.name) for check, _ in rows)
    times = max(len(took) for _, took in rows)
    # If several checks have the same name, each shows its target.
    names = [check.name for check, _ in rows if check.name != "opened by page"]
    shared = {"connect"} | {name for name in names if names.count(name) > 1}
    for check, took in rows:
        mark, style = _mark(check)
        target = f"{check.target}: " if check.name in shared else ""
        text = f"{mark} {check.name:<{width}}  {took:>{times}}  {target}{_words(check)}"
        output.line(text, style, hanging=width + times + 6)


def _words(check: CheckResult) -> str:
    """The result of `check`; for a successful handshake also the time of each phase."""
    words = check.detail or "ok"
    if check.name != "handshake" or check.handshake is None or not check.ok:
        return words
    timings = check.handshake.timings_s.items()
    return f"{words} ({', '.join(f'{name} {seconds * 1000:,.0f} ms' for name, seconds in timings)})"


def _mark(check: CheckResult) -> tuple[str, str]:
    if check.skipped:
        return "-", "note"
    if check.finding is not None:
        return _MARKS[check.finding.severity]
    return ("✓", "good") if check.ok else ("✗", "bad")


def _finding(finding: Finding, output: Output, *, verbose: bool) -> None:
    output.line()
    _, style = _MARKS[finding.severity]
    output.line(f"{finding.symptom}  [{finding.code}]", style, hanging=2)
    if finding.severity == "note" and not verbose:
        _labelled("cause", finding.cause, output)
        return
    hop = "public: seen from this machine" if finding.hop == "public" else finding.hop
    for label, text in (
        ("hop", hop),
        ("cause", finding.cause),
        ("fix", finding.fix),
        ("write", finding.directive),
        ("in" if finding.directive else "see", finding.file),
        ("evidence", "" if verbose and finding.response else finding.evidence),
        ("sent", finding.request if verbose else ""),
        ("got", finding.response if verbose else ""),
    ):
        _labelled(label, text, output)
    for other in finding.alternatives:
        _labelled("or", f"{other.code}: {other.tell}", output)
    _labelled("more", f"deployer diagnose --explain {finding.code} ({finding.page})", output)


def _labelled(label: str, text: str, output: Output) -> None:
    if not text:
        return
    first, *rest = text.splitlines()
    output.line(f"{label + ':':<10}{first}", indent=2, hanging=10)
    for line in rest:
        output.line(line, "note", indent=12, hanging=0)


def _summary(report: HostReport, output: Output) -> None:
    findings = [check.finding for check in report.checks if check.finding]
    errors = sum(finding.severity == "error" for finding in findings)
    others = len(findings) - errors
    more = f", {_several(others, 'warning')} or note{'s' * (others != 1)}" if others else ""
    took = f" in {report.seconds:.1f} s"
    if report.message:
        output.line(report.message, "bad", hanging=2)
    if report.state == "unreachable" and not report.message:
        output.line(f"{report.host}: unreachable{took}", "bad")
    elif errors:
        output.line(f"{report.host}: {_several(errors, 'finding')}{more}{took}", "bad")
    else:
        where = " from outside" if report.message else ""
        output.line(f"{report.host}: no problem found{where}{more}{took}", "good")


def _several(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
