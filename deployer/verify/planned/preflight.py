"""Select the checks that show before a change whether its services would pass afterwards. Pure.

They are those of the verification, sent directly to each service: the handshake of the hop
*backend*, and what a check through the proxy has as its `peer`. Idle times are not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deployer.sites.model import Route, Site
from deployer.verify.options import ProxyAddress
from deployer.verify.planned.checks import planned_checks
from deployer.verify.planned.model import Kind, PlannedCheck
from deployer.verify.probe.spec import HttpProbe

_THROUGH_PROXY: frozenset[Kind] = frozenset({"page", "entry"})


def preflight_checks(
    site: Site, proxy: ProxyAddress, *, is_started: Callable[[Route], bool]
) -> tuple[PlannedCheck, ...]:
    """The checks of services that exist already; `is_started`: the plan starts that of a route."""
    found = []
    for check in planned_checks(site, proxy, listen_s=0.0):
        if check.route is None or is_started(check.route):
            continue
        if check.kind == "service":
            found.append(check)
        elif (
            check.kind in _THROUGH_PROXY and isinstance(check.peer, HttpProbe) and not check.hold_s
        ):
            found.append(_directly(check, check.peer))
    return tuple(found)


def _directly(check: PlannedCheck, peer: HttpProbe) -> PlannedCheck:
    target = f"{check.target} at {peer.endpoint}"
    return replace(check, hop="backend", probe=peer, target=target, prerequisite=None)
