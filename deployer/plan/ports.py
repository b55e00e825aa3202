"""Whether the ports that sites are served at can be had. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployer.model import PROXY_UNITS, Proxy, Resource
from deployer.sites.model import Site

HTTP_PORT, HTTPS_PORT = 80, 443
#: What the `facts` request asks for.
ASKED_PORTS = (HTTP_PORT, HTTPS_PORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who listens at a TCP port; `unit` is its systemd service, empty where none has it."""

    port: int
    pid: int
    process: str
    unit: str

    def __str__(self) -> str:
        of_unit = f" of {self.unit}.service" if self.unit else ""
        return f"{self.process or 'a process'} (process {self.pid}{of_unit})"


def listeners_from(documents: Iterable[Mapping[str, Any]]) -> tuple[Listener, ...]:
    """The listeners as ``facts`` (docs/reference/protocol.md) has them."""
    return tuple(
        Listener(port=each["port"], pid=each["pid"], process=each["process"], unit=each["unit"])
        for each in documents
    )


def taken_words(
    sites: Sequence[Site],
    *,
    listeners: Sequence[Listener],
    served_by: Sequence[Proxy],
    resources: Sequence[Resource],
) -> str:
    """What is in the way at the sites' ports, in words; empty where nothing is.

    The sites' own proxy is not, nor is one that an earlier run has set up (it makes room), nor what
    the plan itself stops or takes away.
    """
    if not sites:
        return ""
    proxy = sites[0].proxy
    wanted = {HTTP_PORT, *(HTTPS_PORT for site in sites if site.has_tls)}
    known = {PROXY_UNITS[each] for each in (proxy, *served_by)} | _stopped_by(resources)
    held: dict[Listener, str] = {}
    for each in listeners:
        if each.port in wanted and (each.unit or each.process) not in known:
            held[each] = f"port {each.port} is held by {each}"
    if not held:
        return ""
    unit = next((each.unit for each in held if each.unit), "")
    return "; ".join(held.values()) + f"\n{_way_out(proxy, unit)}"


def _way_out(proxy: Proxy, unit: str) -> str:
    nothing = "Nothing was changed."
    if not unit:
        return f"{nothing} End it, or have it listen elsewhere: {proxy} needs the port."
    other = next((name for name, word in PROXY_UNITS.items() if word == unit), "")
    if other:
        return (
            f"{nothing} It was not set up by deployer, so it is left alone. To have {proxy} take "
            f"over, add the task  service: {{name: {unit}, state: stopped, enabled: false}}"
        )
    return (
        f"{nothing} {proxy} needs the port: have {unit} listen elsewhere, or add the task  "
        f"service: {{name: {unit}, state: stopped, enabled: false}}"
    )


def _stopped_by(resources: Sequence[Resource]) -> set[str]:
    """Units that are stopped, or whose package goes."""
    stopped = set()
    for resource in resources:
        attributes = resource.attributes
        if resource.kind == "service" and attributes and attributes.get("active") is False:
            stopped.add(resource.name.removesuffix(".service"))
        if resource.kind == "package" and attributes is None:
            stopped.add(resource.name)
    return stopped
