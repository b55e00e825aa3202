"""A handshake that was answered with a redirect, which no WebSocket client follows. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from deployer.diagnose.address import Address
from deployer.diagnose.outside import Observations, Step
from deployer.diagnose.reasons import fingerprints
from deployer.diagnose.reasons.findings import ASK_THE_HOST, alternatives, finding
from deployer.model import Finding, Hop
from deployer.proxies.words import in_each
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Failure, printable

_LOGIN = re.compile(
    r"(?:^|[/._-])(?:log-?in|log_in|sign-?in|sign_in|auth|oauth2?|sso|saml2?|session)(?:[/._?-]|$)",
    re.IGNORECASE,
)


def finding_of(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """Where it redirects to, and why."""
    here = seen.address
    first = seen.steps[0] if seen.steps else Step(location="", address=None)
    location = without_secrets(printable(first.location)) or "nowhere"
    symptom = f"{symptom}, to {location}"
    hop: Hop = "proxy" if fingerprints.is_own_page(attempt) else "public"
    there = first.address
    if there is None:
        return _elsewhere(seen, attempt, symptom, hop, "Its Location is no web address.")
    if seen.target is None and not (_is_login(there) and not _comes_back(seen)):
        places = (here, *(step.address for step in seen.steps if step.address))
        return endless(places, attempt, f"{symptom}, and on without end")
    if _is_only_tls(here, there):
        return finding(
            "https-redirect",
            hop=hop,
            symptom=symptom,
            cause="The site is served over HTTPS, and sends plain requests there; WebSocket"
            " clients do not follow.",
            fix=f"Use {without_secrets(there.websocket_uri)}{_outcome(seen)}",
            attempt=attempt,
        )
    if _is_only_slash(here, there):
        return _slash(seen, attempt, symptom, hop, there)
    if _is_login(there):
        return finding(
            "login-required",
            hop="public",
            symptom=symptom,
            cause="Who has not logged in is sent to a login page; browsers bring a page's cookies"
            " along.",
            fix="Give the session along: --header 'Cookie: …'",
            attempt=attempt,
        )
    cause = (
        f"The site sends all who ask for {here.name} to {there.name}."
        if there.name != here.name
        else "This path is sent to another one."
    )
    return _elsewhere(seen, attempt, symptom, hop, cause)


def _is_login(there: Address) -> bool:
    return bool(_LOGIN.search(there.path) or _LOGIN.search(there.name))


def _comes_back(seen: Observations) -> bool:
    """Whether the redirects lead back to the very address that was asked for."""
    return any(step.address and step.address.is_same_place(seen.address) for step in seen.steps)


def _is_only_tls(here: Address, there: Address) -> bool:
    same = (here.name, here.target) == (there.name, there.target)
    return same and there.is_secure and not here.is_secure


def _is_only_slash(here: Address, there: Address) -> bool:
    """Proxies get scheme and port of such a redirect wrong, so that these do not count."""
    turned = here.with_slash_toggled()
    return turned is not None and (there.name, there.path) == (turned.name, turned.path)


def endless(places: Sequence[Address], attempt: Attempt, symptom: str) -> Finding:
    """Redirects that lead from place to place and come back to one of them."""
    back, before = places[-1], places[-2]
    if not any(back.is_same_place(each) for each in places[:-1]):
        return finding(
            "redirected",
            hop="public",
            symptom=symptom,
            cause=f"After {len(places) - 1} redirects, each to another place, there is still one"
            " more; browsers give up as well.",
            fix="Look at what makes these redirects: each of them adds something.",
            attempt=attempt,
        )
    if fingerprints.header(attempt, "set-cookie"):
        cause = (
            "It sets a cookie and sends the client back: it wants to see the cookie first, which"
            " a client that keeps none never shows."
        )
    elif back.is_same_place(before) and back.is_secure:
        cause = (
            "It redirects to the very address that was asked for: the service forces HTTPS, and is"
            " not told that the request came by HTTPS (X-Forwarded-Proto), so it asks for it again."
        )
    elif len({place.is_secure for place in places}) == 2:
        cause = (
            "One hop sends to https and another one back to http: TLS ends before a hop that is"
            " not told so (X-Forwarded-Proto), or that a CDN asks by plain HTTP."
        )
    else:
        cause = "The redirects come back to where they have been."
    route = " → ".join(without_secrets(each.page_uri) for each in places)
    failure = Failure("status", attempt.failure.words if attempt.failure else "", evidence=route)
    return finding(
        "redirect-loop",
        hop="proxy" if fingerprints.is_own_page(attempt) else "public",
        symptom=symptom,
        cause=cause,
        fix="Let the proxy set X-Forwarded-Proto to the scheme that the client used, and the"
        f" service trust it; otherwise remove one of the redirects. {ASK_THE_HOST}.",
        attempt=replace(attempt, failure=failure),
    )


def _slash(seen: Observations, attempt: Attempt, symptom: str, hop: Hop, there: Address) -> Finding:
    cause = (
        "The web server serves the path with the slash alone, and redirects to it; WebSocket"
        " clients do not follow."
        if fingerprints.is_own_page(attempt)
        else "The path is served with the slash turned alone, by the service's own routing or by"
        " the proxy; WebSocket clients do not follow redirects."
    )
    return finding(
        "slash-redirect",
        hop=hop,
        symptom=symptom,
        cause=f"{cause.removesuffix('.')}{_outcome(seen)}.",
        fix=f"Connect to {without_secrets(there.target)}, or serve {seen.address.path} too"
        f" ({in_each(lambda words: words.slash)}).",
        attempt=attempt,
    )


def _outcome(seen: Observations) -> str:
    """What the handshake is answered with where the redirects end."""
    last = seen.target_handshake
    if last is None or last.status_code is None:
        return ""
    if last.status_code == 101:
        return " (there the handshake succeeds)"
    return f" (but there the handshake is answered with {last.status_code}: ask there next)"


def _elsewhere(seen: Observations, attempt: Attempt, symptom: str, hop: Hop, cause: str) -> Finding:
    or_else = alternatives(
        "wrong-route", "login-required", wrong_route="another site's rules took this name or path"
    )
    return finding(
        "redirected",
        hop=hop,
        symptom=symptom,
        cause=f"{cause} WebSocket clients do not follow redirects{_outcome(seen)}.",
        fix="Connect to where it leads, or take the redirect away for this path.",
        attempt=attempt,
        or_else=or_else,
    )
