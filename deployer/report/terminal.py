"""A run in a terminal: plans, steps, checks, and a summary of each host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING

from deployer.commit.outcome import HostReport, RunReport, count_words
from deployer.model import UNFINISHED, CheckResult, Document, Finding, HandshakeResult, Severity
from deployer.plan.model import Change, Plan
from deployer.report.output import Output
from deployer.text.redaction import masked

if TYPE_CHECKING:
    from deployer.commit.survival import Survival
    from deployer.plan.diff import Line

_DIFF_STYLES = frozenset({"add", "remove", "context", "hunk"})
_HIDDEN_HEADERS = frozenset({"set-cookie", "authorization", "www-authenticate"})
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_STEP_WORDS = {
    "no-op": "reapplied",
    "reload": "reloaded",
    "restart": "restarted",
    "restore": "restored",
    "run": "ran",
    "start": "started",
    "stop": "stopped",
}


class TerminalReport:
    """Print the progress and the results of a run, each of them once.

    With `has_table`, checks are not printed one by one; `verified` shows them at the end.
    """

    def __init__(
        self,
        output: Output,
        *,
        hosts: Sequence[str],
        verbose: bool = False,
        has_table: bool = False,
    ) -> None:
        self._out = output
        self._has_table = has_table
        self._verbose = verbose
        self._width = max((len(name) for name in hosts), default=0)
        self._doing: dict[str, str] = {}
        self._changes: dict[tuple[str, str], Change] = {}
        self._lock = Lock()

    # --- while it runs (engine.Progress, fleet.Watcher) -------------------------------------------

    def doing(self, host: str, what: str) -> None:
        with self._lock:
            self._doing[host] = what
            self._show_doing()

    def _show_doing(self) -> None:
        shown = [f"  {host:<{self._width}}  {what}…" for host, what in self._doing.items()]
        more = [f"  … and {len(shown) - 8} more hosts"] if len(shown) > 8 else []
        self._out.live(shown[:8] + more)

    def _done_with(self, host: str) -> None:
        with self._lock:
            self._doing.pop(host, None)
            self._show_doing()

    def step(self, host: str, event: Document) -> None:
        if event["event"] == "said":
            self._host_line(host, event["text"], "note")
        if event["event"] != "step":
            return
        kind, _, name = event["resource_id"].partition(":")
        thing = f"{kind} {name}"
        place = f"{event['n']:>3}/{event['total']}"
        if event["state"] == "start":
            self.doing(host, f"{place.strip()} {thing}")
            return
        word = self._step_word(host, event)
        took = event.get("seconds", 0.0)
        seconds = f"  {took:.1f} s" if took >= 0.1 else ""
        self._host_line(host, f"{place}  {thing}  {word}{seconds}", "note")

    def _step_word(self, host: str, event: Document) -> str:
        action = event["action"]
        if action in _STEP_WORDS:
            return _STEP_WORDS[action]
        from deployer.plan.verbs import past, verbs

        change = self._changes.get((host, event["resource_id"]))
        if change is not None:
            return past(verbs(change.kind, action, change.before, change.after))
        return past(verbs(event["resource_id"].partition(":")[0], action))

    def checked(self, host: str, result: CheckResult) -> None:
        if self._has_table:
            return
        self._host_line(host, *_check_line(result))
        if self._verbose and result.handshake is not None:
            for text in _handshake_lines(result.handshake):
                self._host_line(host, f"    {text}", "note")

    def looked(self, report: HostReport) -> None:
        self._done_with(report.host)
        if report.plan is not None:
            of_host = {(report.host, each.resource_id): each for each in report.plan.changes}
            self._changes.update(of_host)
        if self._verbose and report.plan is not None:
            for change in report.plan.changes:
                if change.action == "no-op":
                    text = masked(f"= {change.kind} {change.name}", report.secrets)
                    self._host_line(report.host, text, "note")

    def ended(self, report: HostReport) -> None:
        self._done_with(report.host)

    def interrupted(self) -> None:
        self._out.line(
            "Interrupted: rolling back what is not confirmed yet. Press Ctrl-C again to exit now;"
            " the hosts will roll back on their own.",
            "bad",
            hanging=0,
        )

    def _host_line(self, host: str, text: str, style: str) -> None:
        self._out.line(f"{host:<{self._width}}  {text}", style, indent=2, hanging=self._width + 4)

    def note(self, text: str) -> None:
        """Print a line about the whole run."""
        self._out.line(text, hanging=2)

    # --- plans ------------------------------------------------------------------------------------

    def plans(self, reports: Sequence[HostReport], *, with_diff: bool) -> None:
        """Show the plans; hosts with the same plan share one."""
        self._out.close()
        for names, plan, notes, lines in _alike(reports, with_diff=with_diff):
            self._out.line()
            self._notes(names, notes)
            self._out.line(f"{', '.join(names)}: {plan_words(plan)}", "title", hanging=2)
            for line in lines:
                hanging = None if line.style in _DIFF_STYLES else 4
                self._out.line(line.text, line.style, indent=2 + 4 * line.indent, hanging=hanging)
        if any(report.state == "planned" for report in reports):
            self._out.line()

    def _notes(self, names: Sequence[str], notes: Sequence[str]) -> None:
        for note in notes:
            self._out.line(f"{', '.join(names)}: note: {note}", "note", hanging=2)

    def found(self, reports: Sequence[HostReport]) -> None:
        """Show the commits that the user is asked to abandon, by host."""
        self._out.close()
        for report in reports:
            if report.state == "planned":
                self._out.line()
                self._out.line(f"{report.host}: a commit can be abandoned", "title")
                self._out.line(report.message, indent=2, hanging=0)
        self._out.line()

    # --- the end ----------------------------------------------------------------------------------

    def summary(self, run: RunReport, quiet_states: Sequence[str] = ()) -> None:
        """Print the result of each host, failures last; hosts with the same result share one.

        Hosts in one of `quiet_states` are left out: their result has been shown already.
        """
        self._out.close()
        shown = [report for report in run.hosts if report.state not in quiet_states]
        for names, report in _grouped(shown):
            self._host_summary(", ".join(names), report)
        if len(run.hosts) > 1:
            self._out.line()
            self._out.line(f"{count_words(run.hosts)} in {run.seconds:.1f} s", "title")

    def _host_summary(self, names: str, report: HostReport) -> None:
        style = "bad" if report.has_failed else "good"
        unwatched = "" if report.has_watchdog else "; the host had no watchdog"
        if report.plan is None or report.plan.is_empty:  # other notes are shown above the plan
            self._notes([names], report.notes)
        self._out.line(f"{names}: {_state_words(report)}{unwatched}", style, hanging=2)
        if report.message:
            self._out.line(report.message, indent=2, hanging=0)
        for step in report.next_steps:
            self._out.line(step, indent=2, hanging=2)
        if report.survival is not None:
            self._survival(report.survival)
        for item in report.kept:
            self._out.line(f"kept {item['path']}: {item['why']}", "bad", indent=2, hanging=2)
            for line in _diff_lines(item.get("diff", "")):
                self._out.line(line.text, line.style, indent=2 + 4 * line.indent)
        self._check_summary(report)

    def _survival(self, survival: Survival) -> None:
        from deployer.commit.survival import note_lines, others_words

        if others := others_words(survival):
            self._out.line(others, indent=2, hanging=0)
        for text in note_lines(survival):
            self._out.line(text, "late", indent=2, hanging=2)

    def _check_summary(self, report: HostReport) -> None:
        """Print the findings, and failed checks that no finding explains."""
        findings = [check.finding for check in report.checks if check.finding]
        for finding in sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity)):
            self._finding(finding)
        if any(finding.severity == "error" for finding in findings):
            return
        unfinished = [check for check in report.failed_checks if check.detail == UNFINISHED]
        for check in report.failed_checks:
            if check not in unfinished:
                text = f"{_place(check)}  {check.name}: {check.detail}"
                self._out.line(text, indent=2, hanging=2)
        if unfinished:
            self._out.line(f"{plural(len(unfinished), 'check')} {UNFINISHED}", indent=2)

    def _finding(self, finding: Finding) -> None:
        from deployer.report.findings import finding_lines

        for line in finding_lines(finding, verbose=self._verbose):
            self._out.line(line.text, line.style, indent=line.indent, hanging=line.hanging)

    def history(self, run: RunReport) -> None:
        """Show the commits of each host, newest first."""
        from deployer.report.history import history_lines

        for report in run.hosts:
            if report.state != "listed":
                continue
            self._out.line(report.host, "title")
            for note in report.notes:
                self._out.line(f"note: {note}", "note", indent=2, hanging=2)
            for line in history_lines(report.history, verbose=self._verbose):
                self._out.line(line.text, line.style, indent=line.indent, hanging=line.hanging)

    def verified(self, run: RunReport) -> None:
        """Show every check of each host at each hop, and the times of handshakes."""
        from deployer.report.hops import check_rows, skip_lines

        self._out.close()
        for report in run.hosts:
            name = report.host if len(run.hosts) > 1 else ""
            for row in check_rows(report.checks, host=name, width=self._out.width):
                self._out.row(row)
            skipped = list(skip_lines(report.checks))
            if skipped:
                self._out.line()
            for text in skipped:
                self._out.line(text, "note", indent=2, hanging=2)
            if self._verbose:
                self._handshakes(report)
        if any(report.checks for report in run.hosts):
            self._out.line()

    def _handshakes(self, report: HostReport) -> None:
        for check in report.checks:
            shaken = check.handshake
            if shaken is not None and (shaken.timings_s or shaken.headers):
                self._out.line()
                self._out.line(f"{check.hop}: {check.name} {_place(check)}", indent=2, hanging=4)
                for text in _handshake_lines(shaken):
                    self._out.line(text, "note", indent=4, hanging=4)

    def measured(self, run: RunReport) -> None:
        """Show the measurements of each host's sites: idle timeouts and load."""
        if not any(report.idle or report.load for report in run.hosts):
            return
        from deployer.report.measurements import idle_rows, load_rows

        self._out.close()
        width = self._out.width
        for report in run.hosts:
            name = f"{report.host}: " if len(run.hosts) > 1 else ""
            for row in idle_rows(report.idle, name, width=width):
                self._out.row(row)
            for row in load_rows(report.load, name, width=width):
                self._out.row(row)

    def certificates(self, run: RunReport, *, now: datetime) -> None:
        """Show a table of the certificates of all hosts, then their problems."""
        from deployer.report.certs import details, problem_lines, table

        self._out.close()
        reports = [report for report in run.hosts if report.state in ("healthy", "unhealthy")]
        width = self._out.width if self._out.is_terminal else None
        for cells in table(reports, now=now, width=width):
            self._out.row(cells)
        for line in details(reports, now=now) if self._verbose else ():
            self._out.line(line.text, line.style, indent=line.indent, hanging=line.hanging)
        for line in problem_lines(reports):
            self._out.line(line.text, line.style, indent=line.indent, hanging=line.hanging)


def plural(number: int, word: str) -> str:
    """``1 change``, ``3 changes``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def plan_words(plan: Plan) -> str:
    """The summary of a plan: ``1 to install, 4 to create, 1 to start and enable``."""
    if plan.is_empty:
        return "nothing to do"
    changes = [change for change in plan.changes if change.action != "no-op"]
    removed = [("remove",)] * len(plan.displaced)
    if not changes and not removed:
        return f"nothing to change, {plural(len(plan.handlers), 'handler')} to run"
    from deployer.plan.verbs import counted, verbs

    found = [verbs(each.kind, each.action, each.before, each.after) for each in changes]
    return counted([*found, *removed])


def _diff_lines(diff: str) -> Iterable[Line]:
    from deployer.plan.diff import diff_line

    return map(diff_line, diff.splitlines())


def _alike(
    reports: Iterable[HostReport], *, with_diff: bool
) -> Iterable[tuple[list[str], Plan, tuple[str, ...], tuple[Line, ...]]]:
    from deployer.plan.diff import plan_lines

    groups: dict[object, tuple[list[str], Plan, tuple[str, ...], tuple[Line, ...]]] = {}
    for report in reports:
        if report.state in ("planned", "failed") and report.plan is not None:
            lines = masked(tuple(plan_lines(report.plan, with_diff=with_diff)), report.secrets)
            found = groups.setdefault((lines, report.notes), ([], report.plan, report.notes, lines))
            found[0].append(report.host)
    return groups.values()


def _grouped(reports: Iterable[HostReport]) -> list[tuple[list[str], HostReport]]:
    groups: dict[object, tuple[list[str], HostReport]] = {}
    for report in reports:
        key: object = report.host
        if not report.checks and not report.kept:
            text = report.message.removeprefix(f"{report.host}: ")
            key = (report.state, text, report.generation, bool(text), report.notes)
        groups.setdefault(key, ([], report))[0].append(report.host)
    return sorted(groups.values(), key=lambda group: group[1].has_failed)


def _check_line(result: CheckResult) -> tuple[str, str]:
    mark = "–" if result.skipped else "✓" if result.ok else "✗"
    took = f"  {result.seconds * 1000:.0f} ms" if result.seconds >= 0.001 else ""
    words = [result.detail, f"answered by {result.answered_by}" if result.answered_by else ""]
    detail = f": {', '.join(filter(None, words))}" if any(words) else ""
    text = f"{mark} {_place(result)}  {result.name} ({result.hop}){detail}{took}"
    return text, "note" if result.skipped else "good" if result.ok else "bad"


def _handshake_lines(handshake: HandshakeResult) -> Iterator[str]:
    """The times of a handshake, and the headers of its answer."""
    timings = [f"{name} {seconds * 1000:.0f} ms" for name, seconds in handshake.timings_s.items()]
    yield f"{handshake.uri}  {', '.join(timings)}"
    for name, value in handshake.headers:
        if name.lower() not in _HIDDEN_HEADERS:
            yield f"{name}: {value}"


def _place(result: CheckResult) -> str:
    """The target of a check: ``stats.example.com/ws``, or a whole URL."""
    if result.target.startswith("/"):
        return f"{result.site}{result.target}"
    return result.target


def _done_words(report: HostReport) -> str:
    if report.rolled_back_to is None:
        return "applied"
    from deployer.commit.rollback_note import to_words

    return f"rolled back {to_words(report.rolled_back_to)}"


_STATE_WORDS: Mapping[str, str] = {
    "planned": "planned",
    "abandoned": "left as is; the commit is closed",
    "failed": "failed; nothing was changed",
    "stranded": "not in a known good state; check the host",
    "unreachable": "unreachable; nothing was changed",
    "not-started": "not started; nothing was changed",
    "invalid": "not possible on this host; no host was touched",
}


def _passed_words(checks: Sequence[CheckResult]) -> str:
    """``, 14 checks passed``, with what a confirmation must not hide."""
    skipped = [check for check in checks if check.skipped]
    passed = f", {plural(len(checks) - len(skipped), 'check')} passed" if checks else ""
    if not skipped:
        return passed
    from deployer.verify.neighbours.verdict import SITE

    is_partial = any(check.site == SITE for check in skipped)
    return f"{passed}, {len(skipped)} skipped" + is_partial * ", other sites not all checked"


def _state_words(report: HostReport) -> str:
    seconds = f" in {report.seconds:.1f} s"
    match report.state:
        case "unchanged":
            return f"nothing to do ({report.seconds:.2f} s)"
        case "planned" if report.plan:
            return plan_words(report.plan)
        case "confirmed":
            passed = _passed_words(report.checks)
            number = f" as generation {report.generation}" if report.generation else ""
            return f"{_done_words(report)} and confirmed{number}{passed}{seconds}"
        case "reverted":
            return f"failed and reverted{seconds}"
        case "recovered":
            return f"recovered{seconds}"
        case "healthy":
            skipped = sum(check.skipped for check in report.checks)
            passed = plural(len(report.checks) - skipped, "check")
            return f"healthy, {passed} passed{f', {skipped} skipped' * bool(skipped)}{seconds}"
        case "unhealthy":
            failed = plural(len(report.failed_checks), "check")
            return f"{failed} of {len(report.checks)} failed{seconds}"
    return _STATE_WORDS.get(report.state, report.state)
