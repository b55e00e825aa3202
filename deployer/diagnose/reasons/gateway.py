"""A gateway's own errors: it did not get an answer from what stands behind it. Pure.

Whose page it is tells more than the status: Apache says 503 where nobody listens and 502 where the
service hangs or speaks something else; HAProxy 503 where no server is up; nginx 502 for both, and
504 after its time-out. Measured; docs/findings/bad-gateway.md has the table.
"""

from __future__ import annotations

import re

from deployer.diagnose.outside import Observations
from deployer.diagnose.reasons import fingerprints
from deployer.diagnose.reasons.findings import ASK_THE_HOST, alternatives, finding
from deployer.model import Alternative, Finding, Hop
from deployer.verify.probe.attempt import Attempt, printable

_APACHE_REASON = re.compile(rb"Reason: <strong>([^<]{1,200})")
_UNKNOWN_NAME = re.compile(rb"DNS lookup failure for: ([^<\s]{1,200})")
_CDN_CAUSES = {
    520: "the origin's answer was empty or not to be understood",
    521: "the origin refuses connections",
    522: "the origin does not answer connections",
    523: "the origin's address cannot be reached",
    524: "the origin took the request and did not answer in time",
    525: "TLS with the origin does not come about",
    526: "the origin's certificate is not accepted",
    530: "the origin's name does not resolve",
}


def finding_of(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """What an answer from 500 on says of the hop behind the one that gave it."""
    status = attempt.status_code or 0
    if status >= 520:
        return _by_cdn(attempt, symptom, status)
    unknown = _unknown_name(seen, attempt, symptom)
    if unknown is not None:
        return unknown
    if status == 500:
        return _failing(seen, attempt, symptom)
    if status == 504:
        return _hanging(seen, attempt, symptom)
    return _bad_gateway(seen, attempt, symptom, status)


def of_page(attempt: Attempt, symptom: str) -> Finding:
    """The same for an ordinary page."""
    status = attempt.status_code or 0
    if status >= 520:
        return _by_cdn(attempt, symptom, status)
    who, hop = _who(attempt)
    return finding(
        "service-hangs" if status == 504 else "bad-gateway" if status > 500 else "check-failed",
        hop=hop,
        symptom=symptom,
        cause=f"{who} gets no right answer from what stands behind it."
        if status > 500
        else f"{who} fails inside.",
        fix=f"Does the service run, and on which port? {ASK_THE_HOST}, and its error log.",
        attempt=attempt,
        or_else=_or_else(who, status) if status in (502, 503) else (),
    )


def _who(attempt: Attempt) -> tuple[str, Hop]:
    responder = fingerprints.responder_of(attempt)
    if responder is None:
        return "The one who answers", "public"
    return responder.name, "proxy" if responder.is_own_page else "public"


def _by_cdn(attempt: Attempt, symptom: str, status: int) -> Finding:
    who = fingerprints.in_front(attempt) or "Something in front"
    why = _CDN_CAUSES.get(status, "it got no right answer from the origin")
    return finding(
        "bad-gateway",
        hop="public",
        symptom=symptom,
        cause=f"{who} stands in front of the site and says with {status} that {why}.",
        fix="Ask the origin itself: --resolve NAME:PORT:ADDRESS-OF-THE-ORIGIN. Then look at its"
        " firewall and its certificate.",
        attempt=attempt,
        or_else=alternatives("proxy-down", "tls-failed"),
    )


def _unknown_name(seen: Observations, attempt: Attempt, symptom: str) -> Finding | None:
    """Apache says which name it could not look up: often an address with a path stuck to it."""
    found = _UNKNOWN_NAME.search(attempt.answer.body)
    if found is None or not fingerprints.is_own_page(attempt):
        return None
    name = printable(found[1], limit=120)
    stuck = next((end for end in _ends_of(seen.address.path) if name.endswith(end)), "")
    if not stuck:
        return finding(
            "bad-gateway",
            hop="proxy",
            symptom=symptom,
            cause=f"Apache httpd cannot look up {name}, which is where it is told to find the"
            " service.",
            fix="Correct the name in ProxyPass, or let that host know it.",
            attempt=attempt,
        )
    return finding(
        "slash-mismatch",
        hop="proxy",
        symptom=symptom,
        cause=f"Apache httpd looks up {name}: it puts the rest of the path ({stuck}) right behind"
        " the address, since the left side of ProxyPass ends with a slash and the right side does"
        " not.",
        fix="End both sides of ProxyPass with a slash, or neither.",
        directive=f'ProxyPass "{seen.address.path.removesuffix(stuck)}"'
        f' "http://{name.removesuffix(stuck)}/"',
        attempt=attempt,
    )


def _ends_of(path: str) -> list[str]:
    """What may stand behind a slash at the end of a location: ``b/c`` and ``c`` of ``/a/b/c``."""
    parts = path.split("/")[1:]
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return [end for end in ends if end]


def _failing(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    who, hop = _who(attempt)
    is_apache = hop == "proxy" and who.startswith("Apache")
    alike = seen.plain is not None and seen.plain.status_code == 500
    return finding(
        "handshake-refused",
        hop=hop,
        symptom=symptom,
        cause=f"{who} fails inside, at "
        + ("every request to this path." if alike else "the handshake and not at other requests."),
        fix=f"Look at the error log of {who if hop == 'proxy' else 'service and proxy'};"
        f" {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=alternatives(
            "upstream-scheme",
            "slash-mismatch",
            upstream_scheme="ProxyPass names https:// and SSLProxyEngine is not on",
        )
        if is_apache
        else (),
    )


def _hanging(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    who, hop = _who(attempt)
    only = " Ordinary requests are answered, so only upgrades hang." if _is_passed_on(seen) else ""
    return finding(
        "service-hangs",
        hop="backend",
        symptom=symptom,
        cause=f"{who} has waited for the service behind it, in vain.{only}",
        fix="Look at the service's log and workers, and at the address in the proxy: one to which"
        " no packet comes through (a firewall, a wrong network) looks the same.",
        attempt=attempt,
        or_else=alternatives(
            "bad-gateway",
            bad_gateway="the proxy's error log says that connecting timed out, not reading",
        )
        if hop == "proxy"
        else (),
    )


def _is_passed_on(seen: Observations) -> bool:
    """Whether an ordinary request to this path gets an answer from behind the gateway."""
    plain = seen.plain
    return (
        plain is not None
        and plain.status_code is not None
        and plain.status_code < 500
        and not fingerprints.is_own_page(plain)
    )


def _bad_gateway(seen: Observations, attempt: Attempt, symptom: str, status: int) -> Finding:
    who, hop = _who(attempt)
    reason = _APACHE_REASON.search(attempt.answer.body)
    said = printable(reason[1], limit=120) if reason else ""
    if _is_passed_on(seen) and status == 502:
        plain = seen.plain.status_code if seen.plain else None
        return finding(
            "bad-gateway",
            hop=hop,
            symptom=f"{symptom}; an ordinary request is answered with {plain}",
            cause=f"{who} reaches the service, but does not get an answer to the upgrade that it"
            " understands: the service breaks off there, or is asked over HTTP/2, which knows no"
            " Upgrade.",
            fix="Speak HTTP/1.1 to the service (HAProxy: no alpn h2 on the server line); look at"
            " the service's log at this moment.",
            attempt=attempt,
            or_else=alternatives("h2-websocket"),
        )
    return finding(
        "bad-gateway",
        hop=hop,
        symptom=symptom,
        cause=_CAUSES.get(
            (who.partition("/")[0], status),
            "{who} gets no right answer from what stands behind it: nobody listens there, it is the"
            " wrong address, or one of the two speaks TLS and the other does not.",
        ).format(who=who)
        + (f" It says: {said}." if said else ""),
        fix=f"On the host: does the service run, and on which port? {ASK_THE_HOST}, and its error"
        " log.",
        attempt=attempt,
        or_else=_or_else(who, status),
    )


_CAUSES = {
    ("Apache httpd", 503): "{who} could not connect to the service, or still waits after an earlier"
    " failure (60 s, unless retry=0).",
    ("Apache httpd", 502): "{who} was connected to the service and got no right answer: it broke"
    " off, it did not answer in time, or only one of the two speaks TLS.",
    ("HAProxy", 503): "{who} has no server for this request: none is up, none had a place free in"
    " time (maxconn), or no backend is chosen for this name and path.",
    ("HAProxy", 502): "{who} was connected to the service and got no right answer: it broke off, or"
    " only one of the two speaks TLS.",
}


def _or_else(who: str, status: int) -> tuple[Alternative, ...]:
    if who.startswith("Apache"):
        codes: tuple[str, ...] = (
            ("service-down",) if status == 503 else ("upstream-scheme", "service-hangs")
        )
    elif who == "HAProxy" and status == 503:
        return alternatives(
            "service-down",
            "upstream-scheme",
            "wrong-route",
            "connections-exhausted",
            wrong_route="no use_backend fits this request, and there is no default_backend",
        )
    elif who == "HAProxy":
        codes = ("upstream-scheme",)
    elif status == 503:
        codes = ("service-down", "connections-exhausted")
    else:
        codes = ("service-down", "upstream-scheme")
    return alternatives(*codes)
