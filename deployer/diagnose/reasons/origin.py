"""A handshake that fails with one Origin and succeeds with another. Pure.

What the service compares the Origin with shows in which variant gets through: the page's origin
without its port, with the port that nobody writes, with the other scheme, or only none at all.
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

#: What a server answers for reasons of its own: it was late, asked too often, or nobody was behind.
_OF_NO_ORIGIN = frozenset({408, 429, 502, 503, 504})


def finding_of(seen: Observations, attempt: Attempt, failure: Failure) -> Finding | None:
    """What is wrong with the Origin, or `None` where the refusal does not depend on it."""
    words = fingerprints.fingerprint_of(attempt)
    opened = seen.opened(*_ORIGINS)
    says_origin = words is not None and words.meaning == "origin"
    if not opened and not says_origin:
        return None
    if attempt.status_code in _OF_NO_ORIGIN and not says_origin:
        return None
    if "foreign-origin" in opened and (attempt.status_code or 400) < 400:
        return None  # no refusal: whoever answers changes from one connection to the next
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
            cause=f"The origin of the site itself, {seen.address.origin}, is let in; this one is"
            " not on the list.",
            fix="Add it to the list of allowed origins of the service (or of the proxy), if its"
            " pages shall connect.",
            attempt=attempt,
        )
    if "foreign-origin" in opened:
        return finding(
            "origin-blocked",
            hop="public",
            symptom=symptom,
            cause="This very origin is refused, while a page of any other is let in.",
            fix="Look for a rule on Origin in the service and in the proxy.",
            attempt=attempt,
        )
    if "other-port-origin" in opened:
        return _port(seen, attempt, symptom)
    if "other-scheme-origin" in opened:
        return _scheme(seen, attempt, symptom)
    return _listed_nowhere(seen, attempt, symptom, opened=opened)


def _host_seen(seen: Observations, attempt: Attempt, symptom: str, host: str) -> Finding:
    is_port = host == seen.address.bare_host
    return finding(
        "port-lost" if is_port else "host-rewritten",
        hop="proxy",
        symptom=symptom,
        cause=f"The service compares the Origin with the Host that it sees, and says that this is"
        f" {host}, not {seen.address.host}: the proxy "
        + ("drops the port." if is_port else "puts another name into the request."),
        fix="Let the proxy pass the Host on as it came.",
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
            " Origin is let in: the service sees a Host with a port that no browser sends, as"
            " $host:$server_port makes it; or its own list is written so.",
            fix="Pass the Host on as the client sent it"
            f" ({in_each(lambda words: words.original_host)}).",
            attempt=attempt,
            or_else=alternatives(
                "origin-blocked", origin_blocked="the service's own list names the port"
            ),
        )
    return finding(
        "port-lost",
        hop="proxy",
        symptom=symptom,
        cause=f"The same Origin without :{seen.address.port} is let in: the service compares it"
        f" with a Host that reaches it without the port"
        f" ({in_each(lambda words: words.signs.get('port-lost', ''))}).",
        fix=f"Pass the Host on with its port ({in_each(lambda words: words.original_host)}).",
        directive="proxy_set_header Host $http_host;",
        attempt=attempt,
        or_else=alternatives(
            "origin-blocked",
            origin_blocked="a list of allowed origins names this one without its port",
        ),
    )


def _scheme(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    mine, other = ("https", "http") if seen.address.is_secure else ("http", "https")
    return finding(
        "origin-blocked",
        hop="public",
        symptom=symptom,
        cause=f"The same Origin with {other}:// is let in: the service takes itself to be served"
        f" over {other}, because nothing tells it of {mine} (X-Forwarded-Proto), or its list names"
        f" {other}://{seen.address.host}.",
        fix=f"Let the proxy set X-Forwarded-Proto to {mine} and the service trust it; or correct"
        " the service's list.",
        attempt=attempt,
    )


def _listed_nowhere(
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
        cause="The service looks at Origin and does not take this one, although it is the site's"
        " own. Either it compares Origin with the Host that it sees, and the proxy puts another"
        " one there; or it has a list of its own, which lacks this origin."
        if seen.handshake_origin == seen.address.origin
        else "The service looks at Origin, and does not take this one.",
        fix="Let the proxy pass the Host on as it came; then look at the service's list of allowed"
        " origins and hosts. If pages of another site are meant to connect, ask with theirs"
        " (--origin).",
        attempt=attempt,
        # Not port-lost: the origin without its port was refused as well.
        or_else=alternatives("host-rewritten"),
    )
