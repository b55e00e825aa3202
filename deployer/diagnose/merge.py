"""Merge the results from outside and inside. Pure.

From outside, variants of a request prove what is wrong; on the host, each hop shows where, and its
configuration why. A finding of both is reported once, with everything known about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployer.diagnose.inside import Inside
from deployer.diagnose.stages import Stage, site_of_stage
from deployer.model import CheckResult, Finding
from deployer.proxies.inspect import Inspection, explained, refused_by_address
from deployer.verify.net.address import Address

#: Codes of findings that say that something is wrong, but not what.
_GENERAL = frozenset(
    {
        *("backend-not-websocket", "redirected", "wrong-route", "bad-gateway", "timeout"),
        *("connection-dropped", "not-http", "login-required", "origin-blocked", "check-failed"),
    }
)
_FORBIDDEN = 403
#: Findings about checks that the outermost proxy should make.
_OF_PROXY = frozenset({"origin-open", "h2c-tunnel", "forwarded-for-appended", "version-banner"})


def merge_results(
    outside: Sequence[CheckResult], inside: Inside, address: Address, inspection: Inspection
) -> tuple[CheckResult, ...]:
    """Return the results of `outside`, which include `address`, followed by those of `inside`."""
    found = list(outside)
    inner = list(inside.checks)
    if inside.stages:
        outer = inside.stages[0]
        site, port = site_of_stage(outer), outer.endpoint.port
        mine = [number for number, each in enumerate(found) if _is_about(each, address)]
        blamed = next(
            (number for number, each in enumerate(inner) if not each.ok and each.finding), None
        )
        for number in mine:
            seen = found[number]
            if seen.name == "handshake" and not seen.ok and seen.finding is not None:
                if blamed is None:
                    alone = _only_outside(seen, seen.finding)
                    found[number] = refused_by_address(alone, inspection, site=site, port=port)
                    continue
                named = _specific(inner[blamed], seen.finding)
                if named is not inner[blamed]:
                    inner[blamed] = explained([named], inspection, site=site, port=port)[0]
                inner = _without_repeated_service_findings(inner, blamed)
                found[number] = replace(seen, finding=None)
            elif seen.name == "handshake" and seen.ok:
                inner = [_warning_if_only_inside(each, outer) for each in inner]
            elif seen.finding is not None:
                located = _with_proxy_hop(seen)
                found[number] = explained([located], inspection, site=site, port=port)[0]
        found = _without_findings_of_inside(found, inner)
    else:
        found = _without_guesses(found, inner)
    known = {(each.name, each.target) for each in found}
    return (*found, *(each for each in inner if (each.name, each.target) not in known))


def _is_about(result: CheckResult, address: Address) -> bool:
    return result.site == address.name


def _with_proxy_hop(seen: CheckResult) -> CheckResult:
    """Attribute a finding that a proxy should have prevented to the proxy on this host."""
    finding = seen.finding
    if finding is None or finding.hop != "public" or finding.code not in _OF_PROXY:
        return seen
    return replace(seen, finding=replace(finding, hop="proxy"))


def _only_outside(seen: CheckResult, finding: Finding) -> CheckResult:
    words = "on the host itself, the same handshake succeeds"
    evidence = "\n".join(filter(None, (finding.evidence, words)))
    return replace(seen, finding=replace(finding, evidence=evidence))


def _warning_if_only_inside(result: CheckResult, outer: Stage) -> CheckResult:
    """Turn a handshake that fails only from the host itself into a warning."""
    finding, answer = result.finding, result.handshake
    is_outer = result.name.startswith("handshake at ") and result.target == outer.asked.path
    if finding is None or result.ok or result.hop != "proxy" or not is_outer:
        return result
    if outer.served.wants_proxy_line:
        words = f"{result.detail}; what is in front of it sends a PROXY line"
        return replace(result, ok=True, skipped=True, detail=words, finding=None)
    if answer is None or answer.status_code != _FORBIDDEN:
        return result
    cause = (
        "From outside, the same handshake succeeds: either a rule admits only some addresses, but"
        " not the host's own, or the name resolves to a different machine."
    )
    kept = replace(finding, severity="warning", cause=cause)
    return replace(result, ok=True, finding=kept)


def _specific(inner: CheckResult, outer: Finding) -> CheckResult:
    """Give a general finding of the inside the specific code that the outside has proven."""
    finding = inner.finding
    is_proven = finding is not None and finding.code in _GENERAL and outer.code not in _GENERAL
    if finding is None or not is_proven or finding.file:
        return inner
    return replace(
        inner,
        finding=replace(
            outer,
            hop=finding.hop,
            symptom=finding.symptom,
            evidence=outer.evidence or finding.evidence,
        ),
    )


def _without_repeated_service_findings(
    inner: Sequence[CheckResult], blamed: int
) -> list[CheckResult]:
    """Report a fault of the service only at the first result that shows it."""
    first = inner[blamed].finding
    return [
        replace(each, finding=None)
        if number > blamed
        and each.hop == "backend"
        and first is not None
        and first.hop == "backend"
        else each
        for number, each in enumerate(inner)
    ]


def _without_findings_of_inside(
    found: Sequence[CheckResult], inner: Sequence[CheckResult]
) -> list[CheckResult]:
    """Drop findings that the inside also has, because it knows their location."""
    known = {each.finding.code for each in inner if each.finding is not None}
    return [
        replace(each, finding=None)
        if each.finding is not None and each.finding.code in known
        else each
        for each in found
    ]


def _without_guesses(
    found: Sequence[CheckResult], inner: Sequence[CheckResult]
) -> list[CheckResult]:
    """Drop findings whose alternatives include a fault that was found on the host.

    No proxy of the host serves the address, so no request can be made there, but the faults of the
    proxies are known.
    """
    known = {each.finding.code for each in inner if each.finding is not None and not each.ok}
    return [
        replace(each, finding=None)
        if each.finding is not None
        and known & {each.finding.code, *(other.code for other in each.finding.alternatives)}
        else each
        for each in found
    ]
