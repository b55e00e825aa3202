"""Explain the findings of checks by faults of the proxy. Pure.

A check's finding names a symptom. A fault of the proxy's configuration replaces it only if it
explains that symptom and is on the path of that request; otherwise the finding stays unchanged: a
wrong cause is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from deployer.model import Alternative, CheckResult, Finding, Hop
from deployer.proxies import PROXIES
from deployer.proxies.inspect.by_proxy import faults, served
from deployer.proxies.inspect.model import Fault, Inspection, ProxyState, Served, fault
from deployer.sites.model import Route, Site, Upstream
from deployer.sites.paths import example_of, rest_of, serving

_TLS_SCHEMES = ("https", "wss")
_MOST_ALTERNATIVES = 4
#: A refusal without further detail may have any cause of one of these.
_ALSO_EXPLAINED_BY: Mapping[str, tuple[str, ...]] = {
    "handshake-refused": ("origin-blocked", "wrong-route"),
    "login-required": ("wrong-route",),
}
#: Symptoms of a wrong service address in the proxy.
_OF_ELSEWHERE = frozenset({"bad-gateway", "wrong-route", "page-instead", "service-down", "timeout"})
#: Symptoms that a line of the proxy's configuration could cause.
_OF_CONFIGURATION = _OF_ELSEWHERE | {
    *("upgrade-not-forwarded", "http-1.0-upstream", "redirected", "slash-redirect"),
    *("redirect-loop", "https-redirect", "origin-blocked", "login-required", "slash-mismatch"),
    "handshake-refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The request that a check sent to a proxy."""

    name: str
    port: int
    path: str
    tls: bool


def explained(
    results: Sequence[CheckResult], inspection: Inspection, *, site: Site, port: int | None = None
) -> tuple[CheckResult, ...]:
    """`results` of one site, with failures explained by the state of the host's proxy.

    `port` is the proxy's, if it is not the default.
    """
    state = inspection.of(site.proxy)
    if state is None:
        return tuple(results)
    reported: set[tuple[str, str, str]] = set()
    found = []
    right = {_question(result) for result in results if result.hop == "proxy" and _is_well(result)}
    for result in results:
        finding = result.finding
        if finding is not None:
            # If the proxy handles the request correctly on its host, the fault is in front of it,
            # or it refuses clients by their address.
            is_elsewhere = result.hop == "public" and _question(result) in right
            if is_elsewhere:
                by_address = refused_by_address(result, inspection, site=site, port=port).finding
                finding = by_address or finding
            else:
                finding = _explained(result, finding, state, site, port)
            key = (finding.code, finding.hop, finding.cause)
            result = replace(result, finding=None if key in reported else finding)
            reported.add(key)
        found.append(result)
    return tuple(found)


def refused_by_address(
    result: CheckResult, inspection: Inspection, *, site: Site, port: int | None = None
) -> CheckResult:
    """`result` of a remote client, explained by a rule for client addresses if there is one."""
    finding, state = result.finding, inspection.of(site.proxy)
    if finding is None or state is None:
        return result
    status = result.handshake.status_code if result.handshake is not None else None
    for each in _faults(state, _request_of(result, site, port)):
        fits = _explains(each, finding.code) and (not each.statuses or status in each.statuses)
        if each.is_by_address and fits:
            return replace(result, finding=_with(finding, each, ()))
    return result


def _is_well(result: CheckResult) -> bool:
    return result.ok and not result.skipped and result.finding is None


def _question(result: CheckResult) -> tuple[str, str]:
    """What identifies the same check at different hops: its name and its request."""
    uri = result.handshake.uri if result.handshake is not None else ""
    return result.name, uri or result.target.partition(" at ")[0]


def noticed(
    inspection: Inspection, *, site: Site, port: int | None = None
) -> tuple[CheckResult, ...]:
    """Faults of the proxy's configuration or state that are reported without a failed check."""
    state = inspection.of(site.proxy)
    if state is None:
        return ()
    found: dict[tuple[str, str], CheckResult] = {}
    for route in site.routes:
        for each in _faults(state, _asked_of(site, example_of(route.path), port)):
            if each.stands_alone and (each.code, each.cause) not in found:
                found[each.code, each.cause] = CheckResult(
                    site=site.domain,
                    name="configuration",
                    target=each.where or route.path,
                    hop="proxy",
                    ok=each.severity != "error",
                    detail=each.cause,
                    finding=_finding_of(each),
                )
    return tuple(found.values())


def _finding_of(fault: Fault) -> Finding:
    return Finding(
        code=fault.code,
        hop="proxy",
        symptom=fault.cause,
        cause=fault.cause,
        fix=fault.fix,
        severity=fault.severity,
        directive=fault.directive,
        file=fault.where,
    )


def _explained(
    result: CheckResult, finding: Finding, state: ProxyState, site: Site, port: int | None
) -> Finding:
    request = _request_of(result, site, port)
    status = result.handshake.status_code if result.handshake is not None else None
    fitting = [
        fault
        for fault in _unintended_faults(state, request, site)
        if _explains(fault, finding.code)
        and (not fault.statuses or status in fault.statuses)
        # A connection that never opened was not closed for being idle.
        and not (fault.code == "idle-cut" and finding.code != "idle-cut" and status != 101)
    ]
    if finding.hop == "backend" or result.hop == "backend":
        astray = next((fault for fault in fitting if fault.is_astray), None)
        if astray is not None:
            return _with(finding, astray, ())
        # The service itself fails; only faults of the proxy with the same code apply.
        fitting = [fault for fault in fitting if fault.code == finding.code and not fault.statuses]
        if not fitting:
            return finding
        hop: Hop = "proxy" if finding.code == "upstream-scheme" else finding.hop
        return replace(_with(finding, fitting[0], ()), hop=hop)
    if fitting:
        first = fitting[0]
        return _with(finding, first, () if first.is_certain else fitting[1:])
    handling = _served(state, request)
    if handling is None or finding.hop != "proxy" or finding.code not in _OF_CONFIGURATION:
        return finding
    wrong = _wrong_address(finding, handling, serving(site.routes, request.path))
    if wrong is not None:
        return _with(finding, wrong, ())
    if not handling.where:
        return finding
    title = PROXIES[state.proxy].title
    words = f"{title} serves it by {handling.where}, which shows no reason for this"
    return replace(finding, evidence="; ".join(filter(None, (finding.evidence, words))))


def _unintended_faults(state: ProxyState, request: _Request, site: Site) -> tuple[Fault, ...]:
    """The faults on the path of a request, except those that the site intends.

    It may intend ``strip_prefix`` and ``proxy_protocol``.
    """
    found = _faults(state, request)
    if site.proxy_protocol:
        found = tuple(fault for fault in found if not fault.is_of_line)
    route = serving(site.routes, request.path)
    if route is None or not route.strip_prefix or not any(fault.is_of_path for fault in found):
        return found
    handling = _served(state, request)
    stripped = rest_of(route, request.path) or "/"
    if handling is None or handling.path_at_service != stripped:
        return found
    return tuple(fault for fault in found if not fault.is_of_path)


def _explains(fault: Fault, symptom: str) -> bool:
    return not fault.explains.isdisjoint({symptom, *_ALSO_EXPLAINED_BY.get(symptom, ())})


def _with(finding: Finding, fault: Fault, others: Iterable[Fault]) -> Finding:
    """`finding` explained by `fault`, with the other faults as alternatives."""
    # A fault without a cause only adds the place: the alternatives remain.
    kept = () if fault.is_certain and fault.cause else finding.alternatives
    alternatives = {each.code: each for each in kept if each.code != fault.code}
    for other in others:
        if other.code != fault.code:
            tell = other.tell or f"{other.cause} {other.fix}"
            alternatives[other.code] = Alternative(code=other.code, tell=tell)
    return replace(
        finding,
        code=fault.code,
        hop="proxy",
        cause=fault.cause or finding.cause,
        fix=fault.fix or finding.fix,
        directive=fault.directive,
        file=fault.where,
        alternatives=tuple(alternatives.values())[:_MOST_ALTERNATIVES],
    )


def _wrong_address(finding: Finding, handling: Served, route: Route | None) -> Fault | None:
    """The fault that the proxy sends the path to a different address than the site's."""
    if finding.code not in _OF_ELSEWHERE or route is None or not route.upstreams:
        return None
    if not handling.upstreams or {*map(str, handling.upstreams)} & {*map(str, route.upstreams)}:
        return None
    there, meant = ", ".join(map(str, handling.upstreams)), ", ".join(map(str, route.upstreams))
    is_scheme = {_address(each) for each in handling.upstreams} & {
        _address(each) for each in route.upstreams
    }
    return fault(
        handling,
        code="upstream-scheme" if is_scheme else "bad-gateway",
        explains=frozenset(),
        cause=f"The proxy sends {handling.path} to {there}, but the service is at {meant}.",
        fix=f"Change {handling.where} to {meant}.",
        is_certain=True,
    )


def _address(upstream: Upstream) -> tuple[str, int, str]:
    return upstream.host, upstream.port, upstream.socket


def _faults(state: ProxyState, request: _Request) -> tuple[Fault, ...]:
    return faults(state, name=request.name, port=request.port, path=request.path, tls=request.tls)


def _served(state: ProxyState, request: _Request) -> Served | None:
    return served(state, name=request.name, port=request.port, path=request.path, tls=request.tls)


def _request_of(result: CheckResult, site: Site, port: int | None) -> _Request:
    """The request to the proxy: the URI of a handshake, or the target of a different check."""
    uri = result.handshake.uri if result.handshake is not None else result.target
    parts = urlsplit(uri if "://" in uri and result.hop != "backend" else "")
    if not parts.hostname:
        words = result.target.split()
        path = words[0] if words and words[0].startswith("/") else "/"
        return _asked_of(site, path, port)
    tls = parts.scheme in _TLS_SCHEMES
    return _Request(
        name=parts.hostname,
        port=port or parts.port or (443 if tls else 80),
        path=parts.path or "/",
        tls=site.has_tls if port else tls,
    )


def _asked_of(site: Site, path: str, port: int | None) -> _Request:
    name = site.domain.replace("*.", "any.", 1)
    usual = site.serving_port
    return _Request(name=name, port=port or usual, path=path.partition("?")[0], tls=site.has_tls)
