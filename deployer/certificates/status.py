"""The problems of a site's certificate, judged by the status that its host reported. Pure.

docs/reference/certificates.md describes a status: what is on disk, what the proxy serves, and
the result of the last attempt. Nothing is read here, not even a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from deployer.model import Document
from deployer.text.times import minute, moment, relative, span

Severity = Literal["warning", "error"]
Status = Document

_ACME_PLACES = ("host", "controller")
#: With ``--warn-days`` these have an exit code too; the other warnings are for people only.
_COUNTED_WARNINGS = frozenset({"expires-soon", "renewal-late"})
#: How Let's Encrypt marks its staging certificates: https://letsencrypt.org/docs/staging-environment/
_STAGING_MARKS = ("(STAGING)", "Fake LE")
_REAL_MARK = "O=Let's Encrypt"
_TRY_AGAIN = ("Once the cause is fixed, retry", "certs renew")


class Problem(NamedTuple):
    """A problem of a certificate.

    `fix` says what to do, and `command` is our command that does it, or empty.
    """

    severity: Severity
    words: str
    code: str
    fix: str
    command: str = ""


def judged(status: Status, *, now: datetime, warn_days: float | None) -> list[Problem]:
    """All problems of a certificate, the errors first.

    `warn_days` is how many days it must still be valid, if that was requested.
    """
    found = list(_problems(status, now=now, warn_days=warn_days))
    return sorted(found, key=lambda problem: problem.severity != "error")


def is_counted(problem: Problem, *, warn_days: float | None) -> bool:
    """Whether a problem makes the command fail."""
    asked = warn_days is not None and problem.code in _COUNTED_WARNINGS
    return asked or problem.severity == "error"


def with_problems(
    status: Status,
    *,
    now: datetime,
    warn_days: float | None,
    again: Callable[[str], str],
) -> dict[str, Any]:
    """`status` with its `problems`, and the worst of them in `problem`.

    `again` turns a command's name into a command line to enter.
    """
    found = judged(status, now=now, warn_days=warn_days)
    return {
        **status,
        "problem": found[0].words if found else "",
        "problems": [
            {
                "severity": problem.severity,
                "code": problem.code,
                "words": problem.words,
                "fix": f"{problem.fix}: {again(problem.command)}"
                if problem.command
                else f"{problem.fix}.",
                "fails": is_counted(problem, warn_days=warn_days),
            }
            for problem in found
        ],
    }


def short_serial(serial: str) -> str:
    """A serial number, shortened."""
    return serial if len(serial) <= 10 else f"{serial[:8]}…"


def issuer_words(status: Status) -> str:
    """The issuer that the site requests: the value in the playbook, or the CA's host."""
    issuer = str(status["issuer"])
    directory = status.get("wanted_directory") or status.get("directory")
    return _host_of(directory) if issuer == "acme" and directory else issuer


# --- rules ----------------------------------------------------------------------------------------


def _problems(status: Status, *, now: datetime, warn_days: float | None) -> Iterator[Problem]:
    if status.get("problem"):
        yield Problem("error", str(status["problem"]), "host", "Check the host")
    if status["serial"] is None:
        yield _no_certificate(status, now)
        return
    yield from _time_problems(status, now, warn_days)
    yield from _renewal_problems(status, now)
    yield from _served_problems(status)
    yield from _name_problems(status)
    yield from _issuer_problems(status)


def _no_certificate(status: Status, now: datetime) -> Problem:
    words = "there is no certificate yet"
    attempt = status["last_attempt"]
    if attempt and not attempt["ok"]:
        words += f"; the last attempt, {_ago(attempt['at'], now)}, failed: {attempt['words']}"
    return Problem("error", words, "no-certificate", "Get one", "apply")


def _time_problems(status: Status, now: datetime, warn_days: float | None) -> Iterator[Problem]:
    begin, end = moment(status["not_before"]), moment(status["not_after"])
    if begin is not None and begin > now:
        words = f"it is not valid before {minute(begin)}"
        yield Problem(
            "error", words, "not-yet-valid", "Compare the clocks of the host and this machine"
        )
    if end is None:
        return
    if end <= now:
        yield Problem("error", f"it expired {relative(end, now)}", "expired", *_new_one(status))
    elif warn_days is not None and end - now < timedelta(days=warn_days):
        words = f"it expires in {span(end - now)}, and --warn-days is {warn_days:g}"
        yield Problem("warning", words, "expires-soon", *_sooner(status, now))


def _renewal_problems(status: Status, now: datetime) -> Iterator[Problem]:
    attempt, due = status["last_attempt"], moment(status["renewal_due_at"])
    if due is not None and now > due + _patience(status) and not _succeeded_since(attempt, due):
        words = f"its renewal was due {relative(due, now)}"
        yield Problem("warning", words, "renewal-late", *_new_one(status))
    if attempt and not attempt["ok"]:
        words = f"the last attempt, {_ago(attempt['at'], now)}, failed: {attempt['words']}"
        yield Problem("warning", words, "attempt-failed", *_TRY_AGAIN)
    if status["where"] == "host" and status["next_run"] is None:
        words = "nothing renews it: deployer-renew.timer is not running on the host"
        yield Problem("warning", words, "no-timer", "Install it", "certs schedule")


def _served_problems(status: Status) -> Iterator[Problem]:
    served = status["served"]
    if status["is_served"]:
        return
    if served["serial"] is None:
        why = served["error"] or "it is unknown what the proxy serves"
        yield Problem("error", f"it is not served: {why}", "not-served", "Find out why", "verify")
        return
    until = moment(served["not_after"])
    words = f"the proxy serves a different one: {short_serial(served['serial'])}"
    words += f", until {minute(until)}" if until else ""
    words += f", by {served['issuer']}" if served["issuer"] != status["certificate_issuer"] else ""
    yield Problem("error", words, "other-served", "Reload the proxy", "reload")


def _name_problems(status: Status) -> Iterator[Problem]:
    names = status["served"]["names"] or status["names"]
    missing = [name for name in status["wanted_names"] if not _covers(names, name)]
    if missing:
        words = f"it does not cover {', '.join(missing)}"
        yield Problem("error", words, "names-missing", "Get one for all names", "apply")


def _issuer_problems(status: Status) -> Iterator[Problem]:
    has, wants = status.get("directory"), status.get("wanted_directory")
    issuer, signed_by = status["issuer"], status["certificate_issuer"] or ""
    is_staging = any(mark in signed_by for mark in _STAGING_MARKS)
    words = ""
    if issuer == "letsencrypt" and (is_staging or (has and has != wants and "staging" in has)):
        words = "it is from Let's Encrypt's staging system, which no browser trusts"
    elif issuer == "letsencrypt-staging" and _REAL_MARK in signed_by:
        words = "it is a real one, but the site requests one from staging"
    elif has and wants and has != wants:
        words = f"it is from {_host_of(has)}, but the site requests one from {_host_of(wants)}"
    if words:
        yield Problem("error", words, "wrong-issuer", "Get the requested one", "apply")


# --- helpers --------------------------------------------------------------------------------------


def _new_one(status: Status) -> tuple[str, str]:
    """How to get a new certificate, and the command for it."""
    if status["issuer"] == "provided":
        return "Replace it and its key by new files, then apply", "apply"
    if status["issuer"] == "internal" or status["where"] not in _ACME_PLACES:
        return "Issue a new one", "apply"
    attempt = status["last_attempt"]
    return _TRY_AGAIN if attempt and not attempt["ok"] else ("Renew it now", "certs renew")


def _sooner(status: Status, now: datetime) -> tuple[str, str]:
    """The same for one whose renewal may not be due yet, so nothing would happen."""
    due = moment(status["renewal_due_at"])
    if due is None or due <= now:
        return _new_one(status)
    fix, command = _new_one(status)
    if command == "apply":
        return f"An apply renews it from {minute(due)} on", ""
    return f"{fix}, before it is due ({minute(due)})", f"{command} --force"


def _patience(status: Status) -> timedelta:
    """How late a renewal may be: the timer runs twice a day, or is delayed."""
    begin, end = moment(status["not_before"]), moment(status["not_after"])
    day = timedelta(days=1)
    return min(day, (end - begin) / 10) if begin and end else day


def _succeeded_since(attempt: Document | None, due: datetime) -> bool:
    at = moment(attempt["at"]) if attempt and attempt["ok"] else None
    return at is not None and at >= due


def _covers(names: list[str], wanted: str) -> bool:
    """Whether a certificate for `names` covers `wanted` (RFC 9525, section 6.3)."""
    known = {name.lower() for name in names}
    wanted = wanted.lower()
    return wanted in known or f"*.{wanted.partition('.')[2]}" in known


def _ago(text: str, now: datetime) -> str:
    at = moment(text)
    return relative(at, now) if at else "at an unknown time"


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc or url
    except ValueError:
        return url
