"""The hop *public*: a dial from this machine, and the addresses that belong to each host."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from deployer.model import CheckResult, Document, Host
from deployer.sites.model import Site

if TYPE_CHECKING:
    from deployer.verify.planned.public_checks import HostAddresses
    from deployer.verify.public.dial import PublicDial

_SKIPPED = "not checked: --no-public"
_MOST_HOSTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicHop:
    """The `overrides` of name lookups (``--resolve``), and the run's `hosts`."""

    overrides: Mapping[tuple[str, int], str] = field(default_factory=dict)
    hosts: Sequence[Host] = ()

    def dial(self, interrupt: Event) -> PublicDial:
        """Return a dial that connects from this machine."""
        from deployer.verify.public.dial import PublicDial

        return PublicDial(self.overrides, interrupt=interrupt)

    def addresses(self, host: Host, facts: Document, dial: PublicDial) -> HostAddresses:
        """Return the addresses of `host` by its facts and the inventory, and of the other hosts."""
        from deployer.verify.planned.public_checks import HostAddresses

        by_facts = [
            facts.get("ansible_default_ipv4", {}).get("address", ""),
            *facts.get("ansible_all_ipv6_addresses", ()),
        ]
        local = ["127.0.0.1", "::1"] if host.is_local else list(_found(host, dial))
        own = frozenset(text for text in (*by_facts, *local) if text and not _is_link_local(text))
        others_of_run = [
            other
            for other in self.hosts[:_MOST_HOSTS]
            if other.name != host.name and not other.is_local
        ]
        with ThreadPoolExecutor(max(1, len(others_of_run)), thread_name_prefix="hosts") as pool:
            found = pool.map(lambda other: _found(other, dial), others_of_run)
            others = {
                text: other.name
                for other, texts in zip(others_of_run, found, strict=True)
                for text in texts
                if text not in own
            }
        return HostAddresses(own=own, others=others)


def public_hop(resolve: Sequence[str]) -> PublicHop:
    """Return the hop for the command line. Raises: UsageError if ``--resolve`` is malformed."""
    if not resolve:
        return PublicHop()
    from deployer.verify.public.dial import overrides_from

    return PublicHop(overrides=overrides_from(resolve))


def public_skipped(sites: Sequence[Site]) -> tuple[CheckResult, ...]:
    """Return the skipped results that replace this hop's checks with ``--no-public``."""
    return tuple(
        CheckResult(
            site=site.domain,
            name="dns",
            target=site.domain,
            hop="public",
            ok=True,
            skipped=True,
            detail=_SKIPPED,
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
