"""Judge answers on routes about whose requests the proxy asks an authentication service. Pure."""

from __future__ import annotations

from deployer.sites.model import AuthRequest
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.planned.model import Kind, PlannedCheck
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.spec import HttpProbe

#: Checks for which a playbook need not describe a session.
_WITHOUT_SESSION: frozenset[Kind] = frozenset(
    {"handshake", "listed-origin", "no-origin", "no-session", "public-handshake"}
)
#: What the proxy answers to a client without a session.
_LOGIN = frozenset({302, 303, 307, 401, 403})


def is_asked_to_log_in(check: PlannedCheck, attempt: Attempt) -> bool:
    """Whether an authentication service refuses a check that has no session, as it should."""
    is_asked = check.route is not None and check.route.auth is not None
    if not is_asked or check.kind not in _WITHOUT_SESSION or _has_session(check):
        return False
    return attempt.status_code in _LOGIN


def diagnosis(check: PlannedCheck, status: int | None) -> Diagnosis | None:
    """Diagnose a status that the authentication service is the reason of; `None` for others."""
    auth = check.route.auth if check.route is not None else None
    if auth is not None and status == 500:
        return Diagnosis(
            "bad-gateway",
            f"The proxy asks {_url(auth)} whether a request may pass, and got no answer, or one"
            " that is neither 2xx nor 401 or 403. It then answers 500.",
            "Check that the authentication service runs, listens there and knows this path; its log"
            " and the proxy's error log have the reason.",
        )
    if auth is not None and status in _LOGIN:
        lacks = "the headers of its probe are no valid session" if _has_session(check) else ""
        return Diagnosis(
            "login-required",
            f"The authentication service at {_url(auth)} does not admit this handshake:"
            f" {lacks or 'it has no session'}.",
            "Give the probe the headers of a valid session, such as Cookie, from a secret variable."
            " Without any headers, what is verified is that a login is required.",
        )
    return None


def _has_session(check: PlannedCheck) -> bool:
    return isinstance(check.probe, HttpProbe) and bool(check.probe.hidden)


def _url(auth: AuthRequest) -> str:
    return f"{auth.service}{auth.path}"
