"""Diagnose a WebSocket from the inside: on the host, through its proxies and directly.

The host reports the configuration of its proxies (`deployer.proxies.inspect`), so the path of a
request is known without a playbook: which proxy accepts it, where that sends it, and so on if the
next one is also a proxy of this host. Each stage is then probed, the innermost first: the fault is
at the first stage that fails while the next one further in works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from deployer.diagnose.backend import (
    at_endpoint,
    backend_of,
    h2c_to_backend,
    with_mismatch_explained,
)
from deployer.diagnose.handshake_variants import HandshakeOptions, h2c, handshake
from deployer.diagnose.stages import Stage, site_of_stage, stages_of
from deployer.model import CheckResult
from deployer.proxies import PROXIES
from deployer.proxies.inspect import Inspection, explained, noticed
from deployer.sites.model import Route, Site, Tls
from deployer.verify.net.access import Access
from deployer.verify.net.address import Address
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.run import run_checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The findings on the host: stages, results, and notes about what could not be inspected."""

    stages: tuple[Stage, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    notes: tuple[str, ...] = ()


def diagnose_stages(
    inspection: Inspection,
    address: Address,
    options: HandshakeOptions,
    access: Callable[[], Access],
) -> Inside:
    """Probe every stage on the host, the innermost first, up to the one at fault.

    `access` returns, for each stage, an access that dials from the host with a new time limit.
    Raises: any `DeployerError` from its dial.
    """
    stages = stages_of(inspection, address)
    notes = inspection.notes
    if not stages:
        found = tuple(_unserved(inspection, address))
        return Inside(checks=found, notes=(*notes, _unserved_note(inspection, address)))
    checks: list[CheckResult] = []
    for stage in reversed(stages):
        is_innermost = stage is stages[-1]
        site, results = _probe_stage(stage, options, access(), is_innermost=is_innermost)
        better = explained(results, inspection, site=site, port=stage.endpoint.port)
        if not all(result.ok for result in better) and stage is not stages[0]:
            site, outer = _probe_stage(stages[0], options, access(), is_innermost=False)
            if outer[0].ok:  # then every stage behind it works, as it is asked there
                outer = explained(outer, inspection, site=site, port=stages[0].endpoint.port)
                checks = [*outer, *(_skipped_if_direct(each) for each in better), *checks]
                break
        if better[0].ok:
            better = tuple(_skipped_if_direct(each) for each in better)
        checks = [*better, *checks]
        if not all(result.ok for result in better):
            break
    codes = {each.finding.code for each in checks if each.finding is not None}
    for stage in {stage.state.proxy: stage for stage in stages}.values():
        also = noticed(inspection, site=site_of_stage(stage), port=stage.endpoint.port)
        checks += [each for each in also if each.finding and each.finding.code not in codes]
    notes += tuple(
        f"{PROXIES[stage.state.proxy].title}: {stage.served.note}"
        for stage in stages
        if stage.served.note
    )
    return Inside(stages=stages, checks=tuple(checks), notes=notes)


def _skipped_if_direct(result: CheckResult) -> CheckResult:
    """Skip a handshake that fails only directly: through the proxy in front of it, it succeeds."""
    refusal = result.handshake.status_code if result.handshake is not None else None
    is_asked_differently = result.hop == "proxy" or refusal is not None
    if result.ok or not result.name.startswith("handshake") or not is_asked_differently:
        return result
    words = f"{result.detail}; through the proxy in front of it, the handshake succeeds"
    return replace(result, ok=True, skipped=True, detail=words, finding=None)


def _unserved(inspection: Inspection, address: Address) -> Iterator[CheckResult]:
    """Report faults of the host's proxies when none of them serves the address."""
    tls = Tls(issuer="provided" if address.is_secure else "none")
    route = Route(path=address.path, match="exact", websocket=True)
    for state in inspection.proxies:
        site = Site(domain=address.name, proxy=state.proxy, tls=tls, routes=(route,))
        yield from noticed(inspection, site=site, port=address.port)


def _unserved_note(inspection: Inspection, address: Address) -> str:
    running = [PROXIES[state.proxy].title for state in inspection.proxies if state.is_running]
    who = ", ".join(running) or "no known proxy"
    return f"this host runs {who}; no site there serves {address.uri}"


def _probe_stage(
    stage: Stage, options: HandshakeOptions, access: Access, *, is_innermost: bool
) -> tuple[Site, tuple[CheckResult, ...]]:
    """Run the checks of a stage, with its backend as their peer."""
    backend = backend_of(stage, options, access)
    asked, site, who = stage.asked, site_of_stage(stage), PROXIES[stage.state.proxy].title
    probe = replace(at_endpoint(handshake(asked, options), stage.endpoint, "proxy"), uri=stage.uri)
    route = site.routes[0]
    planned = [
        PlannedCheck(
            kind="handshake",
            name=f"handshake at {who}",
            target=asked.path,
            hop="proxy",
            probe=probe,
            peer=backend.probe if backend is not None else None,
            plain=backend.plain if backend is not None else None,
            route=route,
        ),
        PlannedCheck(
            kind="h2c",
            name=f"h2c at {who}",
            target=asked.path,
            hop="proxy",
            probe=at_endpoint(h2c(asked, options), stage.endpoint, "proxy"),
            peer=h2c_to_backend(stage, backend, options) if backend is not None else None,
            prerequisite=0,
            route=route,
        ),
    ]
    if backend is not None and is_innermost:
        planned.append(
            PlannedCheck(
                kind="service",
                name="handshake at service",
                target=f"{backend.probe.target.partition('?')[0]} at {backend.probe.endpoint}",
                hop="backend",
                probe=backend.probe,
                plain=backend.plain,
                route=route,
            )
        )
    results = run_checks(site, tuple(planned), access, patience_s=0.0, age_s=0.0, on_result=None)
    if backend is not None:
        results = tuple(with_mismatch_explained(each, stage, backend) for each in results)
    return site, results
