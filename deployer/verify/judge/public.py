"""Judge the checks through public DNS, compared with the same checks on the host. Pure.

    address       from here          on the host     verdict
    the host's    fails              passes          the fault is between here and the host
    the host's    fails              fails           none: the nearer hop has the finding
    other         passes             any             something in front of the host answers
    other         like the service   passes          something in front of it loses the upgrade
                  without upgrade
    other         fails otherwise    any             skipped, with a warning; an error if the
                                                     name also resolves to the host
    no route from here               any             skipped
    no address                       any             skipped

A host behind NAT does not know its public address: an address that presents the proxy's own
certificate also counts as the host's.
"""

from __future__ import annotations

from deployer.model import Alternative, Finding, Severity
from deployer.proxies import PROXIES
from deployer.verify.judge import auth_request, causes, refusals
from deployer.verify.judge.causes import REDIRECTS, Diagnosis
from deployer.verify.judge.responsible_hop import build_finding, symptom_of
from deployer.verify.judge.statuses import (
    asked_url,
    is_same_answer,
    location_of,
    redirect_kind,
)
from deployer.verify.judge.verdict import Case, Verdict, handshake_words
from deployer.verify.planned.model import Address
from deployer.verify.probe.attempt import UNCONNECTED, Failure
from deployer.verify.probe.spec import NameProbe

_IN_FRONT = "by something in front of the host"


def name(case: Case) -> Verdict:
    """Judge a name lookup; a name that does not resolve yet is skipped and not an error."""
    assert isinstance(case.check.probe, NameProbe)  # noqa: S101 - its kind says so
    lookup = case.check.probe.lookup
    if lookup.addresses:
        given = " (from --resolve)" if lookup.is_overridden else ""
        return Verdict(True, f"{', '.join(lookup.addresses)}{given}")
    words = f"{lookup.name} {lookup.problem}"
    if case.prerequisite is None or case.prerequisite.main.failure is not None:
        return Verdict(True, words, is_skipped=True)
    diagnosis = Diagnosis(
        "name-unresolved",
        f"{case.site.domain} resolves, but this alias of the site does not: clients that use it do"
        " not reach the site.",
        "Point its A or AAAA record (or a CNAME) to the same address as the main name, or remove it"
        " from aliases.",
    )
    return _warned(case, words, diagnosis)


def certificate(case: Case) -> Verdict:
    """Judge the certificate that clients get; a CDN has its own."""
    failure, peer = case.attempt.failure, case.attempts.peer
    if failure is None:
        return Verdict(True, _with_place(case, case.attempt.note))
    if peer is not None and peer.failure is None:
        return Verdict(True, _with_place(case, f"{peer.note}, trusted by this system"))
    return _failed(case, failure)


def handshake(case: Case) -> Verdict:
    """Judge a handshake as clients make it."""
    failure = case.attempt.failure
    if failure is None:
        return Verdict(True, _with_place(case, handshake_words(case.attempt)))
    prerequisite = case.prerequisite.main if case.prerequisite else None
    if (
        prerequisite is not None
        and refusals.is_refusal(case.check, prerequisite)
        and refusals.is_same_refusal(case.attempt, prerequisite)
    ):
        return Verdict(True, f"{failure.words}, like on the host")
    if (
        prerequisite is not None
        and auth_request.is_asked_to_log_in(case.check, case.attempt)
        and prerequisite.status_code == case.attempt.status_code
    ):
        return Verdict(True, f"{failure.words}, like on the host")
    return _failed(case, failure)


def page(case: Case) -> Verdict:
    """Judge a page as clients get it: its status should be the same as on the host."""
    failure, status = case.attempt.failure, case.attempt.status_code
    if failure is not None:
        return _failed(case, failure)
    prerequisite = case.prerequisite.main if case.prerequisite else None
    if prerequisite is None or prerequisite.status_code == status:
        return Verdict(True, _with_place(case, f"answered {status}"))
    if status is not None and status < 400 and not _is_hosts(case):
        return Verdict(True, f"answered {status}, {_IN_FRONT}")
    words = f"answered {status}, but {prerequisite.status_code} on the host"
    return _failed(case, Failure("status", words))


# --- shared ---------------------------------------------------------------------------------------


def _failed(case: Case, failure: Failure) -> Verdict:
    address = _address(case)
    if failure.code == "refused":  # no process or a firewall: both look alike from here
        failure = Failure("refused", "refuses connections")
    if failure.code == "no-way":
        words = f"{address.text}: this machine has no route to it"
        return Verdict(True, words, is_skipped=True)
    if _is_hosts(case):
        if case.prerequisite is not None and case.prerequisite.main.failure is not None:
            return Verdict(False, f"{failure.words}, like on the host itself")
        if _fails_like_certificate(case):
            return Verdict(False, f"{failure.words}, like the certificate check")
        diagnosis = _between_here_and_host(case, failure)
        finding = _build(case, failure, diagnosis)
        return Verdict(False, failure.words, finding)
    if address.owner:
        words = f"{failure.words}; {address.text} belongs to {address.owner}, which is checked too"
        return Verdict(True, words, is_skipped=True)
    if _is_service_without_upgrade(case):
        return Verdict(False, failure.words, _build(case, failure, _loses_upgrade(case)))
    return _elsewhere(case, failure)


def _is_hosts(case: Case) -> bool:
    """Whether the address is the host's, because it is known or by its certificate."""
    if _address(case).is_known:
        return True
    there = case.address_certificate.main if case.address_certificate else case.attempt
    here = case.host_certificate.main.facts if case.host_certificate else {}
    shown = there.facts.get("sha256")
    return shown is not None and here.get("sha256") == shown


def _fails_like_certificate(case: Case) -> bool:
    """Whether the address fails in the same way as its certificate check, which has the finding."""
    address_certificate = (
        case.address_certificate.main.failure if case.address_certificate else None
    )
    mine = case.attempt.failure
    return (
        address_certificate is not None
        and mine is not None
        and address_certificate.code == mine.code
    )


def _is_service_without_upgrade(case: Case) -> bool:
    """Whether this host's service answers and does not see the upgrade."""
    plain = case.attempts.plain
    return (
        plain is not None
        and bool(plain.answer.body)
        and is_same_answer(case.attempt, plain)
        and (case.prerequisite is None or case.prerequisite.main.failure is None)
    )


def _between_here_and_host(case: Case, failure: Failure) -> Diagnosis:
    """Diagnose a check that passes on the host's loopback but not at its address."""
    address, proxy = _address(case), case.site.proxy
    at = f"{address.text} port {address.port}"
    if case.site.proxy_protocol and failure.code not in UNCONNECTED:
        return Diagnosis(
            "connection-dropped",
            f"{case.site.domain} leads directly to the host, but {at} serves only connections of"
            " the site's trusted_proxies, which begin with a PROXY header.",
            "Point the name at the balancer in front of the host, or remove proxy_protocol from the"
            " sites of this port.",
        )
    if failure.code in UNCONNECTED:
        refused = failure.code == "refused"
        how = "refuses connections" if refused else "does not answer"
        why = (
            "the proxy does not listen on that address, or a firewall rejects connections"
            if refused
            else "a firewall on the path or at the provider drops packets from here"
        )
        return Diagnosis(
            "unreachable-from-here",
            f"On the host itself the proxy answers; from here, {at} {how}: {why}.",
            f"Open port {address.port} in the host's firewall and in the provider's (security"
            f" group), and make the proxy listen on all addresses; `ss -ltnp` on the host shows"
            " where it listens.",
        )
    if failure.code.startswith("tls-") or failure.code == "no-tls":
        known = causes.certificate_diagnosis(failure, proxy=proxy, issuer=case.site.tls.issuer)
        code = "tls-not-spoken" if failure.code == "no-tls" else failure.code
        is_chain = failure.code in causes.CERTIFICATE_FAILURES
        return Diagnosis(
            known.code if is_chain else "tls-failed" if code == "tls-closed" else code,
            f"On the host's loopback this name gets a valid certificate, but not at {at}: a"
            " different server listens on that address only, or the connection is forwarded or"
            " intercepted.",
            f"Check which process listens on {at} (`ss -ltnp`), the proxy's listen addresses, and"
            " forwarding on the path.",
        )
    reason = "answers or filters"
    if case.attempt.status_code in (401, 403):
        reason += ", or a rule on the client's address (allow and deny, Require ip) refuses us"
    return Diagnosis(
        _code_of_status(case, failure),
        f"The same check succeeds on the host's loopback, but not at {at}: a different site of the"
        f" proxy takes that address, or something between here and the host {reason}.",
        f"Check which process listens on {at}, which site the proxy selects for that address"
        f" ({PROXIES[proxy].words.backend}), and filters between here and the host.",
    )


def _code_of_status(case: Case, failure: Failure) -> str:
    status = case.attempt.status_code
    if failure.code != "status":
        return causes.general_code(failure)
    if status in REDIRECTS:
        return redirect_kind(asked_url(case.check.probe), location_of(case.attempt))
    if status in (502, 503, 504):
        return "bad-gateway"
    if _is_service_without_upgrade(case) or status == 426:
        return "upgrade-not-forwarded"
    return "wrong-route"


def _loses_upgrade(case: Case) -> Diagnosis:
    address = _address(case).text
    return Diagnosis(
        "upgrade-not-forwarded",
        f"{address} is not one of the host's addresses, and answers like this host's service"
        " without an upgrade: a load balancer or CDN in front of the host forwards requests, but"
        " not Upgrade and Connection.",
        "Enable WebSockets there, or point the name at the host itself.",
        (
            Alternative(
                code="name-elsewhere",
                tell=f"your requests do not appear in this host's access log: {address} is a"
                " separate machine with the same service",
            ),
        ),
    )


def _elsewhere(case: Case, failure: Failure) -> Verdict:
    """Judge an address that belongs to a different machine, as far as can be seen from here."""
    address = _address(case)
    known = ", ".join(address.known) or "none known here"
    unreached = failure.code in UNCONNECTED
    diagnosis = Diagnosis(
        "name-elsewhere",
        f"{case.site.domain} resolves to {address.text}, which is not one of this host's addresses"
        f" ({known}), and "
        + ("no server answers there." if unreached else "does not answer like this site."),
        "When this host should serve the name, point its A and AAAA records here (an old AAAA"
        " record is the usual cause). Until then, use --resolve NAME:PORT:ADDRESS.",
        (
            Alternative(
                code="unreachable-from-here",
                tell=f"{address.text} is the public address of a router or provider in front of"
                " the host (NAT), whose firewall or forwarding blocks this",
            ),
        )
        if unreached
        else (
            Alternative(
                code="wrong-route",
                tell=f"{address.text} is a load balancer or CDN in front of this host, with wrong"
                " settings for this name",
            ),
        ),
    )
    words = f"{failure.words}; {address.text} is not this host's"
    if address.is_mixed:
        return Verdict(False, words, _build(case, failure, diagnosis))
    return _warned(case, words, diagnosis, is_skipped=True)


def _warned(case: Case, words: str, diagnosis: Diagnosis, *, is_skipped: bool = False) -> Verdict:
    failure = case.attempt.failure or Failure("status", words)
    finding = _build(case, failure, diagnosis, severity="warning")
    return Verdict(True, words, finding, is_skipped)


def _build(
    case: Case, failure: Failure, diagnosis: Diagnosis, *, severity: Severity = "error"
) -> Finding:
    at = "" if case.check.address is None else f" at {case.check.address.text}"
    symptom = symptom_of(case.check, failure)
    if failure.code not in UNCONNECTED:
        symptom = symptom.replace(" ", f"{at} ", 1)
    return build_finding(
        diagnosis, hop="public", symptom=symptom, attempt=case.attempt, severity=severity
    )


def _with_place(case: Case, words: str) -> str:
    if _is_hosts(case):
        return words
    return f"{words}; {_IN_FRONT}"


def _address(case: Case) -> Address:
    assert case.check.address is not None  # noqa: S101 - all public checks but lookups have one
    return case.check.address
