"""Explain a handshake answered with a redirect, which no WebSocket client follows. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from deployer.diagnose.outside import Observations, Step
from deployer.diagnose.reasons import fingerprints
from deployer.diagnose.reasons.findings import ASK_THE_HOST, alternatives, finding
from deployer.model import Finding, Hop
from deployer.proxies.words import in_each
from deployer.verify.net.address import Address
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Failure, printable

_LOGIN = re.compile(
    r"(?:^|[/._-])(?:log-?in|log_in|sign-?in|sign_in|auth|oauth2?|sso|saml2?|session)(?:[/._?-]|$)",
    re.IGNORECASE,
)


def finding_of(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """Return where it redirects to, and why."""
    here = seen.address
    first = seen.steps[0] if seen.steps else Step(location="", address=None)
    location = without_secrets(printable(first.location)) or "nowhere"
    symptom = f"{symptom}, to {location}"
    hop: Hop = "proxy" if fingerprints.is_own_page(attempt) else "public"
    there = first.address
    if there is None:
        return _elsewhere(seen, attempt, symptom, hop, "Its Location is not a web address.")
    if seen.target is None and not (_is_login(there) and not _comes_back(seen)):
        places = (here, *(step.address for step in seen.steps if step.address))
        return endless(places, attempt, f"{symptom}, and so on endlessly")
    if _is_only_tls(here, there):
        return finding(
            "https-redirect",
            hop=hop,
            symptom=symptom,
            cause="The site is served over HTTPS and redirects plain requests there; WebSocket"
            " clients do not follow redirects.",
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
            cause="Clients without a login are redirected to a login page; browsers send a page's"
            " cookies.",
            fix="Send the session's cookie: --header 'Cookie: …'",
            attempt=attempt,
        )
    cause = (
        f"The site redirects every request for {here.name} to {there.name}."
        if there.name != here.name
        else "This path redirects to a different one."
    )
    return _elsewhere(seen, attempt, symptom, hop, cause)


def _is_login(there: Address) -> bool:
    return bool(_LOGIN.search(there.path) or _LOGIN.search(there.name))


def _comes_back(seen: Observations) -> bool:
    """Whether the redirects lead back to the original address."""
    return any(step.address and step.address.is_same_place(seen.address) for step in seen.steps)


def _is_only_tls(here: Address, there: Address) -> bool:
    same = (here.name, here.target) == (there.name, there.target)
    return same and there.is_secure and not here.is_secure


def _is_only_slash(here: Address, there: Address) -> bool:
    """Whether only the slash differs; scheme and port are ignored, as proxies get them wrong."""
    toggled = here.with_slash_toggled()
    return toggled is not None and (there.name, there.path) == (toggled.name, toggled.path)


def endless(places: Sequence[Address], attempt: Attempt, symptom: str) -> Finding:
    """Return the finding for redirects that form a loop, or do not end."""
    back, before = places[-1], places[-2]
    if not any(back.is_same_place(each) for each in places[:-1]):
        return finding(
            "redirected",
            hop="public",
            symptom=symptom,
            cause=f"After {len(places) - 1} redirects, each to a different address, there is still"
            " one more; browsers give up too.",
            fix="Find the rule that makes these redirects: each of them adds something.",
            attempt=attempt,
        )
    if fingerprints.header(attempt, "set-cookie"):
        cause = (
            "It sets a cookie and redirects back: it requires the cookie, which a client without"
            " cookies never sends."
        )
    elif back.is_same_place(before) and back.is_secure:
        cause = (
            "It redirects to the same address: the service forces HTTPS, but does not know that the"
            " request came over HTTPS (X-Forwarded-Proto), so it redirects again."
        )
    elif len({place.is_secure for place in places}) == 2:
        cause = (
            "One hop redirects to https and another back to http: TLS ends in front of a hop that"
            " does not know about it (X-Forwarded-Proto), or a CDN connects to it by plain HTTP."
        )
    else:
        cause = "The redirects form a loop."
    route = " → ".join(without_secrets(each.page_uri) for each in places)
    failure = Failure("status", attempt.failure.words if attempt.failure else "", evidence=route)
    return finding(
        "redirect-loop",
        hop="proxy" if fingerprints.is_own_page(attempt) else "public",
        symptom=symptom,
        cause=cause,
        fix="Set X-Forwarded-Proto in the proxy to the client's scheme, and make the service trust"
        f" it; otherwise remove one of the redirects. {ASK_THE_HOST}.",
        attempt=replace(attempt, failure=failure),
    )


def _slash(seen: Observations, attempt: Attempt, symptom: str, hop: Hop, there: Address) -> Finding:
    cause = (
        "The web server serves only the path with the slash, and redirects to it; WebSocket"
        " clients do not follow redirects."
        if fingerprints.is_own_page(attempt)
        else "The service's own routing or the proxy serves the path only with the slash toggled;"
        " WebSocket clients do not follow redirects."
    )
    return finding(
        "slash-redirect",
        hop=hop,
        symptom=symptom,
        cause=f"{cause.removesuffix('.')}{_outcome(seen)}.",
        fix=f"Connect to {without_secrets(there.target)}, or also serve {seen.address.path}"
        f" ({in_each(lambda words: words.slash)}).",
        attempt=attempt,
    )


def _outcome(seen: Observations) -> str:
    """Describe the handshake at the end of the redirects."""
    last = seen.target_handshake
    if last is None or last.status_code is None:
        return ""
    if last.status_code == 101:
        return " (there the handshake succeeds)"
    return f" (but there the handshake is answered with {last.status_code}: diagnose that next)"


def _elsewhere(seen: Observations, attempt: Attempt, symptom: str, hop: Hop, cause: str) -> Finding:
    or_else = alternatives(
        "wrong-route", "login-required", wrong_route="a different site matched this name or path"
    )
    return finding(
        "redirected",
        hop=hop,
        symptom=symptom,
        cause=f"{cause} WebSocket clients do not follow redirects{_outcome(seen)}.",
        fix="Connect to its target, or remove the redirect for this path.",
        attempt=attempt,
        or_else=or_else,
    )
