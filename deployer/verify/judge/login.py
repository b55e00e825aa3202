"""Recognise services that require a login, and show that the path to them works. Pure.

A check has no login. Such a service refuses the handshake with a status, or opens the connection
and closes it at once. If the service does the same directly as through the proxy, and something
else without an upgrade, then the proxy has forwarded the upgrade.
"""

from __future__ import annotations

from deployer.verify.judge.attempts import Attempts
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import Attempt

_REFUSALS = frozenset({401, 403})
_ENDED = frozenset({"closed", "dropped"})
_KINDS = frozenset({"handshake", "service", "listed-origin", "no-origin"})


def login_missing(check: PlannedCheck, attempts: Attempts) -> str:
    """Return words that show that only a login is missing; empty if something else is wrong."""
    if check.route is None or not check.route.login or check.kind not in _KINDS:
        return ""
    if _is_ended(attempts.main):
        same = check.hop == "backend" or (attempts.peer is not None and _is_ended(attempts.peer))
        return "101, then closed by the service: login required" if same else ""
    if check.hop == "backend":
        refused = attempts.main.status_code in _REFUSALS
        return f"answered {attempts.main.status_code}: login required" if refused else ""
    return _refused_by_both(attempts) if is_refused_by_both(check, attempts) else ""


def is_refused_by_both(check: PlannedCheck, attempts: Attempts) -> bool:
    """Whether proxy and service refuse the handshake alike because a login is missing."""
    return (
        check.route is not None
        and check.route.login
        and attempts.peer is not None
        and attempts.main.status_code in _REFUSALS
        and attempts.main.status_code == attempts.peer.status_code
    )


def is_same_refusal(attempt: Attempt, prerequisite: Attempts) -> bool:
    """Whether this is how the service itself refuses clients without a login."""
    other = prerequisite.main
    return (attempt.status_code, attempt.answer.body) == (other.status_code, other.answer.body)


def _refused_by_both(attempts: Attempts) -> str:
    status = attempts.main.status_code
    words = f"answered {status}, like the service itself: login required"
    if attempts.plain is None or attempts.plain.status_code == status:
        return f"{words}; it also answers {status} without an upgrade, so this proves little"
    return f"{words} ({attempts.plain.status_code} without an upgrade)"


def _is_ended(attempt: Attempt) -> bool:
    return (
        attempt.status_code == 101
        and attempt.failure is not None
        and attempt.failure.code in _ENDED
    )
