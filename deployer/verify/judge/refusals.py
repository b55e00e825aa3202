"""Recognise refusals that are the service's own, so that the proxy changes nothing. Pure.

A check may accept that the service refuses its handshake: one whose probe lists the status, one
of a route whose service requires a login, and one of a whole site whose WebSocket is unknown. It
passes if the answer through the proxy is the one that the service gives directly: the same status,
the same target of a redirect, the same page, or the same Close frame. If the service answers
something else to a request without an upgrade, then the proxy has also forwarded the upgrade.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from deployer.sites.paths import path_of
from deployer.verify.judge.attempts import Attempts
from deployer.verify.planned.model import Kind, PlannedCheck
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.spec import UpgradeProbe

_KINDS: frozenset[Kind] = frozenset(
    {"handshake", "service", "listed-origin", "no-origin", "entry", "public-handshake"}
)
_DROPPED = frozenset({"closed", "dropped"})
# RFC 6455, section 7.4, and the registry of codes: errors, not refusals.
_ERROR_CODES = frozenset({1002, 1003, 1007, 1009, 1010, 1011, 1012, 1013, 1014})
#: A service that is overloaded or has failed has not refused.
_NO_REFUSALS = frozenset({408, 413, 414, 421, 425, 429, 431})
_INTERNAL_ERROR, _NOT_IMPLEMENTED = 500, 501
_SHAPE_CHARACTERS = 60


def is_refusal(check: PlannedCheck, attempt: Attempt) -> bool:
    """Whether `check` accepts that the service itself answers like this."""
    if check.kind not in _KINDS:
        return False
    if attempt.status_code in _listed(check) and attempt.status_code != 101:
        return True
    if check.route is not None and check.route.login:
        return _is_ended(attempt) or _is_plain_refusal(attempt.status_code)
    if check.found is None:
        return False
    closes = attempt.failure is not None and attempt.failure.code == "closed-by-peer"
    if attempt.status_code == 101:
        return closes and _is_ended(attempt)
    if check.found.has_page and attempt.status_code == _INTERNAL_ERROR:
        return True
    return not check.found.opens and _is_plain_refusal(attempt.status_code)


def is_refused_alike(check: PlannedCheck, attempts: Attempts) -> bool:
    """Whether proxy and service refuse the handshake in the same way, as the check accepts."""
    peer = attempts.peer
    if peer is None or not is_refusal(check, peer):
        return False
    route = check.route
    is_below = route is not None and route.rewrite_location and route.strip_prefix
    below = path_of(route) if route is not None and is_below else ""
    return is_same_refusal(attempts.main, peer, below=below)


def refusal_words(check: PlannedCheck, attempts: Attempts) -> str:
    """Return an accepted refusal as one line; empty if it is not accepted."""
    alike = is_refused_alike(check, attempts)
    if not (is_refusal(check, attempts.main) if check.hop == "backend" else alike):
        return ""
    status = attempts.main.status_code
    why = _why(check, status)
    if status == 101:
        failure = attempts.main.failure
        code = failure.close_code if failure else None
        how = "" if code is None else f" with code {code}"
        return f"101, then closed by the service{how}{why}"
    if check.hop == "backend":
        return f"answered {status}{why}"
    words = f"answered {status}, like the service itself{why}"
    if check.hop == "public" or attempts.plain is None:
        return words
    if is_same_refusal(attempts.plain, attempts.main):
        return f"{words}; it also answers {status} without an upgrade, so this proves little"
    return f"{words} ({attempts.plain.status_code} without an upgrade)"


def is_same_refusal(one: Attempt, other: Attempt, *, below: str = "") -> bool:
    """Whether two answers are the same, except for parts that change every time.

    The paths of `one` are those of the `other`, `below` a prefix.
    """
    if one.status_code is None or one.status_code != other.status_code:
        return False
    if one.status_code == 101:
        return _is_ended(one) and _is_ended(other) and _close_code(one) == _close_code(other)
    redirects = _redirect(one, below=below), _redirect(other)
    if redirects[0] != redirects[1]:
        return False
    return redirects[0] is not None or _shape(one) == _shape(other)


def _listed(check: PlannedCheck) -> tuple[int, ...]:
    return check.probe.statuses if isinstance(check.probe, UpgradeProbe) else ()


def _why(check: PlannedCheck, status: int | None) -> str:
    if status in _listed(check) and status != 101:
        return ", which the probe accepts"
    return ": login required" if check.route is not None and check.route.login else ""


def _is_plain_refusal(status: int | None) -> bool:
    if status is None or status in _NO_REFUSALS:
        return False
    return 200 <= status < 500 or status == _NOT_IMPLEMENTED


def _is_ended(attempt: Attempt) -> bool:
    """Whether the service opened the connection and then closed it by itself."""
    failure = attempt.failure
    if attempt.status_code != 101 or failure is None:
        return False
    if failure.code == "closed-by-peer":
        return failure.close_code not in _ERROR_CODES
    return failure.code in _DROPPED


def _close_code(attempt: Attempt) -> int | None:
    return attempt.failure.close_code if attempt.failure else None


def _redirect(attempt: Attempt, *, below: str = "") -> tuple[str, tuple[str, ...]] | None:
    """Return the target of a redirect: its path, and the names in its query, whose values (the
    `state` of a login) may be new each time; `None` without one."""
    headers = {name.lower(): value for name, value in attempt.answer.headers}
    location = headers.get("location")
    if location is None:
        return None
    try:
        there = urlsplit(location)
    except ValueError:
        return location, ()
    names = (part.partition("=")[0] for part in there.query.split("&"))
    path = there.path.removeprefix(below) if there.path.startswith(f"{below}/") else there.path
    return _without_identifiers(path or "/"), tuple(names)


def _shape(attempt: Attempt) -> str:
    """Return the beginning of the body without identifiers."""
    text = attempt.answer.body[:400].decode("utf-8", "replace")
    return _without_identifiers(text)[:_SHAPE_CHARACTERS]


def _without_identifiers(text: str) -> str:
    """`text` without words that may be new each time: times, IDs, nonces. They have a digit."""
    return re.sub(r"[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*|[0-9a-f]{8,}", "", text)
