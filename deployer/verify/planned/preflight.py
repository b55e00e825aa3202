"""Select the checks that show before a change whether its services would pass afterwards. Pure.

They are those of the verification whose requests the proxy forwards, sent directly to each service.
Idle times are not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from deployer.sites.model import Site, Upstream
from deployer.verify.options import ProxyAddress
from deployer.verify.planned.checks import directly, planned_checks
from deployer.verify.planned.model import Found, Kind, PlannedCheck
from deployer.verify.probe.spec import HttpProbe

_FORWARDED: frozenset[Kind] = frozenset(
    {"handshake", "listed-origin", "no-origin", "page", "entry"}
)
#: Long enough to recognise a service that counts connections, which is then left alone.
_LISTEN_S = 0.1
#: Kinds that say nothing new if the handshake of their route fails in the same way.
_DEPENDENT: frozenset[Kind] = frozenset({"listed-origin", "no-origin"})


def preflight_checks(
    site: Site,
    proxy: ProxyAddress,
    *,
    is_asked: Callable[[Upstream], bool],
    found: Mapping[str, Found] | None = None,
) -> tuple[PlannedCheck, ...]:
    """The checks at the services of which `is_asked` is true."""
    chosen: list[PlannedCheck] = []
    first: dict[tuple[str, Upstream], int] = {}
    for check in planned_checks(site, proxy, listen_s=_LISTEN_S, found=found):
        if check.route is None or not _is_forwarded(check):
            continue
        for upstream in filter(is_asked, dict.fromkeys(check.route.in_rotation)):
            before = first.setdefault((check.route.path, upstream), len(chosen))
            made = directly(check, upstream)
            chosen.append(replace(made, prerequisite=before) if check.kind in _DEPENDENT else made)
    return tuple(chosen)


def _is_forwarded(check: PlannedCheck) -> bool:
    """Whether the proxy forwards the request of `check`, so that the service's answer decides."""
    if check.hop != "proxy" or check.kind not in _FORWARDED or check.hold_s:
        return False
    refuses = check.route is not None and check.route.require_origin
    return isinstance(check.peer, HttpProbe) and not (check.kind == "no-origin" and refuses)
