"""A gateway's own errors: it did not get an answer from what stands behind it. Pure.

Whose page it is tells more than the status: Apache says 503 where nobody listens and 502 where the
service hangs or speaks something else; HAProxy 503 where no server is up; nginx 502 for both, and
504 after its time-out. Measured; docs/findings/bad-gateway.md has the table.
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
    "gets no valid answer from what is behind it: nothing listens there, the address is wrong, or"
    " only one of the two speaks TLS"
)
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
        or_else=_or_else(_proxy(attempt), status) if status in (502, 503) else (),
    )


def _who(attempt: Attempt) -> tuple[str, Hop]:
    responder = fingerprints.responder_of(attempt)
    if responder is None:
        return "The one who answers", "public"
    return responder.name, "proxy" if responder.is_own_page else "public"


def _proxy(attempt: Attempt) -> ProxyServer | None:
    responder = fingerprints.responder_of(attempt)
    return responder.proxy if responder is not None else None


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
            cause=f"{who} cannot look up {name}, which is where it is told to find the service.",
            fix="Correct the name in ProxyPass, or let that host know it.",
            attempt=attempt,
        )
    return finding(
        "slash-mismatch",
        hop="proxy",
        symptom=symptom,
        cause=f"{who} looks up {name}: it puts the rest of the path ({stuck}) right behind"
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
    proxy = _proxy(attempt)
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
        or_else=_or_else(proxy, 500) if _page(proxy, 500).alternatives else (),
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
    proxy = _proxy(attempt)
    pattern = proxy.traits.page_reason if proxy is not None else None
    reason = pattern.search(attempt.answer.body) if pattern is not None else None
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
            fix="Speak HTTP/1.1 to the service (no h2 in alpn of the server line); look at"
            " the service's log at this moment.",
            attempt=attempt,
            or_else=alternatives("h2-websocket"),
        )
    return finding(
        "bad-gateway",
        hop=hop,
        symptom=symptom,
        cause=f"{who} {_page(proxy, status).cause or _NO_ANSWER}."
        + (f" It says: {said}." if said else ""),
        fix=f"On the host: does the service run, and on which port? {ASK_THE_HOST}, and its error"
        " log.",
        attempt=attempt,
        or_else=_or_else(proxy, status),
    )


def _page(proxy: ProxyServer | None, status: int) -> GatewayPage:
    page = proxy.words.gateway_pages.get(status) if proxy is not None else None
    return page or GatewayPage()


def _or_else(proxy: ProxyServer | None, status: int) -> tuple[Alternative, ...]:
    """What else the page could mean, by the proxy that wrote it."""
    page = _page(proxy, status)
    other = "connections-exhausted" if status == 503 else "upstream-scheme"
    signs = {code.replace("-", "_"): sign for code, sign in page.signs.items()}
    return alternatives(*(page.alternatives or ("service-down", other)), **signs)
