"""Load the WebSocket routes of one host, and inspect its proxy meanwhile."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.commit.running_proxies import inspected
from deployer.errors import AgentError, HostError
from deployer.load.connection import Target
from deployer.load.generator import LoadHooks, LoadPlan, generate_load
from deployer.load.judge import Observed, judge_load
from deployer.load.reloads import Change, detect_change
from deployer.load.result import LoadResult
from deployer.model import CheckResult
from deployer.proxies.inspect import ProxyState, Served, served
from deployer.proxies.limits import limits
from deployer.sites.model import Route, Site
from deployer.sites.paths import example_of
from deployer.verify.discovery.find import find_websockets
from deployer.verify.net.access import Access, proxy_line
from deployer.verify.net.stream import Deadline
from deployer.verify.options import proxy_of
from deployer.verify.planned.checks import planned_checks
from deployer.verify.planned.model import Found, PlannedCheck
from deployer.verify.planned.routing import concrete
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.spec import UpgradeProbe

if TYPE_CHECKING:
    from deployer.commit.contact import Contact
    from deployer.transport import Link

_TIMEOUT_S = 10.0
#: Shorter than the shortest default of any hop, which is 50 s.
_AWAKE_S, _LEAST_AWAKE_S = 20.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The command line's options: `number` connections at `rate_per_s`, held for `hold_s`.

    `overrides` map names to addresses: ``{(name, port): address}``; the default is the host's own.
    """

    number: int
    rate_per_s: float = 200.0
    hold_s: float = 10.0
    overrides: Mapping[tuple[str, int], str] = field(default_factory=dict)


def load_sites(
    contact: Contact,
    sites: Sequence[Site],
    options: LoadOptions,
    *,
    checks: Sequence[CheckResult],
) -> tuple[tuple[LoadResult, ...], tuple[CheckResult, ...]]:
    """Load the WebSocket routes of each of `sites`, one site after the other.

    Only routes whose handshake passes in `checks` are loaded.

    Raises: HostError if the host's address is unknown.
    """
    results, judgements = [], []
    for site in sites:
        access = Access(
            dial=contact.link().open_stream, timeout_s=_TIMEOUT_S, until=Deadline(2 * _TIMEOUT_S)
        )
        found = find_websockets(site, proxy_of(site), access)
        probes = _probes(site, checks, found)
        if contact.cancelled.is_set():
            break
        if not probes:
            words = f"load: {site.domain} has no WebSocket route whose handshake opens a connection"
            contact.on_step({"event": "said", "text": f"{words}: nothing was loaded"})
            continue
        result, observed = _load(contact, site, probes, options)
        results.append(result)
        judgements.append(judge_load(result, observed))
    return tuple(results), tuple(judgements)


def _probes(
    site: Site, checks: Sequence[CheckResult], found: Mapping[str, Found]
) -> list[PlannedCheck]:
    """Return the handshake of each WebSocket route that opens a connection."""
    opened_none = {
        check.target
        for check in checks
        if check.site == site.domain
        and check.hop == "proxy"
        and check.name == "handshake"
        and not (check.ok and check.handshake and check.handshake.status_code == 101)
    }
    return [
        check
        for check in planned_checks(site, proxy_of(site), found=found)
        if check.represents_route and check.target not in opened_none
    ]


class _Observer:
    """Inspects the host during a load; `inspected_at_s` is when, in seconds since its start."""

    def __init__(self, contact: Contact, site: Site, check: PlannedCheck) -> None:
        self._contact, self._site, self._check = contact, site, check
        self._began = time.monotonic()
        self.full: ProxyState | None = None
        self.last: ProxyState | None = None
        self.inspected_at_s: float | None = None
        self.service = ""

    def inspect_when_full(self, failures: int) -> None:
        self.full = _state(self._contact.link(), self._site)
        if failures:
            self.service = _service_words(self._contact.link(), self._check)

    def inspect_at_end(self) -> None:
        self._contact.doing("load: inspecting the proxy again")
        self.last = _state(self._contact.link(), self._site)
        self.inspected_at_s = time.monotonic() - self._began

    def change_since(self, before: ProxyState | None) -> Change | None:
        if before is None or self.last is None or self.inspected_at_s is None:
            return None
        return detect_change(before, self.last, after_s=self.inspected_at_s)


def _load(
    contact: Contact, site: Site, planned: Sequence[PlannedCheck], options: LoadOptions
) -> tuple[LoadResult, Observed]:
    probes = [check.probe for check in planned if isinstance(check.probe, UpgradeProbe)]
    port = site.serving_port
    address = _address(contact, probes[0], port, options)
    is_host = (probes[0].server_name or "", port) not in options.overrides
    targets = tuple(_target(probe, address, port, is_host=is_host) for probe in probes)
    before = _state(contact.link(), site)
    idle_s = _idle_s(site, planned, before)
    observer = _Observer(contact, site, planned[0])
    figures = generate_load(
        LoadPlan(
            targets=targets,
            identity=probes[0].endpoint.identity,
            number=options.number,
            rate_per_s=options.rate_per_s,
            hold_s=options.hold_s,
            timeout_s=_TIMEOUT_S,
            awake_s=max(_LEAST_AWAKE_S, min(_AWAKE_S, (idle_s or _AWAKE_S) / 3)),
        ),
        LoadHooks(
            progress=contact.doing,
            full=observer.inspect_when_full,
            last=observer.inspect_at_end,
            cancelled=contact.cancelled,
        ),
    )
    if observer.inspected_at_s is None:  # nothing opened, or it was interrupted
        observer.inspect_at_end()
    result = LoadResult(
        site=site.domain,
        proxy=site.proxy,
        uris=tuple(target.uri for target in targets),
        address=f"{_bracketed(address)}:{port}",
        rate_per_s=options.rate_per_s,
        hold_s=options.hold_s,
        figures=figures,
        idle_s=idle_s,
        drain_s=site.drain_s,
        limits=limits(observer.full or before) if before is not None else (),
        change=observer.change_since(before),
        notes=()
        if before is not None
        else (f"the host does not report the limits of {site.proxy}",),
    )
    known = frozenset(before.log) if before is not None else frozenset()
    log = observer.last.log if observer.last is not None else ()
    new_log = tuple(line for line in log if line not in known)
    return result, Observed(new_log=new_log, service=observer.service)


def _service_words(link: Link, check: PlannedCheck) -> str:
    """Connect directly to the service while the proxy refuses connections."""
    if not isinstance(check.peer, UpgradeProbe):
        return ""
    access = Access(dial=link.open_stream, timeout_s=5.0, until=Deadline(12.0))
    failure = attempt_upgrade(check.peer, access).failure
    return "works" if failure is None else failure.words


# --- targets --------------------------------------------------------------------------------------


def _target(probe: UpgradeProbe, address: str, port: int, *, is_host: bool) -> Target:
    """Return the target of `probe`; at another address than the host's, a balancer is in front."""
    begin = proxy_line(port) if probe.endpoint.proxy_line and is_host else b""
    return Target(
        address=address,
        port=port,
        tls=probe.endpoint.tls,
        server_name=probe.server_name or "",
        path=probe.target,
        headers=probe.headers,
        subprotocols=probe.subprotocols,
        send=probe.send,
        begin=begin,
    )


def _address(contact: Contact, probe: UpgradeProbe, port: int, options: LoadOptions) -> str:
    """Return the IP address in `options`, or the one that SSH connects to.

    Raises: HostError if that name does not resolve.
    """
    name = probe.server_name or ""
    given = options.overrides.get((name, port))
    if given is not None:
        return given.split(",")[0].strip("[] ")
    if contact.host.is_local:
        return "127.0.0.1"
    from deployer.transport.settings import host_settings
    from deployer.verify.public.dial import PublicDial

    hostname = host_settings(contact.host, contact.options.connect(contact.host)).hostname
    found = PublicDial().lookup(hostname, port)
    if not found.addresses:
        raise HostError(
            f"the address of {hostname} is unknown: it {found.problem}",
            host=contact.host.name,
            hint=f"Nothing was loaded. Give its address: --resolve {name}:{port}:ADDRESS",
        )
    return found.addresses[0]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address


def _state(link: Link, site: Site) -> ProxyState | None:
    """Inspect the site's proxy on the host; `None` if that fails."""
    try:
        return inspected(link, [site.proxy]).of(site.proxy)
    except AgentError:
        return None


def _idle_s(site: Site, planned: Sequence[PlannedCheck], state: ProxyState | None) -> float | None:
    """Return the proxy's shortest idle timeout, from its running configuration or the playbook."""
    found = []
    for check in planned:
        if check.route is None:
            continue
        running = served_route(state, site, check.route) if state is not None else None
        found.append(check.route.idle_timeout_s if running is None else running.idle_timeout_s)
    return min((seconds for seconds in found if seconds), default=None)


def served_route(state: ProxyState, site: Site, route: Route) -> Served | None:
    """Return how the running configuration serves a route; `None` if unknown."""
    return served(
        state,
        name=concrete(site.domain),
        port=site.serving_port,
        path=example_of(route.path),
        tls=site.has_tls,
    )
