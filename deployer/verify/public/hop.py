"""What `verify` needs for the hop *public*: a dial from here, and what each host is known by."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

from deployer.model import CheckResult, Host
from deployer.sites.model import Site

if TYPE_CHECKING:
    from deployer.verify.planned.public_checks import HostAddresses
    from deployer.verify.public.dial import PublicDial

_NOT_WANTED = "not looked at: --no-public"
_MOST_HOSTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicHop:
    """How names are looked up (`overrides`, as ``--resolve`` has them), and the run's `hosts`."""

    overrides: Mapping[tuple[str, int], str] = field(default_factory=dict)
    hosts: Sequence[Host] = ()

    def dial(self, interrupt: Event) -> PublicDial:
        """Connects from here."""
        from deployer.verify.public.dial import PublicDial

        return PublicDial(self.overrides, interrupt=interrupt)

    def addresses(self, host: Host, facts: Mapping[str, Any], dial: PublicDial) -> HostAddresses:
        """Those that `host` has by its own facts and by the inventory, and those of the others."""
        from deployer.verify.planned.public_checks import HostAddresses

        by_facts = [
            facts.get("ansible_default_ipv4", {}).get("address", ""),
            *facts.get("ansible_all_ipv6_addresses", ()),
        ]
        local = ["127.0.0.1", "::1"] if host.is_local else list(_found(host, dial))
        own = frozenset(text for text in (*by_facts, *local) if text and not _is_link_local(text))
        beside = [
            other
            for other in self.hosts[:_MOST_HOSTS]
            if other.name != host.name and not other.is_local
        ]
        with ThreadPoolExecutor(max(1, len(beside)), thread_name_prefix="hosts") as pool:
            found = pool.map(lambda other: _found(other, dial), beside)
            others = {
                text: other.name
                for other, texts in zip(beside, found, strict=True)
                for text in texts
                if text not in own
            }
        return HostAddresses(own=own, others=others)


def public_hop(resolve: Sequence[str]) -> PublicHop:
    """The hop as the command line has it. Raises: UsageError where ``--resolve`` is malformed."""
    if not resolve:
        return PublicHop()
    from deployer.verify.public.dial import overrides_from

    return PublicHop(overrides=overrides_from(resolve))


def public_skipped(sites: Sequence[Site]) -> tuple[CheckResult, ...]:
    """What is said of the hop where ``--no-public`` is given."""
    return tuple(
        CheckResult(
            site=site.domain,
            name="dns",
            target=site.domain,
            hop="public",
            ok=True,
            skipped=True,
            detail=_NOT_WANTED,
        )
        for site in sites
    )


def _found(host: Host, dial: PublicDial) -> tuple[str, ...]:
    return dial.addresses(host.hostname, host.port)


def _is_link_local(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_link_local
    except ValueError:
        return True
