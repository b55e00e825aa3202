"""The hop *public*: look up the names, and check their addresses through `PublicDial`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from deployer.sites.model import Site
from deployer.verify.net.access import Access
from deployer.verify.options import PublicAccess
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.planned.public_checks import HostAddresses, public_checks, public_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """The checks made from this machine; `plan` looks up names, which may take some seconds."""

    access: Access
    plan: Callable[[], tuple[PlannedCheck, ...]]


def public_plan(
    site: Site,
    planned: tuple[PlannedCheck, ...],
    access: Access,
    public: PublicAccess,
    *,
    port: int,
) -> Public:
    """Return the public checks that accompany those `planned` on the host, reached by `access`."""

    def plan() -> tuple[PlannedCheck, ...]:
        lookups = {name: public.dial.lookup(name, port) for name in public_names(site)}
        addresses = public.addresses() if public.addresses is not None else HostAddresses()
        return public_checks(site, planned, lookups, known=addresses, port=port)

    return Public(access=replace(access, dial=public.dial), plan=plan)
