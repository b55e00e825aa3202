"""Verify a site with real WebSocket handshakes, through the proxy and directly to the service.

    planned/        the checks of a site, and the probes that they send (pure)
    probe/          one connection each: a probe in, an Attempt out
    net/            streams, TLS, HTTP and WebSocket: bytes only
    judge/          Attempts in, CheckResults with Findings out (pure)
    public/         the hop through public DNS
    options.py      addresses and time limits of a verification
    run.py          runs all checks of a site concurrently, within time limits
    idle.py         measures how long each hop keeps an idle connection open
    summary.py      a confirmed verification in a few lines
    json_output.py  results as JSON documents

Importing the package is cheap; `websockets` and `ssl` are imported when a site is verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from deployer.verify.options import PATIENCE_S, TIMEOUT_S, Limits, PublicAccess, proxy_of

if TYPE_CHECKING:
    from deployer.model import CheckResult
    from deployer.sites.model import Site
    from deployer.verify.net.stream import Dial
    from deployer.verify.options import ProxyAddress
    from deployer.verify.planned.model import Found

#: Handshake, message, ping, the same probe directly to the service, and the follow-ups may each
#: take a full timeout.
_STEPS = 6

_USUAL_LIMITS = Limits()


def verify_site(
    site: Site,
    *,
    dial: Dial,
    roots_pem: bytes | None = None,
    proxy: ProxyAddress | None = None,
    limits: Limits = _USUAL_LIMITS,
    public: PublicAccess | None = None,
    on_result: Callable[[CheckResult], None] | None = None,
) -> tuple[CheckResult, ...]:
    """Run every check of `site` and return the results in the order of its routes.

    Args:
        dial: opens streams as seen from the host.
        roots_pem: the roots that the site's certificate must chain to; `None` for this system's
            trust store.
        public: also look up the site's names, and check their addresses from this machine.
        on_result: called for each result in turn, from the calling thread.

    Raises:
        DeployerError: `dial` lost the host itself. Whatever a peer does is a failed result.
    """
    import time

    from deployer.verify.net.access import Access
    from deployer.verify.net.stream import Deadline
    from deployer.verify.planned.checks import planned_checks
    from deployer.verify.planned.routing import undescribed
    from deployer.verify.public.lookup_checks import public_plan
    from deployer.verify.run import run_checks

    longest_s = _longest_s(site, timeout_s=limits.timeout_s, patience_s=limits.patience_s)
    until = Deadline(longest_s, interrupt=limits.interrupt)
    access = Access(dial=dial, timeout_s=limits.timeout_s, until=until, roots_pem=roots_pem)
    proxy = proxy or proxy_of(site)
    port = proxy.https_port if site.has_tls else proxy.http_port
    changed_at = limits.changed_at
    found: dict[str, Found] = {}
    if any(undescribed(site)):
        from deployer.verify.discovery.find import find_websockets

        found = find_websockets(site, proxy, access, patience_s=limits.patience_s)
    planned = planned_checks(site, proxy, listen_s=limits.listen_s, found=found)
    if site.tls.clients is not None:
        from deployer.verify.planned.clients import possible

        planned = possible(site, planned)
    return run_checks(
        site,
        planned,
        access,
        public=None if public is None else public_plan(site, planned, access, public, port=port),
        patience_s=limits.patience_s,
        age_s=0.0 if changed_at is None else max(0.0, time.monotonic() - changed_at),
        on_result=on_result,
    )


def required_s(
    sites: Iterable[Site], *, timeout_s: float = TIMEOUT_S, patience_s: float = PATIENCE_S
) -> float:
    """Return the longest that verifying `sites` one by one can take; `verify_site` enforces it."""
    return sum(_longest_s(site, timeout_s=timeout_s, patience_s=patience_s) for site in sites)


def _longest_s(site: Site, *, timeout_s: float, patience_s: float) -> float:
    longest_hold_s = max((check.hold_s or 0.0 for check in site.verify), default=0.0)
    return patience_s + _STEPS * timeout_s + longest_hold_s


def result_json(result: CheckResult) -> dict[str, object]:
    """Return one result for ``--json``, without headers that may contain secrets."""
    from deployer.verify.json_output import result_json as written

    return written(result)
