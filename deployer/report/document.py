"""The output of ``--json``: one document for a whole run, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from deployer.commit.outcome import HostReport, RunReport
from deployer.model import CheckResult
from deployer.plan.wire import plan_for_output
from deployer.text.redaction import masked

FORMAT_VERSION = 1

_HISTORY_KEYS = (
    *("generation", "commit", "time", "who", "from", "state", "why", "ended", "digest"),
    *("changes", "verified", "kept", "failed", "certificates_kept", "rolls_back_to"),
    "purpose",
)


def as_json(document: object) -> str:
    """`document` as indented JSON; in ASCII if it contains names that are not valid Unicode."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, indent=2)
    return text


def run_document(run: RunReport) -> dict[str, object]:
    """A run as one document: the hosts by name, and the findings of all hosts as a flat list."""
    return {
        "format_version": FORMAT_VERSION,
        "command": run.command,
        "exit_code": run.exit_code,
        "seconds": round(run.seconds, 3),
        "hosts": {report.host: _host(report, run.command) for report in run.hosts},
        **({} if run.sealed is None else {"sealed_plan": dict(run.sealed)}),
        "findings": [finding for report in run.hosts for finding in _findings(report)],
    }


def error_document(command: str, *, exit_code: int, message: str) -> dict[str, object]:
    """The document of a run that failed before any host was contacted, with its ``error``."""
    return {
        "format_version": FORMAT_VERSION,
        "command": command,
        "exit_code": exit_code,
        "error": message,
        "hosts": {},
        "findings": [],
    }


def _host(report: HostReport, command: str) -> dict[str, object]:
    document: dict[str, object] = {
        "state": report.state,
        "exit_code": report.exit_code,
        "message": report.message,
        "seconds": round(report.seconds, 3),
    }
    document |= _results(report)
    if report.generation is not None:
        document["generation"] = report.generation
    if report.rolled_back_to is not None:
        document["rolled_back_to"] = report.rolled_back_to
    if report.found is not None:
        document["found"] = dict(report.found)
    if report.notes:
        document["notes"] = list(report.notes)
    if not report.has_watchdog:
        document["watchdog"] = False
    if report.kept:
        document["kept"] = [dict(item) for item in report.kept]
    has_certificates = command.startswith("certs") and report.state in ("healthy", "unhealthy")
    if report.certificates or has_certificates:
        document["certificates"] = [dict(status) for status in report.certificates]
    if report.state == "listed":
        document["history"] = [_history_entry(entry) for entry in report.history]
    return document


def _results(report: HostReport) -> dict[str, object]:
    """The plan, and everything that was checked or measured."""
    document: dict[str, object] = {}
    if report.plan is not None:
        document["plan"] = masked(plan_for_output(report.plan), report.secrets)
    if report.checks:
        from deployer.verify import result_json

        document["checks"] = [result_json(check) for check in report.checks]
    if report.survival is not None:
        from deployer.commit.survival import survival_json

        document["canaries"] = masked(survival_json(report.survival), report.secrets)
    if report.idle:
        from deployer.verify.idle import idle_json

        document["idle"] = [idle_json(each) for each in report.idle]
    if report.load:
        from deployer.load.result import load_json

        document["load"] = [load_json(each) for each in report.load]
    return document


def _history_entry(entry: Mapping[str, object]) -> dict[str, object]:
    """The host's record of a commit, without the keys that only the host needs."""
    entry = {key: entry[key] for key in _HISTORY_KEYS if key in entry}
    rolled_back_to = entry.pop("rolls_back_to", None)
    return entry if rolled_back_to is None else {**entry, "rolled_back_to": rolled_back_to}


def _findings(report: HostReport) -> list[dict[str, object]]:
    """The findings of all checks; if failed checks have none, those checks themselves."""
    explained = [check for check in report.checks if check.finding is not None]
    has_cause = any(not check.ok for check in explained)
    unexplained = [] if has_cause else report.failed_checks
    return [
        *(_finding(report.host, check) for check in (*explained, *unexplained)),
        *_certificate_findings(report),
    ]


def _certificate_findings(report: HostReport) -> Iterator[dict[str, Any]]:
    for status in report.certificates:
        for problem in status.get("problems", ()):
            yield {
                "host": report.host,
                "site": status["domain"],
                "check": "certificate",
                "target": status["domain"],
                "hop": "proxy",
                "code": problem["code"],
                "severity": problem["severity"],
                "symptom": problem["words"],
                "cause": problem["words"],
                "fix": problem["fix"],
                "evidence": "",
            }


def _finding(host: str, check: CheckResult) -> dict[str, object]:
    from deployer.verify.json_output import finding_json

    about = {"host": host, "site": check.site, "check": check.name, "target": check.target}
    if check.finding is not None:
        return {**about, **finding_json(check.finding)}
    return {
        **about,
        "hop": check.hop,
        "code": check.name,
        "severity": "error",
        "symptom": check.detail,
        "cause": check.detail,
        "fix": "",
        "evidence": "",
    }
