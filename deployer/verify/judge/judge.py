"""Turn attempts into a `CheckResult`: passed or not, a detail, and a finding. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from deployer.model import CheckResult
from deployer.proxies import PROXIES
from deployer.sites.model import Site
from deployer.verify.judge import (
    auth_request,
    causes,
    public,
    refusals,
    security,
    server_findings,
    whole_site,
)
from deployer.verify.judge.attempts import Attempts
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.responsible_hop import (
    build_finding,
    distrust_of,
    finding_of,
    symptom_of,
)
from deployer.verify.judge.statuses import location_of, mentions_plain_http
from deployer.verify.judge.verdict import Case, Verdict, handshake_words
from deployer.verify.net.redact import without_secrets
from deployer.verify.planned.model import FOREIGN_ORIGIN, Kind, PlannedCheck
from deployer.verify.probe.attempt import printable
from deployer.verify.probe.spec import HttpProbe, NoProbe, UpgradeProbe

_HANDSHAKES: frozenset[Kind] = frozenset(
    {
        "handshake",
        "service",
        "listed-origin",
        "foreign-origin",
        "no-origin",
        "no-session",
        "entry",
        "http2",
        "public-handshake",
    }
)


#: Why a check passes that an authentication service refuses.
_NO_SESSION = "a login is required, and the probe has no headers"


def judge(
    site: Site,
    check: PlannedCheck,
    attempts: Attempts,
    *,
    prerequisite: Attempts | None = None,
    address_certificate: Attempts | None = None,
    host_certificate: Attempts | None = None,
) -> CheckResult:
    """The result of one check; the last three are the attempts of the checks it depends on."""
    case = Case(site, check, attempts, prerequisite, address_certificate, host_certificate)
    left_alone = attempts.main.left_alone
    verdict = (
        Verdict(True, left_alone, is_skipped=True) if left_alone else _VERDICTS[check.kind](case)
    )
    return CheckResult(
        site=site.domain,
        name=check.name,
        target=check.target,
        hop=check.hop,
        ok=verdict.ok,
        detail=verdict.detail,
        seconds=attempts.main.seconds,
        valid_until=attempts.main.facts.get("valid_until", ""),
        handshake=attempts.main.answer if check.kind in _HANDSHAKES else None,
        finding=verdict.finding,
        skipped=verdict.is_skipped,
    )


def _certificate(case: Case) -> Verdict:
    failure = case.attempt.failure
    if failure is None:
        uri = case.check.probe.uri
        soon = server_findings.expires_soon(uri, case.attempt, hop=case.check.hop)
        return Verdict(True, case.attempt.note, soon)
    if failure.code not in causes.CERTIFICATE_FAILURES:
        return _failed(case)
    diagnosis = causes.certificate_diagnosis(
        failure, proxy=case.site.proxy, issuer=case.site.tls.issuer
    )
    symptom = symptom_of(case.check, failure)
    return Verdict(
        False,
        failure.words,
        build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=case.attempt),
    )


def _handshake(case: Case) -> Verdict:
    if case.attempt.failure is None:
        return _opened(case)
    if auth_request.is_asked_to_log_in(case.check, case.attempt):
        return Verdict(True, f"answered {case.status}: {_NO_SESSION}")
    words = refusals.refusal_words(case.check, case.attempts)
    if not words:
        return _failed(case)
    return Verdict(True, words, whole_site.note(case) if case.check.represents_route else None)


def _no_session(case: Case) -> Verdict:
    """A handshake without the session that the route's own has."""
    if auth_request.is_asked_to_log_in(case.check, case.attempt):
        return Verdict(True, f"answered {case.status} without the probe's headers")
    if case.attempt.failure is None:
        words = "opens without the probe's headers, too: the authentication service admits it"
        return Verdict(True, words)
    return _dependent(case) if _fails_like_prerequisite(case) else _failed(case)


def _opened(case: Case) -> Verdict:
    probe = case.check.probe
    if not isinstance(probe, UpgradeProbe) or 101 in probe.statuses:
        return Verdict(True, handshake_words(case.attempt) + whole_site.whose(case.check))
    listed = " or ".join(map(str, probe.statuses))
    outcome = f"answered 101, not {listed}"
    diagnosis = Diagnosis(
        "check-failed",
        f"The connection opens, although the check accepts only {listed}.",
        "If the service has to refuse this request, it does not; otherwise add 101 to status.",
    )
    symptom = f"{without_secrets(probe.uri)} {outcome}"
    finding = build_finding(diagnosis, hop="backend", symptom=symptom, attempt=case.attempt)
    return Verdict(False, outcome, finding)


def _unprobed(case: Case) -> Verdict:
    why = case.check.probe.why if isinstance(case.check.probe, NoProbe) else ""
    return Verdict(True, why, is_skipped=True)


def _listed_origin(case: Case) -> Verdict:
    verdict = _handshake(case)
    return verdict if verdict.ok or not _fails_like_prerequisite(case) else _dependent(case)


def _foreign_origin(case: Case) -> Verdict:
    return _refused_with_403(
        case,
        allowed=f"a page of {FOREIGN_ORIGIN} may open connections with the visitor's cookies",
    )


def _no_origin(case: Case) -> Verdict:
    if case.check.route is not None and case.check.route.require_origin:
        return _refused_with_403(case, allowed="a request without Origin is accepted")
    verdict = _handshake(case)
    if verdict.ok:
        return verdict
    if _fails_like_prerequisite(case):
        return _dependent(case)
    peer = case.attempts.peer
    if peer is not None and peer.status_code is not None and 400 <= peer.status_code < 500:
        words = f"the service itself requires an Origin (without, it answers {peer.status_code})"
        return Verdict(True, words)
    return verdict


def _refused_with_403(case: Case, *, allowed: str) -> Verdict:
    if case.status == 403:
        is_theirs = case.prerequisite is not None and refusals.is_same_refusal(
            case.attempt, case.prerequisite.main
        )
        return Verdict(True, "answered 403" + (", apparently by the service" * is_theirs))
    if case.status != 101 and _fails_like_prerequisite(case):
        return _dependent(case)
    if case.status is None:
        return _failed(case)
    diagnosis = Diagnosis(
        "origin-open",
        f"The proxy does not check Origin on this path: {allowed} (cross-site WebSocket"
        " hijacking, unless the service checks it).",
        f"Make {PROXIES[case.site.proxy].words.origins} answer 403, or write origins: [any] if that"
        " is intended.",
    )
    symptom = f"{without_secrets(case.check.probe.uri)} answered {case.status}, not 403"
    finding = build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=case.attempt)
    return Verdict(False, f"answered {case.status}, not 403", finding)


def _redirect(case: Case) -> Verdict:
    if case.attempt.failure is not None:
        return _failed(case)
    location = location_of(case.attempt)
    if case.status in (301, 308) and _leads_to_https(case, location):
        return Verdict(True, f"answered {case.status} to https")
    outcome = f"answered {case.status}"
    if location:
        outcome += f" to {printable(location)}"
    redirect = PROXIES[case.site.proxy].words.https_redirect
    diagnosis = Diagnosis(
        "redirect-missing",
        "A visitor who types the name without https:// does not reach the site: another site"
        " serves port 80, or the redirect loses the name, the path or the query.",
        "Make port 80 answer 308 to https:// with the same name, path and query"
        f"{f' ({redirect})' if redirect else ''}, for everything but /.well-known/acme-challenge/.",
    )
    symptom = f"{case.check.probe.uri} {outcome}, not 308 to the same at https://"
    finding = build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=case.attempt)
    return Verdict(False, outcome, finding)


def _leads_to_https(case: Case, location: str) -> bool:
    asked = urlsplit(case.check.probe.uri)
    try:
        got = urlsplit(location)
        port = got.port
    except ValueError:
        return False
    same_place = (got.hostname, got.path, got.query) == (asked.hostname, asked.path, asked.query)
    return got.scheme == "https" and same_place and (port or 443) == case.site.serving_port


def _page(case: Case) -> Verdict:
    if case.attempt.failure is not None:
        return _failed(case)
    status, peer = case.status or 0, case.attempts.peer
    outcome = f"answered {status}"
    if case.check.peer is not None and mentions_plain_http(case.attempt):
        service = replace(case.check, hop="backend", probe=case.check.peer)
        return Verdict(False, outcome, finding_of(service, case.attempts, proxy=case.site.proxy))
    if case.check.peer is None and status == 403:
        return Verdict(True, f"{outcome}: no index file, or the proxy may not read it")
    if status < 500 and status != 404:
        return Verdict(True, outcome)
    if case.check.peer is None:
        if status == 404:
            return Verdict(True, f"{outcome}: there is no index file under the route's root yet")
        diagnosis = Diagnosis(
            "page-broken",
            "The proxy cannot serve its own files.",
            "Check the proxy's error log, and owner and mode of the route's root.",
        )
    elif peer is not None and (peer.failure is not None or distrust_of(case.attempts)):
        return Verdict(False, outcome, _failed(case).finding)
    elif peer is not None and peer.status_code == status and status == 404:
        return Verdict(True, f"{outcome}, like the service")
    elif peer is not None and peer.status_code == status:
        diagnosis = Diagnosis(
            "service-failing",
            f"The service on {case.check.peer.endpoint} answers {status} itself.",
            "Check the service's log.",
        )
        symptom = f"{case.check.probe.uri} {outcome}, like the service itself"
        finding = build_finding(diagnosis, hop="backend", symptom=symptom, attempt=case.attempt)
        return Verdict(False, outcome, finding)
    else:
        there = f"the service itself answers {peer.status_code if peer else 'differently'}"
        diagnosis = auth_request.diagnosis(case.check, status) or Diagnosis(
            "bad-gateway" if status >= 500 else "wrong-route",
            f"The proxy does not forward this path correctly: {there}.",
            f"Compare {PROXIES[case.site.proxy].words.backend} with the route's upstream and"
            " strip_prefix; the proxy's error log names the address that it tried.",
        )
    symptom = f"{case.check.probe.uri} {outcome}"
    finding = build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=case.attempt)
    return Verdict(False, outcome, finding)


def _health(case: Case) -> Verdict:
    if case.attempt.failure is not None:
        return _failed(case)
    outcome = f"answered {case.status}"
    if 200 <= (case.status or 0) < 400:
        return Verdict(True, outcome)
    diagnosis = Diagnosis(
        "check-failed",
        f"The proxy takes a service out of rotation if it does not answer {case.check.target} with"
        " 2xx or 3xx.",
        "Set health.path to a path that it answers so while it works.",
    )
    symptom = f"{without_secrets(case.check.probe.uri)} {outcome}, not 2xx or 3xx"
    finding = build_finding(diagnosis, hop="backend", symptom=symptom, attempt=case.attempt)
    return Verdict(False, outcome, finding)


# --- shared ---------------------------------------------------------------------------------------


def _failed(case: Case) -> Verdict:
    failure = case.attempt.failure
    finding = finding_of(case.check, case.attempts, proxy=case.site.proxy)
    return Verdict(False, failure.words if failure else finding.symptom, finding)


def _fails_like_prerequisite(case: Case) -> bool:
    """Whether the route's own handshake fails in the same way, and so is the real failure."""
    if case.prerequisite is None or case.prerequisite.main.failure is None:
        return False
    mine, other = case.attempt, case.prerequisite.main
    if mine.status_code is not None:
        return mine.status_code == other.status_code
    return mine.failure is not None and mine.failure.code == case.prerequisite.main.failure.code


def _dependent(case: Case) -> Verdict:
    path = (
        without_secrets(case.check.probe.target) if isinstance(case.check.probe, HttpProbe) else ""
    )
    words = case.attempt.failure.words if case.attempt.failure else f"answered {case.status}"
    return Verdict(False, f"{words}, like the handshake on {path}")


_VERDICTS: dict[Kind, Callable[[Case], Verdict]] = {
    "certificate": _certificate,
    "redirect": _redirect,
    "handshake": _handshake,
    "service": _handshake,
    "health": _health,
    "listed-origin": _listed_origin,
    "foreign-origin": _foreign_origin,
    "no-origin": _no_origin,
    "no-session": _no_session,
    "no-certificate": security.no_certificate,
    "page": _page,
    "entry": _handshake,
    "old-tls": security.old_tls,
    "banner": security.banner,
    "h2c": security.h2c,
    "plain-get": security.plain_get,
    "http2": security.http2,
    "forged": security.forged,
    "public-name": public.name,
    "public-certificate": public.certificate,
    "public-handshake": public.handshake,
    "public-page": public.page,
    "unprobed": _unprobed,
}
