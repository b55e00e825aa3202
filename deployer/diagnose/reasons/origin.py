"""Explain a handshake that fails with one Origin and succeeds with a different one. Pure.

The variant that succeeds shows what the service compares the Origin with: the page's origin without
its port, with the default port written out, with the other scheme, or only none at all.
"""

from __future__ import annotations

from deployer.diagnose.handshake_variants import Variant
from deployer.diagnose.outside import Observations
from deployer.diagnose.reasons import fingerprints
from deployer.diagnose.reasons.findings import alternatives, finding
from deployer.model import Finding
from deployer.proxies.words import in_each
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Failure

_ORIGINS: tuple[Variant, ...] = (
    "own-origin",
    "no-origin",
    "null-origin",
    "foreign-origin",
    "other-port-origin",
    "other-scheme-origin",
)

#: Statuses that do not depend on Origin: timeouts, rate limits, and gateway errors.
_UNRELATED = frozenset({408, 429, 502, 503, 504})


def finding_of(seen: Observations, attempt: Attempt, failure: Failure) -> Finding | None:
    """Return what is wrong with the Origin, or `None` if the refusal does not depend on it."""
    words = fingerprints.fingerprint_of(attempt)
    opened = seen.opened(*_ORIGINS)
    says_origin = words is not None and words.meaning == "origin"
    if not opened and not says_origin:
        return None
    if attempt.status_code in _UNRELATED and not says_origin:
        return None
    if "foreign-origin" in opened and (attempt.status_code or 400) < 400:
        return None  # no refusal: different servers answer from one connection to the next
    symptom = (
        f"{without_secrets(seen.address.uri)} {failure.words} to Origin: {seen.handshake_origin}"
    )
    host = words.host if words else ""
    if host and host != seen.address.host:
        return _host_seen(seen, attempt, symptom, host)
    if "own-origin" in opened:
        return finding(
            "origin-blocked",
            hop="proxy" if fingerprints.is_own_page(attempt) else "public",
            symptom=symptom,
            cause=f"The site's own origin, {seen.address.origin}, is accepted; this one is not on"
            " the list.",
            fix="Add it to the service's (or the proxy's) list of allowed origins if its pages"
            " should connect.",
            attempt=attempt,
        )
    if "foreign-origin" in opened:
        return finding(
            "origin-blocked",
            hop="public",
            symptom=symptom,
            cause="Exactly this origin is refused, while pages of any other are accepted.",
            fix="Look for a rule on Origin in the service and in the proxy.",
            attempt=attempt,
        )
    if "other-port-origin" in opened:
        return _port(seen, attempt, symptom)
    if "other-scheme-origin" in opened:
        return _scheme(seen, attempt, symptom)
    return _not_listed(seen, attempt, symptom, opened=opened)


def _host_seen(seen: Observations, attempt: Attempt, symptom: str, host: str) -> Finding:
    is_port = host == seen.address.bare_host
    return finding(
        "port-lost" if is_port else "host-rewritten",
        hop="proxy",
        symptom=symptom,
        cause="The service compares the Origin with the Host that it receives, which it reports as"
        f" {host}, not {seen.address.host}: the proxy "
        + ("drops the port." if is_port else "sends a different name."),
        fix="Make the proxy forward the Host unchanged.",
        directive=in_each(lambda words: words.original_host),
        attempt=attempt,
    )


def _port(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    if seen.address.has_default_port:
        return finding(
            "host-rewritten",
            hop="proxy",
            symptom=symptom,
            cause=f"With the port written out ({seen.address.bare_host}:{seen.address.port}) the"
            " Origin is accepted: the service receives a Host with a port that no browser sends"
            " (from $host:$server_port), or its own list has the port.",
            fix=f"Forward the Host unchanged ({in_each(lambda words: words.original_host)}).",
            attempt=attempt,
            or_else=alternatives(
                "origin-blocked", origin_blocked="the service's own list has the port"
            ),
        )
    return finding(
        "port-lost",
        hop="proxy",
        symptom=symptom,
        cause=f"The same Origin without :{seen.address.port} is accepted: the service compares it"
        " with a Host that arrives without the port"
        f" ({in_each(lambda words: words.signs.get('port-lost', ''))}).",
        fix=f"Forward the Host with its port ({in_each(lambda words: words.original_host)}).",
        directive="proxy_set_header Host $http_host;",
        attempt=attempt,
        or_else=alternatives(
            "origin-blocked",
            origin_blocked="a list of allowed origins has this one without its port",
        ),
    )


def _scheme(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    mine, other = ("https", "http") if seen.address.is_secure else ("http", "https")
    return finding(
        "origin-blocked",
        hop="public",
        symptom=symptom,
        cause=f"The same Origin with {other}:// is accepted: the service assumes {other}, because"
        f" it does not get X-Forwarded-Proto: {mine}, or its list has"
        f" {other}://{seen.address.host}.",
        fix=f"Set X-Forwarded-Proto to {mine} in the proxy, and make the service trust it; or"
        " correct the service's list.",
        attempt=attempt,
    )


def _not_listed(
    seen: Observations, attempt: Attempt, symptom: str, *, opened: tuple[Variant, ...]
) -> Finding:
    without = " without an Origin it succeeds" if "no-origin" in opened else ""
    if fingerprints.is_own_page(attempt):
        responder = fingerprints.responder_of(attempt)
        return finding(
            "origin-blocked",
            hop="proxy",
            symptom=f"{symptom};{without}" if without else symptom,
            cause=f"The refusal is a page of {responder.name if responder else 'the proxy'} itself:"
            " this origin is not in its list of allowed origins.",
            fix="Add the origin to the proxy's list.",
            attempt=attempt,
        )
    return finding(
        "origin-blocked",
        hop="public",
        symptom=f"{symptom};{without}" if without else symptom,
        cause="The service checks Origin and refuses this one, although it is the site's own."
        " Either it compares Origin with the Host that it receives, and the proxy changes that; or"
        " it has a list of its own that lacks this origin."
        if seen.handshake_origin == seen.address.origin
        else "The service checks Origin and refuses this one.",
        fix="Make the proxy forward the Host unchanged; then check the service's list of allowed"
        " origins and hosts. If pages of a different site should connect, try with its origin"
        " (--origin).",
        attempt=attempt,
        # Not port-lost: the origin without its port was refused too.
        or_else=alternatives("host-rewritten"),
    )
