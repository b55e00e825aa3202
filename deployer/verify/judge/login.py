"""Services that turn away who has not logged in: what shows that the way to them is right. Pure.

A check has no login. Such a service refuses its handshake with a status, or opens the connection
and ends it at once. Where the service, asked straight, does the same as through the proxy, and
something else when no upgrade is asked for, the proxy has passed the upgrade on.
"""

from __future__ import annotations

from deployer.verify.judge.attempts import Attempts
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import Attempt

_REFUSALS = frozenset({401, 403})
_ENDED = frozenset({"closed", "dropped"})
_KINDS = frozenset({"handshake", "service", "listed-origin", "no-origin"})


def login_missing(check: PlannedCheck, attempts: Attempts) -> str:
    """What shows that only a login is missing, in words; empty where something else is wrong."""
    if check.route is None or not check.route.login or check.kind not in _KINDS:
        return ""
    if _is_ended(attempts.main):
        same = check.hop == "backend" or (attempts.peer is not None and _is_ended(attempts.peer))
        return "101, then the service ends it: nobody has logged in" if same else ""
    if check.hop == "backend":
        refused = attempts.main.status_code in _REFUSALS
        return f"answered {attempts.main.status_code}: nobody has logged in" if refused else ""
    return _refused_by_both(attempts) if is_refused_by_both(check, attempts) else ""


def is_refused_by_both(check: PlannedCheck, attempts: Attempts) -> bool:
    """Whether proxy and service refuse the handshake alike, for want of a login."""
    return (
        check.route is not None
        and check.route.login
        and attempts.peer is not None
        and attempts.main.status_code in _REFUSALS
        and attempts.main.status_code == attempts.peer.status_code
    )


def is_same_refusal(attempt: Attempt, prerequisite: Attempts) -> bool:
    """Whether this is how the service itself refuses who has not logged in."""
    other = prerequisite.main
    return (attempt.status_code, attempt.answer.body) == (other.status_code, other.answer.body)


def _refused_by_both(attempts: Attempts) -> str:
    status = attempts.main.status_code
    words = f"answered {status} as the service itself: nobody has logged in"
    if attempts.plain is None or attempts.plain.status_code == status:
        return f"{words}; it answers {status} without an upgrade, too, so this shows little"
    return f"{words} ({attempts.plain.status_code} without an upgrade)"


def _is_ended(attempt: Attempt) -> bool:
    return (
        attempt.status_code == 101
        and attempt.failure is not None
        and attempt.failure.code in _ENDED
    )
