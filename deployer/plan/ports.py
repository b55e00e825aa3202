"""Check whether the ports of sites are free. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.model import Proxy, Resource, Value
from deployer.proxies import BY_UNIT, PROXIES
from deployer.sites.model import Site
from deployer.sites.values import used_ports

if TYPE_CHECKING:
    from deployer.agent import replies

_USUAL_PORTS = (80, 443)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A process that listens on a TCP port; `unit` is its systemd service, empty if it has none."""

    port: int
    pid: int
    process: str
    unit: str

    def __str__(self) -> str:
        of_unit = f" of {self.unit}.service" if self.unit else ""
        return f"{self.process or 'a process'} (process {self.pid}{of_unit})"


def asked_ports(sites: Iterable[Mapping[str, Value]]) -> tuple[int, ...] | None:
    """The ports whose listeners the `facts` request returns, for `sites` as written; `None`: all.

    The port of a site may be a template, which requires facts.
    """
    return None if any("port" in site for site in sites) else _USUAL_PORTS


def listeners_from(documents: Iterable[replies.Listener]) -> tuple[Listener, ...]:
    """The listeners in a reply to ``facts`` (docs/reference/protocol.md)."""
    return tuple(
        Listener(port=each["port"], pid=each["pid"], process=each["process"], unit=each["unit"])
        for each in documents
    )


def port_conflicts(
    sites: Sequence[Site],
    *,
    listeners: Sequence[Listener],
    served_by: Sequence[Proxy],
    resources: Sequence[Resource],
) -> str:
    """A text about the processes that occupy the sites' ports; empty if the ports are free.

    Exceptions: the sites' own proxy, proxies set up by earlier runs (they release the ports), and
    services that the plan itself stops or removes.
    """
    if not sites:
        return ""
    proxy = sites[0].proxy
    wanted = used_ports(sites)
    known = {PROXIES[each].unit for each in (proxy, *served_by)} | _stopped_by(resources)
    held: dict[Listener, str] = {}
    for each in listeners:
        if each.port in wanted and (each.unit or each.process) not in known:
            held[each] = f"port {each.port} is held by {each}"
    if not held:
        return ""
    unit = next((each.unit for each in held if each.unit), "")
    return "; ".join(held.values()) + f"\n{_hint(proxy, unit)}"


def _hint(proxy: Proxy, unit: str) -> str:
    nothing = "Nothing was changed."
    if not unit:
        return f"{nothing} Stop it, or make it listen elsewhere: {proxy} needs the port."
    if unit in BY_UNIT:
        return (
            f"{nothing} It was not set up by deployer, so it is left alone. To let {proxy} take "
            f"over, add the task  service: {{name: {unit}, state: stopped, enabled: false}}"
        )
    return (
        f"{nothing} {proxy} needs the port: make {unit} listen elsewhere, or add the task  "
        f"service: {{name: {unit}, state: stopped, enabled: false}}"
    )


def _stopped_by(resources: Sequence[Resource]) -> set[str]:
    """Units that the plan stops, or whose package it removes."""
    stopped = set()
    for resource in resources:
        attributes = resource.attributes
        if resource.kind == "service" and attributes and attributes.get("active") is False:
            stopped.add(resource.name.removesuffix(".service"))
        if resource.kind == "package" and attributes is None:
            stopped.add(resource.name)
    return stopped
