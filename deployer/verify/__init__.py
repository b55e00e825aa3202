"""Proof that a site works: real WebSocket handshakes, through the proxy and past it.

    checks.py      Site → which checks (pure)
    handshake.py, page.py, certificate.py      one connection each → Attempt
    compare.py, causes.py, judge.py            Attempts → CheckResult with a Finding (pure)
    run.py         all of them side by side, within time limits

The package's own import is light; `websockets` and `ssl` come when a site is verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from deployer.verify.options import PATIENCE_S, TIMEOUT_S, Limits, ProxyAddress, PublicAccess

if TYPE_CHECKING:
    from deployer.model import CheckResult
    from deployer.sites.model import Site
    from deployer.verify.net.stream import Dial

#: Handshake, message and ping, then the comparison with the service and what is tried beside, may
#: each take a time-out.
_STEPS = 6

_USUAL_ADDRESS = ProxyAddress()
_USUAL_LIMITS = Limits()


def verify_site(
    site: Site,
    *,
    dial: Dial,
    roots_pem: bytes | None = None,
    proxy: ProxyAddress = _USUAL_ADDRESS,
    limits: Limits = _USUAL_LIMITS,
    public: PublicAccess | None = None,
    on_result: Callable[[CheckResult], None] | None = None,
) -> tuple[CheckResult, ...]:
    """Every check of `site`, in the order of its routes; nothing on the host is changed.

    Args:
        dial: opens streams as seen from the host.
        roots_pem: the roots that the site's certificate must lead to; `None` for the trust store of
            this system.
        public: also look up the site's names, and check from here what they lead to.
        on_result: called for each result in turn, from the calling thread.

    Raises:
        DeployerError: `dial` lost the host itself. Whatever a peer does is a failed result.
    """
    import time

    from deployer.verify.net.access import Access
    from deployer.verify.net.stream import Deadline
    from deployer.verify.planned.checks import planned_checks
    from deployer.verify.public.lookup_checks import public_plan
    from deployer.verify.run import run_checks

    planned = planned_checks(site, proxy, listen_s=limits.listen_s)
    longest_s = _longest_s(site, timeout_s=limits.timeout_s, patience_s=limits.patience_s)
    until = Deadline(longest_s, interrupt=limits.interrupt)
    access = Access(dial=dial, timeout_s=limits.timeout_s, until=until, roots_pem=roots_pem)
    port = proxy.https_port if site.has_tls else proxy.http_port
    changed_at = limits.changed_at
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
    """The longest that verifying `sites` one by one can take; `verify_site` keeps to it."""
    return sum(_longest_s(site, timeout_s=timeout_s, patience_s=patience_s) for site in sites)


def _longest_s(site: Site, *, timeout_s: float, patience_s: float) -> float:
    longest_hold_s = max((check.hold_s or 0.0 for check in site.verify), default=0.0)
    return patience_s + _STEPS * timeout_s + longest_hold_s


def result_json(result: CheckResult) -> dict[str, Any]:
    """One result for ``--json``; headers that may hold a secret are left out."""
    from deployer.verify.json_output import result_json as written

    return written(result)
