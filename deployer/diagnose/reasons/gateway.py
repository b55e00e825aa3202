"""Explain a gateway's own errors: it got no valid response from the server behind it. Pure.

The author of the page matters more than the status: Apache answers 503 if nothing listens and 502
if the service hangs or speaks another protocol; HAProxy 503 if no server is up; nginx 502 for both,
and 504 after its timeout. Measured; docs/findings/bad-gateway.md has the table.
"""

from __future__ import annotations

from deployer.diagnose.outside import Observations
from deployer.diagnose.reasons import fingerprints
from deployer.diagnose.reasons.findings import ASK_THE_HOST, alternatives, finding
from deployer.model import Alternative, Finding, Hop
from deployer.proxies import ProxyServer
from deployer.proxies.words import GatewayPage
from deployer.verify.probe.attempt import Attempt, printable

_NO_ANSWER = (
    "gets no valid response from the server behind it: nothing listens there, the address is wrong,"
    " or only one of the two speaks TLS"
)
_CDN_CAUSES = {
    520: "the origin's response was empty or invalid",
    521: "the origin refuses connections",
    522: "the origin does not answer connections",
    523: "the origin's address is unreachable",
    524: "the origin accepted the request but did not answer in time",
    525: "the TLS handshake with the origin fails",
    526: "the origin's certificate is not accepted",
    530: "the origin's name does not resolve",
}


def finding_of(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """Return the finding for a status of 500 or above."""
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
    """Return the same for an ordinary page."""
    status = attempt.status_code or 0
    if status >= 520:
        return _by_cdn(attempt, symptom, status)
    who, hop = _who(attempt)
    return finding(
        "service-hangs" if status == 504 else "bad-gateway" if status > 500 else "check-failed",
        hop=hop,
        symptom=symptom,
        cause=f"{who} gets no valid response from the server behind it."
        if status > 500
        else f"{who} has an internal error.",
        fix=f"Check whether the service runs, and on which port. {ASK_THE_HOST} and its error log.",
        attempt=attempt,
        or_else=_or_else(_proxy(attempt), status) if status in (502, 503) else (),
    )


def _who(attempt: Attempt) -> tuple[str, Hop]:
    responder = fingerprints.responder_of(attempt)
    if responder is None:
        return "The server", "public"
    return responder.name, "proxy" if responder.is_own_page else "public"


def _proxy(attempt: Attempt) -> ProxyServer | None:
    responder = fingerprints.responder_of(attempt)
    return responder.proxy if responder is not None else None


def _by_cdn(attempt: Attempt, symptom: str, status: int) -> Finding:
    who = fingerprints.in_front(attempt) or "A CDN or load balancer"
    why = _CDN_CAUSES.get(status, "it got no valid response from the origin")
    return finding(
        "bad-gateway",
        hop="public",
        symptom=symptom,
        cause=f"{who} is in front of the site, and its {status} means that {why}.",
        fix="Diagnose the origin itself: --resolve NAME:PORT:ADDRESS-OF-THE-ORIGIN. Then check its"
        " firewall and its certificate.",
        attempt=attempt,
        or_else=alternatives("proxy-down", "tls-failed"),
    )


def _unknown_name(seen: Observations, attempt: Attempt, symptom: str) -> Finding | None:
    """Find the name that Apache could not resolve: often an address with part of the path."""
    proxy = _proxy(attempt)
    if proxy is None or proxy.traits.unknown_name is None:
        return None
    found = proxy.traits.unknown_name.search(attempt.answer.body)
    if found is None:
        return None
    who, _ = _who(attempt)
    name = printable(found[1], limit=120)
    stuck = next((end for end in _ends_of(seen.address.path) if name.endswith(end)), "")
    if not stuck:
        return finding(
            "bad-gateway",
            hop="proxy",
            symptom=symptom,
            cause=f"{who} cannot resolve {name}, which its configuration has as the address of the"
            " service.",
            fix="Correct the name in ProxyPass, or make it resolvable on that host.",
            attempt=attempt,
        )
    return finding(
        "slash-mismatch",
        hop="proxy",
        symptom=symptom,
        cause=f"{who} tries to resolve {name}: it appends the rest of the path ({stuck}) to the"
        " address, because the left side of ProxyPass ends with a slash and the right side does"
        " not.",
        fix="End both sides of ProxyPass with a slash, or neither.",
        directive=f'ProxyPass "{seen.address.path.removesuffix(stuck)}"'
        f' "http://{name.removesuffix(stuck)}/"',
        attempt=attempt,
    )


def _ends_of(path: str) -> list[str]:
    """Return the parts of a path that may follow a location: ``b/c`` and ``c`` of ``/a/b/c``."""
    parts = path.split("/")[1:]
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return [end for end in ends if end]


def _failing(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    who, hop = _who(attempt)
    proxy = _proxy(attempt)
    alike = seen.plain is not None and seen.plain.status_code == 500
    return finding(
        "handshake-refused",
        hop=hop,
        symptom=symptom,
        cause=f"{who} has an internal error, at "
        + ("every request to this path." if alike else "the handshake but not at other requests."),
        fix=f"Check the error log of {who if hop == 'proxy' else 'service and proxy'};"
        f" {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=_or_else(proxy, 500) if _page(proxy, 500).alternatives else (),
    )


def _hanging(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    who, hop = _who(attempt)
    only = " Ordinary requests are answered, so only upgrades hang." if _is_passed_on(seen) else ""
    return finding(
        "service-hangs",
        hop="backend",
        symptom=symptom,
        cause=f"{who} timed out waiting for the service behind it.{only}",
        fix="Check the service's log and workers, and the address in the proxy: an unreachable one"
        " (a firewall, a wrong network) looks the same.",
        attempt=attempt,
        or_else=alternatives(
            "bad-gateway",
            bad_gateway="according to the proxy's error log, connecting timed out and not reading",
        )
        if hop == "proxy"
        else (),
    )


def _is_passed_on(seen: Observations) -> bool:
    """Whether an ordinary request to this path gets a response from behind the gateway."""
    plain = seen.plain
    return (
        plain is not None
        and plain.status_code is not None
        and plain.status_code < 500
        and not fingerprints.is_own_page(plain)
    )


def _bad_gateway(seen: Observations, attempt: Attempt, symptom: str, status: int) -> Finding:
    who, hop = _who(attempt)
    proxy = _proxy(attempt)
    pattern = proxy.traits.page_reason if proxy is not None else None
    reason = pattern.search(attempt.answer.body) if pattern is not None else None
    quoted = printable(reason[1], limit=120) if reason else ""
    if _is_passed_on(seen) and status == 502:
        plain = seen.plain.status_code if seen.plain else None
        return finding(
            "bad-gateway",
            hop=hop,
            symptom=f"{symptom}; an ordinary request is answered with {plain}",
            cause=f"{who} reaches the service but gets no valid response to the upgrade: the"
            " service disconnects, or the request uses HTTP/2, which has no Upgrade.",
            fix="Use HTTP/1.1 to the service (no h2 in alpn of the server line); check the"
            " service's log at this time.",
            attempt=attempt,
            or_else=alternatives("h2-websocket"),
        )
    return finding(
        "bad-gateway",
        hop=hop,
        symptom=symptom,
        cause=f"{who} {_page(proxy, status).cause or _NO_ANSWER}."
        + (f" Its reason: {quoted}." if quoted else ""),
        fix="On the host, check whether the service runs, and on which port."
        f" {ASK_THE_HOST} and its error log.",
        attempt=attempt,
        or_else=_or_else(proxy, status),
    )


def _page(proxy: ProxyServer | None, status: int) -> GatewayPage:
    page = proxy.words.gateway_pages.get(status) if proxy is not None else None
    return page or GatewayPage()


def _or_else(proxy: ProxyServer | None, status: int) -> tuple[Alternative, ...]:
    """Return the alternatives for a page of this proxy."""
    page = _page(proxy, status)
    other = "connections-exhausted" if status == 503 else "upstream-scheme"
    signs = {code.replace("-", "_"): sign for code, sign in page.signs.items()}
    return alternatives(*(page.alternatives or ("service-down", other)), **signs)
