"""Describe a WebSocket that had to be guessed: of a whole site, or behind a placeholder. Pure."""

from __future__ import annotations

from deployer.model import Finding
from deployer.sites.paths import MADE_UP, has_placeholders
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.refusals import is_same_refusal
from deployer.verify.judge.responsible_hop import build_finding
from deployer.verify.judge.verdict import Case
from deployer.verify.net.redact import without_secrets
from deployer.verify.planned.model import Found, PlannedCheck


def whose(check: PlannedCheck) -> str:
    """Return whose WebSocket a check opens, if that was found out, as the end of a sentence."""
    if check.found is None or not check.found.opens:
        return ""
    return f", {check.found.service}" if check.found.service else ", which the page opens"


def note(case: Case) -> Finding | None:
    """Return the note on a whole site that refuses the handshake like its service."""
    found = case.check.found
    route = case.check.route
    if found is None or (route is not None and route.login):
        return None
    failure = case.attempt.failure
    words = failure.words if failure else f"answered {case.status}"
    symptom = f"{without_secrets(case.check.probe.uri)} {words}, like the service itself"
    diagnosis = Diagnosis("websocket-not-opened", _cause(case, found), _fix(found))
    return build_finding(
        diagnosis, hop="proxy", symptom=symptom, attempt=case.attempt, severity="note"
    )


def _cause(case: Case, found: Found) -> str:
    plain = case.attempts.plain
    verified = "What is verified is that the proxy changes nothing."
    if plain is not None and is_same_refusal(plain, case.attempt):
        verified = (
            "Requests without an upgrade get the same answer: what is verified is that requests"
            " reach the service, and not that upgrades do."
        )
    if found.service:
        needs = f" It needs {found.needs}." if found.needs else ""
        return f"This is the WebSocket of {found.service}.{needs} {verified}"
    route = case.check.route
    if route is not None and has_placeholders(route.path):
        return (
            f"The check sends {MADE_UP} for a placeholder in {route.path}, and the service refuses"
            " that."
            f" {verified}"
        )
    return (
        "The service has no WebSocket on this path, and its page names none that opens without"
        f" more. {verified}"
    )


def _fix(found: Found) -> str:
    path = found.check.path if found.service else "/PATH"
    return (
        "To verify a connection, describe one that the service accepts on the route:"
        f" probe: {{path: {path}}}, with the subprotocols, headers or login that it needs."
    )
