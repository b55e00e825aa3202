"""The same WebSocket from the inside: on the host, through its proxy and past it.

The host tells what its proxies have (`deployer.inspection`), so that the way of this very address
is known without anybody's playbook: which proxy takes it, where that sends it, and so on where the
next one is a proxy of this host too. Each stage is then asked itself, the innermost first: the
first one whose neighbour further in does it right is where it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from deployer.diagnose.address import Address
from deployer.diagnose.handshake_variants import HandshakeOptions, h2c, handshake, plain
from deployer.model import CheckResult, Hop, Proxy
from deployer.proxies.inspect import Inspection, ProxyState, Served, explained, noticed, served
from deployer.proxies.inspect.state import certain, possible
from deployer.sites.model import Route, Site, Tls, Upstream
from deployer.verify.net.access import Access
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.spec import Endpoint, HttpProbe, UpgradeProbe
from deployer.verify.run import run_checks

_AnyProbe = TypeVar("_AnyProbe", bound=HttpProbe)

_MOST_STAGES = 4
#: What a proxy answers that speaks TLS to a service that does not, or the other way round.
_OF_SCHEME = frozenset(
    {
        *("bad-gateway", "plain-http-on-https", "wrong-route", "connection-dropped"),
        *("timeout", "service-hangs", "handshake-refused"),
    }
)
#: What a service answers at a path that it does not have.
_OF_PATH = frozenset(
    {"wrong-route", "handshake-refused", "backend-not-websocket", "upgrade-not-forwarded"}
)
_OTHER_PATH = (
    "The proxy asks the service for another path than the client has: the service has no WebSocket"
    " there, and has one at the path that was asked."
)
_NAMES = {"nginx": "nginx", "apache": "Apache", "haproxy": "HAProxy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One proxy on the way: its state, what it is asked at which address, and what it does then.

    `asked` has the client's own name and port: that is what Host and Origin hold all the way.
    """

    state: ProxyState
    asked: Address
    way: Served
    endpoint: Endpoint

    @property
    def uri(self) -> str:
        """What is asked here, by the name and with the port of this stage."""
        if self.endpoint.port == self.asked.port:
            return self.asked.websocket_uri
        scheme = "wss" if self.endpoint.tls else "ws"
        return f"{scheme}://{self.asked.bare_host}:{self.endpoint.port}{self.asked.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What was found on the host: the stages, results, and in words what could not be seen."""

    stages: tuple[Stage, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    notes: tuple[str, ...] = ()


def stages_of(inspection: Inspection, address: Address) -> tuple[Stage, ...]:
    """The proxies that a request for `address` goes through on this host, the outermost first."""
    found: list[Stage] = []
    asked, port, tls = address, address.port, address.is_secure
    while len(found) < _MOST_STAGES:
        stage = _stage(inspection, asked, port=port, tls=tls, is_first=not found)
        if stage is None or any(each.endpoint == stage.endpoint for each in found):
            break
        found.append(stage)
        upstream = stage.way.upstreams[0] if stage.way.upstreams else None
        if upstream is None or upstream.socket or not _is_here(upstream.host):
            break
        asked = asked.at(_with_query(stage.way.path_at_service, asked))
        port, tls = upstream.port, upstream.tls
    return tuple(found)


def _with_query(path: str, asked: Address) -> str:
    _, mark, query = asked.target.partition("?")
    return f"{path}{mark}{query}"


def _stage(
    inspection: Inspection, asked: Address, *, port: int, tls: bool, is_first: bool
) -> Stage | None:
    """The proxy of this host that takes connections at `port`; the first, if it ran."""
    for state in inspection.proxies:
        own = [text for text in state.listeners if text.rpartition(":")[2] == str(port)]
        # Nobody but root sees who listens: then the configuration alone can tell.
        is_there = state.is_running and (bool(own) or (is_first and not state.listeners))
        way = served(state, name=asked.name, port=port, path=asked.path, tls=tls)
        if is_there and way is not None:
            host = way.own_address or _reachable(own, state.proxy)
            endpoint = Endpoint(host=host, port=port, tls=tls)
            if not is_first:  # as the one before it speaks to it, or should
                endpoint = replace(endpoint, proxy_line=way.wants_proxy_line)
            return Stage(state=state, asked=asked, way=way, endpoint=endpoint)
    if not is_first:
        return None
    for state in inspection.proxies:
        # Files that have the port, of a proxy that has not: it has not taken them, or does not run.
        way = served(state, name=asked.name, port=port, path=asked.path, tls=tls)
        is_meant = way is not None and (state.is_running or asked.name in way.names)
        if way is not None and is_meant and (not state.is_running or _is_stale(state)):
            endpoint = Endpoint(host="127.0.0.1", port=port, tls=tls)
            return Stage(state=state, asked=asked, way=way, endpoint=endpoint)
    return None


def _is_stale(state: ProxyState) -> bool:
    """Whether it runs with other files than it has now, as after a reload that it did not take."""
    told = {fault.code for fault in (*certain(state), *possible(state))}
    return bool(told & {"reload-not-taken", "config-invalid"})


def _reachable(listeners: Sequence[str], proxy: Proxy) -> str:
    """The address at which the host itself reaches one of these, its loopback if possible.

    Apache's socket for all IPv6 addresses takes IPv4 as well, which is how most clients come.
    """
    hosts = [text.rpartition(":")[0].strip("[]") for text in listeners]
    if proxy == "apache" and "::" in hosts:
        return "127.0.0.1"
    if not hosts or {"0.0.0.0", "127.0.0.1"} & set(hosts):  # noqa: S104 - compared
        return "127.0.0.1"
    return "::1" if {"::", "::1"} & set(hosts) else hosts[0]


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


# --- asking each stage ----------------------------------------------------------------------------


def diagnose_stages(
    inspection: Inspection,
    address: Address,
    options: HandshakeOptions,
    access: Callable[[], Access],
) -> Inside:
    """Every stage on the host, the innermost first, up to where it breaks.

    `access` makes a way that dials as the host does, with its own time, for each stage. Raises:
    what its dial raises of `DeployerError`.
    """
    stages = stages_of(inspection, address)
    notes = inspection.notes
    if not stages:
        found = tuple(_unserved(inspection, address))
        return Inside(checks=found, notes=(*notes, _nobody(inspection, address)))
    checks: list[CheckResult] = []
    for stage in reversed(stages):
        is_innermost = stage is stages[-1]
        site, results = _of_stage(stage, options, access(), is_innermost=is_innermost)
        better = explained(results, inspection, site=site, port=stage.endpoint.port)
        if not all(result.ok for result in better) and stage is not stages[0]:
            site, outer = _of_stage(stages[0], options, access(), is_innermost=False)
            if outer[0].ok:  # then all behind it is right, as it is asked there
                outer = explained(outer, inspection, site=site, port=stages[0].endpoint.port)
                checks = [*outer, *(_only_straight(each) for each in better), *checks]
                break
        if better[0].ok:
            better = tuple(_only_straight(each) for each in better)
        checks = [*better, *checks]
        if not all(result.ok for result in better):
            break
    told = {each.finding.code for each in checks if each.finding is not None}
    for stage in {stage.state.proxy: stage for stage in stages}.values():
        also = noticed(inspection, site=site_of_stage(stage), port=stage.endpoint.port)
        checks += [each for each in also if each.finding and each.finding.code not in told]
    notes += tuple(
        f"{_NAMES[stage.state.proxy]}: {stage.way.note}" for stage in stages if stage.way.note
    )
    return Inside(stages=stages, checks=tuple(checks), notes=notes)


def _only_straight(result: CheckResult) -> CheckResult:
    """A handshake that fails here alone: asked otherwise, through what is in front, it succeeds."""
    refusal = result.handshake.status_code if result.handshake is not None else None
    is_asked_wrong = result.hop == "proxy" or refusal is not None
    if result.ok or not result.name.startswith("handshake") or not is_asked_wrong:
        return result
    words = f"{result.detail}; through the proxy in front of it, it opens: it was asked otherwise"
    return replace(result, ok=True, skipped=True, detail=words, finding=None)


def _unserved(inspection: Inspection, address: Address) -> Iterator[CheckResult]:
    """What is wrong with the host's proxies where none is known to serve the address."""
    tls = Tls(issuer="provided" if address.is_secure else "none")
    route = Route(path=address.path, match="exact", websocket=True)
    for state in inspection.proxies:
        site = Site(domain=address.name, proxy=state.proxy, tls=tls, routes=(route,))
        yield from noticed(inspection, site=site, port=address.port)


def _nobody(inspection: Inspection, address: Address) -> str:
    running = [_NAMES[state.proxy] for state in inspection.proxies if state.is_running]
    who = ", ".join(running) or "no nginx, Apache or HAProxy"
    return f"on this host runs {who}; nothing there is known to serve {address.uri}"


def site_of_stage(stage: Stage) -> Site:
    """The address as a site of the stage's proxy, for what explains findings."""
    route = Route(
        path=stage.asked.path,
        match="exact",
        websocket=True,
        upstreams=stage.way.upstreams,
        origins=("any",),
    )
    tls = Tls(issuer="provided" if stage.endpoint.tls else "none")
    return Site(domain=stage.asked.name, proxy=stage.state.proxy, tls=tls, routes=(route,))


def _of_stage(
    stage: Stage, options: HandshakeOptions, access: Access, *, is_innermost: bool
) -> tuple[Site, tuple[CheckResult, ...]]:
    """The stage's own checks, with what lies behind it as their peer."""
    upstream = stage.way.upstreams[0] if stage.way.upstreams else None
    behind = _behind(stage, upstream, options, access) if upstream is not None else None
    asked, site, who = stage.asked, site_of_stage(stage), _NAMES[stage.state.proxy]
    probe = replace(_at(handshake(asked, options), stage.endpoint, "proxy"), uri=stage.uri)
    route = site.routes[0]
    planned = [
        PlannedCheck(
            kind="handshake",
            name=f"handshake at {who}",
            target=asked.path,
            hop="proxy",
            probe=probe,
            peer=behind.probe if behind is not None else None,
            plain=behind.plain if behind is not None else None,
            route=route,
        ),
        PlannedCheck(
            kind="h2c",
            name=f"h2c at {who}",
            target=asked.path,
            hop="proxy",
            probe=_at(h2c(asked, options), stage.endpoint, "proxy"),
            peer=_h2c_behind(stage, behind, options) if behind is not None else None,
            prerequisite=0,
            route=route,
        ),
    ]
    if behind is not None and is_innermost:
        planned.append(
            PlannedCheck(
                kind="service",
                name="handshake at service",
                target=f"{behind.probe.target.partition('?')[0]} at {behind.probe.endpoint}",
                hop="backend",
                probe=behind.probe,
                plain=behind.plain,
                route=route,
            )
        )
    results = run_checks(site, tuple(planned), access, patience_s=0.0, age_s=0.0, on_result=None)
    if behind is not None and behind.is_turned:
        results = tuple(_with_turned_scheme(each) for each in results)
    if behind is not None and behind.is_other_path:
        results = tuple(_with_other_path(each) for each in results)
    if behind is not None and behind.is_line_amiss:
        results = tuple(_with_line_amiss(each, stage, behind) for each in results)
    return site, results


def _h2c_behind(stage: Stage, behind: _Behind, options: HandshakeOptions) -> HttpProbe:
    """The same straight at what lies behind: a proxy may speak HTTP/2 in cleartext itself."""
    target = behind.probe.target
    probe = _at(h2c(stage.asked.at(target), options), behind.probe.endpoint, "backend")
    return replace(probe, uri=f"http://{behind.probe.endpoint}{target}")


def _with_turned_scheme(result: CheckResult) -> CheckResult:
    """The service takes the handshake, only not in the way in which the proxy speaks to it."""
    finding = result.finding
    if finding is None or result.hop != "proxy" or result.ok or finding.code not in _OF_SCHEME:
        return result
    return replace(result, finding=replace(finding, code="upstream-scheme"))


def _with_other_path(result: CheckResult) -> CheckResult:
    """The service takes the handshake, only not at the path that the proxy makes of the asked one.

    A refusal that says as much is told as what it is for whoever looks for its line.
    """
    finding = result.finding
    if finding is None or result.hop != "proxy" or result.ok or finding.code not in _OF_PATH:
        return result
    named = replace(finding, code="page-instead", cause=_OTHER_PATH, alternatives=())
    return replace(result, finding=named)


def _with_line_amiss(result: CheckResult, stage: Stage, behind: _Behind) -> CheckResult:
    """The service takes the handshake, but for a PROXY line that it gets, or does not get."""
    finding, to = result.finding, behind.probe.endpoint
    if finding is None or result.ok or result.hop != "proxy":
        return result
    who, where = _NAMES[stage.state.proxy], stage.way.server_where or stage.way.where
    sends = stage.way.sends_proxy_line
    cause = (
        f"{who} begins each connection to {to} with a PROXY line, and what listens there does not"
        " expect one: it takes the line for a broken request."
        if sends
        else f"What listens on {to} expects each connection to begin with a PROXY line, and {who}"
        " sends none."
    )
    fix = (
        "Remove send-proxy from the server line, or let the service accept the PROXY protocol"
        " (nginx: listen … proxy_protocol)."
        if sends
        else "Add send-proxy to HAProxy's server line (nginx and Apache cannot send it over HTTP),"
        " or take proxy_protocol or accept-proxy away from what listens there."
    )
    named = replace(
        finding,
        code="bad-gateway",
        hop="proxy",
        cause=cause,
        fix=fix,
        directive="",
        file=where,
        alternatives=(),
    )
    return replace(result, finding=named)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Behind:
    """What lies behind a stage; `is_turned` where it speaks TLS and the stage does not, or so.

    With `is_other_path`, it is opened at the path that was asked, or at one with its slashes put
    right, and not at the path that the stage makes of it. `is_line_amiss` is where it wants no
    PROXY line and gets one, or wants one and gets none.
    """

    probe: UpgradeProbe
    plain: HttpProbe
    is_turned: bool = False
    is_line_amiss: bool = False
    is_other_path: bool = False


def _behind(stage: Stage, upstream: Upstream, options: HandshakeOptions, access: Access) -> _Behind:
    """The same handshake straight at what the stage sends it to.

    A proxy may change the path, rightly or wrongly. The service is asked for what the proxy makes
    of it; where it has no WebSocket there but on a path that may have been intended, for that one.
    """
    targets = [_with_query(path, stage.asked) for path in _paths(stage)]
    made = [_straight(stage, upstream, target, options) for target in targets]
    opening = next((each for each in made if _opens(each.probe, access)), None)
    if opening is not None:
        return replace(
            opening,
            is_line_amiss=stage.way.sends_proxy_line,
            is_other_path=opening.probe.target != targets[0],
        )
    begun = [_with_proxy_line(each) for each in made]
    opening = next((each for each in begun if _opens(each.probe, access)), None)
    if opening is not None:
        return replace(opening, is_line_amiss=not stage.way.sends_proxy_line)
    other = replace(upstream, tls=not upstream.tls)
    turned = replace(_straight(stage, other, targets[0], options), is_turned=True)
    return turned if _opens(turned.probe, access) else made[0]


def _paths(stage: Stage) -> list[str]:
    """The path that the proxy makes; the client's own; what slashes put right would make."""
    asked, made = stage.asked.path, stage.way.path_at_service
    if made == asked:
        return [made]
    inside = stage.way.match == "prefix" and asked.startswith(stage.way.path)
    rest = asked[len(stage.way.path) :] if inside else asked
    return list(dict.fromkeys((made, asked, re.sub("/{2,}", "/", made), f"/{rest.lstrip('/')}")))


def _with_proxy_line(behind: _Behind) -> _Behind:
    endpoint = replace(behind.probe.endpoint, proxy_line=True)
    return replace(
        behind,
        probe=replace(behind.probe, endpoint=endpoint),
        plain=replace(behind.plain, endpoint=endpoint),
    )


def _opens(probe: UpgradeProbe, access: Access) -> bool:
    attempt: Attempt = attempt_upgrade(probe, access)
    return attempt.status_code == 101


def _straight(stage: Stage, upstream: Upstream, target: str, options: HandshakeOptions) -> _Behind:
    endpoint = Endpoint(
        host=upstream.host, port=upstream.port, socket=upstream.socket, tls=upstream.tls
    )
    asked = stage.asked.at(target)
    forwarded = _forwarded(stage.asked)
    probe = _at(handshake(asked, options), endpoint, "backend")
    page = _at(plain(asked, options), endpoint, "backend")
    scheme = "wss" if endpoint.tls else "ws"
    return _Behind(
        probe=replace(
            probe, uri=f"{scheme}://{endpoint}{target}", headers=(*probe.headers, *forwarded)
        ),
        plain=replace(page, headers=(*page.headers, *forwarded)),
    )


def _forwarded(asked: Address) -> tuple[tuple[str, str], ...]:
    """What a proxy should tell: an app that forces HTTPS redirects without it."""
    return (
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https" if asked.is_secure else "http"),
        ("X-Forwarded-Host", asked.host),
    )


def _at(probe: _AnyProbe, endpoint: Endpoint, hop: Hop) -> _AnyProbe:
    return replace(probe, endpoint=endpoint, hop=hop)
