"""What the checks by DNS from here mean, beside the same on the host itself. Pure.

    address       there              on the host     said of it
    the host's    fails              passes          it is between here and the host
    the host's    fails              fails           nothing more: the nearer hop has the finding
    another       passes             whatever        something in front of the host answers
    another       as the service     passes          something in front of it loses the upgrade
                  without upgrade
    another       fails otherwise    whatever        skipped, with a warning; an error where
                                                     the name leads to the host, too
    no way there from here           whatever        skipped
    no address                       whatever        skipped

A host behind NAT does not know its own address: where it shows the very certificate that the proxy
shows, it is the host, too.
"""

from __future__ import annotations

from deployer.model import Alternative, Finding, Severity
from deployer.proxies import words as proxy_words
from deployer.verify.judge import causes
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.responsible_hop import build_finding, symptom_of
from deployer.verify.judge.statuses import (
    REDIRECTS,
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
    """What a name leads to. That it does not resolve yet is a reason to skip, and no mistake."""
    assert isinstance(case.check.probe, NameProbe)  # noqa: S101 - its kind says so
    lookup = case.check.probe.lookup
    if lookup.addresses:
        given = " (as --resolve says)" if lookup.is_overridden else ""
        return Verdict(True, f"{', '.join(lookup.addresses)}{given}")
    words = f"{lookup.name} {lookup.problem}"
    if case.prerequisite is None or case.prerequisite.main.failure is not None:
        return Verdict(True, words, is_skipped=True)
    diagnosis = Diagnosis(
        "name-unresolved",
        f"{case.site.domain} resolves, and this other name of the site does not: whoever uses it"
        " does not get here.",
        "Make its A or AAAA record (or a CNAME) lead where the main name leads, or take it out of"
        " aliases.",
    )
    return _warned(case, words, diagnosis)


def certificate(case: Case) -> Verdict:
    """The certificate that strangers are shown; a CDN has one of its own."""
    failure, peer = case.attempt.failure, case.attempts.peer
    if failure is None:
        return Verdict(True, _with_place(case, case.attempt.note))
    if peer is not None and peer.failure is None:
        return Verdict(True, _with_place(case, f"{peer.note}, trusted by this system"))
    return _failed(case, failure)


def handshake(case: Case) -> Verdict:
    """A handshake as everybody makes it."""
    failure = case.attempt.failure
    if failure is None:
        return Verdict(True, _with_place(case, handshake_words(case.attempt)))
    prerequisite = case.prerequisite.main if case.prerequisite else None
    wants_login = case.check.route is not None and case.check.route.login
    if wants_login and prerequisite is not None and is_same_answer(case.attempt, prerequisite):
        return Verdict(True, f"{failure.words}, as on the host: nobody has logged in")
    return _failed(case, failure)


def page(case: Case) -> Verdict:
    """A page as everybody gets it: the same status as on the host."""
    failure, status = case.attempt.failure, case.attempt.status_code
    if failure is not None:
        return _failed(case, failure)
    prerequisite = case.prerequisite.main if case.prerequisite else None
    if prerequisite is None or prerequisite.status_code == status:
        return Verdict(True, _with_place(case, f"answered {status}"))
    if status is not None and status < 400 and not _is_hosts(case):
        return Verdict(True, f"answered {status}, {_IN_FRONT}")
    words = f"answered {status}, and {prerequisite.status_code} on the host"
    return _failed(case, Failure("status", words))


# --- shared ---------------------------------------------------------------------------------------


def _failed(case: Case, failure: Failure) -> Verdict:
    address = _address(case)
    if failure.code == "refused":  # nobody there, or a firewall: from here, both look alike
        failure = Failure("refused", "refuses connections")
    if failure.code == "no-way":
        return Verdict(True, f"{address.text}: there is no way to it from here", is_skipped=True)
    if _is_hosts(case):
        if case.prerequisite is not None and case.prerequisite.main.failure is not None:
            return Verdict(False, f"{failure.words}, as on the host itself")
        if _door_is_shut(case):
            return Verdict(False, f"{failure.words}, as the certificate's check says")
        diagnosis = _on_the_way(case, failure)
        finding = _found(case, failure, diagnosis)
        return Verdict(False, failure.words, finding)
    if address.owner:
        words = f"{failure.words}; {address.text} is {address.owner}'s, whose own checks tell more"
        return Verdict(True, words, is_skipped=True)
    if _is_of_the_service(case):
        return Verdict(False, failure.words, _found(case, failure, _loses_upgrade(case)))
    return _elsewhere(case, failure)


def _is_hosts(case: Case) -> bool:
    """Whether the address is the host's, by what is known or by the certificate that it shows."""
    if _address(case).is_known:
        return True
    there = case.address_certificate.main if case.address_certificate else case.attempt
    here = case.host_certificate.main.facts if case.host_certificate else {}
    shown = there.facts.get("sha256")
    return shown is not None and here.get("sha256") == shown


def _door_is_shut(case: Case) -> bool:
    """Whether nobody answers at the address at all: the certificate's check has said so."""
    address_certificate = (
        case.address_certificate.main.failure if case.address_certificate else None
    )
    mine = case.attempt.failure
    return (
        address_certificate is not None
        and mine is not None
        and address_certificate.code == mine.code
    )


def _is_of_the_service(case: Case) -> bool:
    """Whether it is this host's service that answers, and sees no upgrade."""
    plain = case.attempts.plain
    return (
        plain is not None
        and bool(plain.answer.body)
        and is_same_answer(case.attempt, plain)
        and (case.prerequisite is None or case.prerequisite.main.failure is None)
    )


def _on_the_way(case: Case, failure: Failure) -> Diagnosis:
    """The host does it right on its own loopback, and not at its address."""
    address, proxy = _address(case), case.site.proxy
    at = f"{address.text} port {address.port}"
    if failure.code in UNCONNECTED:
        refused = failure.code == "refused"
        how = "refuses connections" if refused else "does not answer"
        why = (
            "the proxy does not listen on that address, or a firewall refuses"
            if refused
            else "a firewall on the way or of the provider's drops what comes from here"
        )
        return Diagnosis(
            "unreachable-from-here",
            f"On the host itself the proxy answers; from here, {at} {how}: {why}.",
            f"Open port {address.port} in the host's firewall and in the provider's (security"
            f" group), and let the proxy listen on all addresses; `ss -ltnp` on the host shows"
            " where it listens.",
        )
    if failure.code.startswith("tls-") or failure.code == "no-tls":
        known = causes.certificate_diagnosis(failure, proxy=proxy, issuer=case.site.tls.issuer)
        code = "tls-not-spoken" if failure.code == "no-tls" else failure.code
        is_chain = failure.code in causes.CERTIFICATE_FAILURES
        return Diagnosis(
            known.code if is_chain else "tls-failed" if code == "tls-closed" else code,
            f"On the host's loopback the same name gets a right certificate, at {at} it does not:"
            " another server answers at that address (one that listens there alone), or the"
            " connection is forwarded or read on the way.",
            f"Look who listens on {at} (`ss -ltnp`), at the proxy's listen addresses, and at"
            " forwarding on the way.",
        )
    refuses = "answers or filters"
    if case.attempt.status_code in (401, 403):
        refuses += ", or a rule by the client's address (allow and deny, Require ip) keeps us out"
    return Diagnosis(
        _code_of_status(case, failure),
        f"On the host's loopback the same succeeds, at {at} it does not: another site of the proxy"
        f" takes that address, something between here and the host {refuses}.",
        f"Look who listens on {at}, which site the proxy chooses for that address"
        f" ({proxy_words.BACKEND[proxy]}), and at filters between here and the host.",
    )


def _code_of_status(case: Case, failure: Failure) -> str:
    status = case.attempt.status_code
    if failure.code != "status":
        return causes.general_code(failure)
    if status in REDIRECTS:
        return redirect_kind(asked_url(case.check.probe), location_of(case.attempt))
    if status in (502, 503, 504):
        return "bad-gateway"
    if _is_of_the_service(case) or status == 426:
        return "upgrade-not-forwarded"
    return "wrong-route"


def _loses_upgrade(case: Case) -> Diagnosis:
    address = _address(case).text
    return Diagnosis(
        "upgrade-not-forwarded",
        f"{address} is not one of the host's addresses, and answers what this host's service"
        " answers to a request without an upgrade: a load balancer or CDN in front of the host"
        " passes requests on, and not Upgrade and Connection.",
        "Turn WebSockets on there, or let the name lead to the host itself.",
        (
            Alternative(
                code="name-elsewhere",
                tell=f"no request of yours shows up in this host's access log: {address} is a"
                " machine of its own, with the same service",
            ),
        ),
    )


def _elsewhere(case: Case, failure: Failure) -> Verdict:
    """Another machine, as far as one can see from here."""
    address = _address(case)
    known = ", ".join(address.known) or "none that is known here"
    unreached = failure.code in UNCONNECTED
    diagnosis = Diagnosis(
        "name-elsewhere",
        f"{case.site.domain} leads to {address.text}, which is not one of this host's addresses"
        f" ({known}), and "
        + ("nobody answers there." if unreached else "does not answer as this site does."),
        "Once this host shall serve the name, make its A and AAAA records lead here; a forgotten"
        " AAAA record is the usual case. Before that, --resolve NAME:PORT:ADDRESS asks the host.",
        (
            Alternative(
                code="unreachable-from-here",
                tell=f"{address.text} is the outer address of a router or provider in front of the"
                " host (NAT), whose firewall or forwarding does not let this through",
            ),
        )
        if unreached
        else (
            Alternative(
                code="wrong-route",
                tell=f"{address.text} is a load balancer or CDN in front of this host: then its"
                " settings for this name are wrong",
            ),
        ),
    )
    words = f"{failure.words}; {address.text} is not this host's"
    if address.is_mixed:
        return Verdict(False, words, _found(case, failure, diagnosis))
    return _warned(case, words, diagnosis, is_skipped=True)


def _warned(case: Case, words: str, diagnosis: Diagnosis, *, is_skipped: bool = False) -> Verdict:
    failure = case.attempt.failure or Failure("status", words)
    finding = _found(case, failure, diagnosis, severity="warning")
    return Verdict(True, words, finding, is_skipped)


def _found(
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
    assert case.check.address is not None  # noqa: S101 - every public check but a name's has one
    return case.check.address
