"""Whose fault it is: a failing check through the proxy, beside the same past it. Pure.

    through the proxy     straight to the service     at fault
    not even connected    whatever                    proxy
    fails                 succeeds                    proxy
    fails                 fails                       service
    succeeds              fails                       service: someone else answers in its place

Where both differ only in a status, the service's answer to a request without any upgrade (`plain`)
tells a lost Upgrade header from a request that went somewhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployer.model import PROXY_UNITS, Finding, Hop, Proxy
from deployer.verify import causes, vocabulary
from deployer.verify.attempt import UNCONNECTED, Attempt, Trouble, printable
from deployer.verify.causes import Diagnosis
from deployer.verify.checks import PlannedCheck
from deployer.verify.probes import HttpProbe, TlsProbe
from deployer.verify.shown import shown_header, without_secrets

_AT_THE_DOOR = UNCONNECTED | {"no-tls", "speaks-tls", "tls-failed", "tls-closed", "tls-stalled"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_QUOTED_HEADERS = (
    "server",
    "location",
    "content-type",
    "upgrade",
    "connection",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "via",
    "x-cache",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """All that was tried for one check; `peer` and `plain` are `None` unless they were needed."""

    attempt: Attempt
    peer: Attempt | None = None
    plain: Attempt | None = None


def finding_of(check: PlannedCheck, tried: Tried, *, proxy: Proxy) -> Finding:
    """What is wrong where the check of a connection failed; `tried.attempt` has a trouble."""
    trouble = _trouble(tried.attempt)
    if check.hop == "backend":
        return _service_finding(check, tried, blamed=tried.attempt)
    if trouble.code in _AT_THE_DOOR:
        diagnosis = causes.of_front(trouble, proxy=proxy, endpoint=check.probe.endpoint)
    elif tried.peer is not None and tried.peer.trouble is not None:
        return _service_finding(check, tried, blamed=tried.peer)
    elif trouble.code == "status":
        diagnosis = _status_at_proxy(check, tried, proxy)
    else:
        diagnosis = causes.of_proxy(trouble, proxy=proxy, route=check.route)
    symptom = subject(check, trouble)
    if tried.peer is not None and trouble.code not in _AT_THE_DOOR:
        symptom += f"; straight to the service on {peer_address(check)} the same succeeds"
    return made(diagnosis, hop="proxy", symptom=symptom, attempt=tried.attempt)


def subject(check: PlannedCheck, trouble: Trouble) -> str:
    """The trouble of the check's own probe, as a sentence about its URI."""
    probe, uri = check.probe, without_secrets(check.probe.uri)
    if trouble.code in UNCONNECTED:
        who = "the proxy" if check.hop == "proxy" else "the service"
        return f"{uri}: {who} on {probe.endpoint} {trouble.words}"
    return f"{uri} {trouble.words}"


def peer_address(check: PlannedCheck) -> str:
    """The service's address, for a sentence."""
    return str(check.peer.endpoint) if check.peer else ""


def made(diagnosis: Diagnosis, *, hop: Hop, symptom: str, attempt: Attempt) -> Finding:
    """The finding, with what the peer of `attempt` said as its evidence."""
    return Finding(
        code=diagnosis.code,
        hop=hop,
        symptom=symptom,
        cause=diagnosis.cause,
        fix=diagnosis.fix,
        evidence=evidence_of(attempt),
        request=attempt.request,
        response=attempt.response,
    )


def evidence_of(attempt: Attempt) -> str:
    """Status, the headers that matter, and the beginning of the body, on one line each."""
    answer = attempt.answer
    lines = []
    if answer.status_code is not None:
        lines.append(f"HTTP status {answer.status_code}")
    for name, value in answer.headers:
        if name.lower() in _QUOTED_HEADERS:
            lines.append(shown_header(name, value))
    if answer.body:
        lines.append(printable(answer.body))
    if attempt.trouble is not None and attempt.trouble.evidence:
        lines.append(attempt.trouble.evidence)
    return "\n".join(lines)


def location_of(attempt: Attempt) -> str:
    """Where a redirect leads, or nothing."""
    headers = {name.lower(): value for name, value in attempt.answer.headers}
    return headers.get("location", "")


def _trouble(attempt: Attempt) -> Trouble:
    return attempt.trouble or Trouble("status", f"answered {attempt.status_code}")


def _service_finding(check: PlannedCheck, tried: Tried, *, blamed: Attempt) -> Finding:
    trouble = _trouble(blamed)
    probe = check.probe if check.hop == "backend" else check.peer or check.probe
    if _mentions_plain_http(blamed):
        trouble = Trouble("speaks-tls", trouble.words)
    diagnosis = causes.of_service(trouble, status_code=blamed.status_code, endpoint=probe.endpoint)
    symptom = subject(check, _trouble(tried.attempt))
    if check.hop == "proxy":
        symptom += f"; the service on {probe.endpoint} {_trouble(blamed).words}"
    telling = blamed if evidence_of(blamed) else tried.attempt
    return made(diagnosis, hop="backend", symptom=symptom, attempt=telling)


def _mentions_plain_http(attempt: Attempt) -> bool:
    # The words of nginx, Go's net/http and Apache; each to plain HTTP on its TLS port.
    body = attempt.answer.body.lower()
    return attempt.status_code == 400 and (
        b"plain http request was sent to https port" in body
        or b"http request to an https server" in body
        or b"speaking plain http to an ssl-enabled server port" in body
    )


def _status_at_proxy(check: PlannedCheck, tried: Tried, proxy: Proxy) -> Diagnosis:
    """The proxy answers with a status other than 101, and the service would have upgraded."""
    attempt = tried.attempt
    status = attempt.status_code
    backend = vocabulary.BACKEND[proxy]
    if _mentions_plain_http(attempt):
        return Diagnosis(
            "plain-http-on-https",
            "The request went to a TLS port as plain HTTP: the proxy's own, or an upstream's.",
            "Write https:// in the route's upstream where the service speaks TLS, or "
            f"{vocabulary.TLS_PORT[proxy]} where the proxy should.",
        )
    if status in (502, 503, 504):
        return Diagnosis(
            "bad-gateway",
            "The proxy does not reach the service, or does not understand it: it is configured "
            "with another address, with TLS where there is none, or the system keeps it from "
            "connecting; without a list of upstreams, it may also still wait after an earlier "
            "failure.",
            f"Compare {backend} for this path with the route's upstream; the proxy's error log "
            "names the address that it tried.",
        )
    if status in _REDIRECTS:
        return _redirect_at_proxy(check, tried, proxy)
    if status == 403:
        return _forbidden(check, proxy)
    if _upgrade_was_lost(tried):
        http_1_0 = "it speaks HTTP/1.0 to the service" if status == 505 else ""
        return Diagnosis(
            "upgrade-not-forwarded",
            "The proxy reaches the service but does not pass Upgrade and Connection on"
            f"{': ' + http_1_0 if http_1_0 else ''}, so the service sees an ordinary request.",
            f"{vocabulary.UPGRADE[proxy]}.",
        )
    return Diagnosis(
        "wrong-route",
        "The proxy answers this path otherwise than the service does: the request went to "
        "another site, another location, or with another path.",
        f"Look at which site and path the proxy chooses ({backend}), at strip_prefix, and at a "
        "default site that takes the name.",
    )


def _upgrade_was_lost(tried: Tried) -> bool:
    """Whether the proxied handshake got what a request without an upgrade gets."""
    got = tried.attempt
    if got.status_code in (426, 505):  # "Upgrade Required"; WebSockets need HTTP/1.1
        return True
    plain = tried.plain
    if plain is None or plain.status_code is None:
        return got.status_code == 400
    same_body = got.answer.body[:40] == plain.answer.body[:40]
    return got.status_code == plain.status_code and (same_body or got.status_code == 400)


def _redirect_at_proxy(check: PlannedCheck, tried: Tried, proxy: Proxy) -> Diagnosis:
    location = printable(location_of(tried.attempt))
    own = check.probe.uri.replace("wss:", "https:", 1).replace("ws:", "http:", 1)
    if location == own:
        return Diagnosis(
            "redirect-loop",
            f"It redirects to itself ({location}): the app forces HTTPS and is not told that the "
            "request came by HTTPS.",
            "Set X-Forwarded-Proto to https in the proxy, as the sites made here do.",
        )
    if location.rstrip("/") == own.rstrip("/") or location == f"{_path(check)}/":
        return Diagnosis(
            "slash-redirect",
            f"It redirects to {location}, only for the slash at the end; WebSocket clients do not "
            "follow redirects.",
            "Serve the path without the slash too (in nginx: an exact location beside that with "
            "a slash).",
        )
    if own.startswith("http:") and location.startswith("https:"):
        return Diagnosis(
            "https-redirect",
            f"The site redirects to HTTPS ({location}), while the playbook serves it without.",
            "Give the site a tls: issuer; clients then use wss://.",
        )
    return Diagnosis(
        "redirected",
        f"The proxy redirects to {location or 'nowhere'}; WebSocket clients do not follow.",
        f"Remove the redirect for this path from the config of {PROXY_UNITS[proxy]}.",
    )


def _path(check: PlannedCheck) -> str:
    return check.probe.target if isinstance(check.probe, HttpProbe) else ""


def _forbidden(check: PlannedCheck, proxy: Proxy) -> Diagnosis:
    headers = {} if isinstance(check.probe, TlsProbe) else dict(check.probe.headers)
    origin = headers.get("Origin")
    if origin is None:
        return Diagnosis(
            "origin-blocked",
            "The proxy refuses requests without Origin, which programs other than browsers send.",
            f"Let {vocabulary.ORIGINS[proxy]} pass an empty Origin, or set require_origin: true.",
        )
    return Diagnosis(
        "origin-blocked",
        f"The proxy refuses {origin}.",
        f"Add it to origins: of the route ({vocabulary.ORIGINS[proxy]}).",
    )
