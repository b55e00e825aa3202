"""Hosts that cannot be set up: what a playbook needs, and the distribution does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.proxies.roles import System
from deployer.sites.releases import SUPPORTED, series_of

if TYPE_CHECKING:
    from deployer.agent.replies import SystemReply
    from deployer.plan.desired import DesiredState

#: The programs that the agent looks for.
PACKAGE_TOOLS = ("apt-get", "dpkg")
SERVICE_TOOLS = ("systemctl",)
ASKED_TOOLS = (*PACKAGE_TOOLS, *SERVICE_TOOLS)
_MOST_CHARACTERS = 60
#: Identifiers of families whose packages are not Debian's, even if apt-get is installed.
_OTHER_FAMILIES = frozenset(
    ("alpine", "amzn", "arch", "fedora", "gentoo", "rhel", "centos", "suse", "opensuse", "void")
)


def system_from(reply: SystemReply) -> System:
    """The distribution in a reply to ``facts``."""
    return System(
        name=_shown(reply["name"]),
        version=_shown(reply["version"]),
        like=tuple(map(str, reply["like"])),
        series=series_of(map(str, reply["codenames"])),
        missing=tuple(tool for tool in ASKED_TOOLS if tool in reply["missing"]),
    )


def refusal(system: System, desired: DesiredState) -> str:
    """Why `desired` cannot be reached on a host with that distribution; empty if it can."""
    kinds = {resource.kind for resource in desired.resources}
    needs_packages = bool(desired.sites) or "package" in kinds
    needs_services = bool(desired.sites) or "service" in kinds
    needed = (
        *(PACKAGE_TOOLS if needs_packages else ()),
        *(SERVICE_TOOLS if needs_services else ()),
    )
    lacks = [tool for tool in needed if tool in system.missing]
    if not lacks and needs_packages and _is_of_another_family(system):
        lacks = ["Debian's packages"]
    if not lacks:
        return ""
    *others, last = lacks
    words = f"{', '.join(others)} and {last}" if others else last
    return (
        f"{system} lacks {words}, which this playbook needs\n"
        f"Nothing was changed. Supported are {SUPPORTED}."
    )


def _is_of_another_family(system: System) -> bool:
    like = {word.partition("-")[0] for word in system.like}
    return not like & {"debian", "ubuntu"} and bool(like & _OTHER_FAMILIES)


def _shown(text: object) -> str:
    """A text from the host without control characters, and not too long."""
    return "".join(filter(str.isprintable, str(text)))[:_MOST_CHARACTERS]
