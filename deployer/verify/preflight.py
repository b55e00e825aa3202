"""Probe the services of a site directly, before a change that would lead to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployer.verify.options import PATIENCE_S, TIMEOUT_S, proxy_of

if TYPE_CHECKING:
    import threading

    from deployer.model import CheckResult
    from deployer.sites.model import Site, Upstream
    from deployer.verify.net.stream import Dial

_STEPS = 3


def preflight_site(
    site: Site,
    *,
    dial: Dial,
    is_asked: Callable[[Upstream], bool],
    patience_s: float = 0.0,
    interrupt: threading.Event | None = None,
) -> tuple[CheckResult, ...]:
    """The results for those services of `site` of which `is_asked` is true.

    A service that fails is asked again for `patience_s`.

    Raises:
        DeployerError: `dial` lost the host itself.
    """
    from deployer.verify.discovery.find import find_websockets
    from deployer.verify.net.access import Access
    from deployer.verify.net.stream import Deadline
    from deployer.verify.planned.preflight import preflight_checks
    from deployer.verify.run import RELOAD_S, run_checks

    checks = preflight_checks(site, proxy_of(site), is_asked=is_asked)
    if not checks:
        return ()
    until = Deadline(PATIENCE_S + _STEPS * TIMEOUT_S, interrupt=interrupt)
    access = Access(dial=dial, timeout_s=TIMEOUT_S, until=until)
    found = {
        path: websocket
        for path, websocket in find_websockets(site, proxy_of(site), access).items()
        if any(check.route and check.route.path == path for check in checks)
    }
    if found:
        checks = preflight_checks(site, proxy_of(site), is_asked=is_asked, found=found)
    return run_checks(
        site, checks, access, patience_s=RELOAD_S + patience_s, age_s=RELOAD_S, on_result=None
    )
