"""The proxies that run on a host: their connections, state and configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from deployer.errors import AgentError

if TYPE_CHECKING:
    from deployer.agent.replies import ConnectionsReply
    from deployer.model import CheckResult, Proxy
    from deployer.proxies.inspect import Inspection
    from deployer.sites.model import Site
    from deployer.transport import Link

#: Limits of an inspection while a commit waits for confirmation: for the programs that the host
#: starts, and for everything (a dead file server may block it).
_INSPECTION_S, _INSPECTION_IN_ALL_S = 20.0, 60.0


def process_slots(link: Link) -> tuple[int, int]:
    """How many processes a proxy with slots may have, and how many would stay after a reload."""
    reply = link.request("places", doing="counting the proxy's processes")
    return reply["places"], reply["stay"]


def connections_of(
    link: Link,
    units: Iterable[str],
    *,
    with_clients: bool = False,
    timeout_s: float | None = None,
) -> ConnectionsReply:
    """The reply to the request ``connections`` (docs/reference/protocol.md)."""
    return link.request(
        "connections",
        units=list(units),
        clients=with_clients,
        timeout_s=timeout_s,
        doing="counting connections",
    )


def inspected(link: Link, proxies: Iterable[Proxy] = (), *, running: bool = False) -> Inspection:
    """The effective configuration and state of `proxies`; by default, of all that are installed.

    With `running`, of every running instance, without its log.

    Raises: AgentError, UnreachableError.
    """
    from deployer.proxies.inspect import inspection_from_json

    wanted = sorted(set(proxies))
    reply = link.request(
        "inspect",
        proxies=wanted,
        running=running,
        limit_s=_INSPECTION_S,
        timeout_s=_INSPECTION_IN_ALL_S,
        doing="reading the proxies' configuration",
    )
    return inspection_from_json(reply)


def explained_by_host(
    link: Link, sites: Iterable[Site], results: Sequence[CheckResult]
) -> list[CheckResult]:
    """`results` with causes found in the configuration of the host's proxies.

    Raises: UnreachableError if the connection is lost.
    """
    from deployer.proxies.inspect import explained

    found = list(results)
    failing = {result.site for result in found if result.finding is not None}
    concerned = [site for site in sites if site.domain in failing]
    if not concerned:
        return found
    try:
        inspection = inspected(link, {site.proxy for site in concerned})
    except AgentError:
        return found  # the results are valid without causes
    for site in concerned:
        mine = [number for number, result in enumerate(found) if result.site == site.domain]
        try:
            better = explained([found[number] for number in mine], inspection, site=site)
        except Exception:  # noqa: S112 - no configuration may crash a commit
            continue
        for number, result in zip(mine, better, strict=True):
            found[number] = result
    return found
