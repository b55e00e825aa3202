"""What outside and inside tell together: pure.

From outside, variants of a request prove what is wrong; on the host, each hop shows where, and its
configuration why. A finding that both have is told once, with all that is known of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployer.diagnose.address import Address
from deployer.diagnose.inside import Inside
from deployer.diagnose.stages import Stage, site_of_stage
from deployer.model import CheckResult, Finding
from deployer.proxies.inspect import Inspection, explained, refused_by_address

#: What checks say where they see that something is wrong, and not what.
_GENERAL = frozenset(
    {
        *("backend-not-websocket", "redirected", "wrong-route", "bad-gateway", "timeout"),
        *("connection-dropped", "not-http", "login-required", "origin-blocked", "check-failed"),
    }
)
_FORBIDDEN = 403
#: What the proxy that clients meet is there to do.
_OF_PROXY = frozenset({"origin-open", "h2c-tunnel", "forwarded-for-appended", "version-banner"})


def merge_results(
    outside: Sequence[CheckResult], inside: Inside, address: Address, inspection: Inspection
) -> tuple[CheckResult, ...]:
    """`outside`, in which `address` was looked at among others, and then what is `inside`."""
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
                inner = _told_once(inner, blamed)
                found[number] = replace(seen, finding=None)
            elif seen.name == "handshake" and seen.ok:
                inner = [_not_let_in(each, outer) for each in inner]
            elif seen.finding is not None:
                found[number] = explained([_placed(seen)], inspection, site=site, port=port)[0]
        found = _each_once(found, inner)
    else:
        found = _without_guesses(found, inner)
    known = {(each.name, each.target) for each in found}
    return (*found, *(each for each in inner if (each.name, each.target) not in known))


def _is_about(result: CheckResult, address: Address) -> bool:
    return result.site == address.name


def _placed(seen: CheckResult) -> CheckResult:
    """What a proxy should have refused, said to be its: it is known to be on this host."""
    finding = seen.finding
    if finding is None or finding.hop != "public" or finding.code not in _OF_PROXY:
        return seen
    return replace(seen, finding=replace(finding, hop="proxy"))


def _only_outside(seen: CheckResult, finding: Finding) -> CheckResult:
    words = "on the host itself, the same handshake succeeds"
    evidence = "\n".join(filter(None, (finding.evidence, words)))
    return replace(seen, finding=replace(finding, evidence=evidence))


def _not_let_in(result: CheckResult, outer: Stage) -> CheckResult:
    """A handshake that clients get through with, and that the host itself is refused: a warning."""
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
        "From outside the same handshake succeeds: either a rule lets in some addresses alone, and"
        " the host's own is none of them, or the name leads to another machine than this one."
    )
    kept = replace(finding, severity="warning", cause=cause)
    return replace(result, ok=True, finding=kept)


def _specific(inner: CheckResult, outer: Finding) -> CheckResult:
    """The inside's result, under the name that the outside has proven, where it has none itself."""
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


def _told_once(inner: Sequence[CheckResult], blamed: int) -> list[CheckResult]:
    """`inner`, in which what the service does by itself is told where it was seen first."""
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


def _each_once(found: Sequence[CheckResult], inner: Sequence[CheckResult]) -> list[CheckResult]:
    """`found` without the findings that the inside has, too: it knows their place."""
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
    """`found` without the findings that could have been what the host now says that it is.

    No proxy of the host serves the address, so that nothing can be asked there; what is wrong with
    the proxies is known all the same.
    """
    known = {each.finding.code for each in inner if each.finding is not None and not each.ok}
    return [
        replace(each, finding=None)
        if each.finding is not None
        and known & {each.finding.code, *(other.code for other in each.finding.alternatives)}
        else each
        for each in found
    ]
