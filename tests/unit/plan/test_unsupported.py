"""Hosts whose distribution lacks what a playbook needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deployer.model import Resource
from deployer.plan.desired import DesiredState
from deployer.plan.unsupported import refusal, system_from
from tests.support.sites import site_case

if TYPE_CHECKING:
    from deployer.agent.replies import SystemReply

SITE = site_case.site(domain="example.com", routes=[{"path": "/", "root": "/srv"}])


def desired(*kinds: str, sites: bool = False) -> DesiredState:
    resources = tuple(Resource(kind=kind, name="x", attributes={}) for kind in kinds)
    return DesiredState(resources=resources, handlers={}, sites=(SITE,) if sites else ())


def reply(name: str, version: str, *like: str, missing: tuple[str, ...] = ()) -> SystemReply:
    return {
        "name": name,
        "version": version,
        "like": list(like),
        "codenames": [],
        "missing": list(missing),
    }


def words(system: SystemReply, state: DesiredState) -> str:
    return refusal(system_from(system), state)


NO_APT = ("apt-get", "dpkg")
FEDORA = reply("Fedora Linux", "43", "fedora", missing=NO_APT)
ALPINE = reply("Alpine Linux", "3.22.1", "alpine", missing=(*NO_APT, "systemctl"))
FOREIGN = [
    reply("Rocky Linux", "9.6", "rocky", "rhel", "centos", "fedora"),
    reply("openSUSE Leap", "15.6", "opensuse-leap", "suse", "opensuse"),
]


def test_the_distribution_its_version_and_what_is_missing_are_named() -> None:
    found = words(FEDORA, desired("package"))
    assert found.startswith("Fedora Linux 43 lacks apt-get and dpkg, which this playbook needs\n")
    assert "Nothing was changed. Supported are Debian 11 to 13, Ubuntu 22.04," in found


def test_a_site_needs_all_of_them() -> None:
    found = words(ALPINE, desired("file", sites=True))
    assert found.startswith("Alpine Linux 3.22.1 lacks apt-get, dpkg and systemctl, ")


@pytest.mark.parametrize("system", FOREIGN, ids=lambda system: system["name"])
def test_an_apt_get_next_to_foreign_packages_is_not_enough(system: SystemReply) -> None:
    found = words(system, desired("package"))
    assert f"{system['name']} {system['version']} lacks Debian's packages" in found
    assert words(system, desired("file", "service")) == ""


@pytest.mark.parametrize("system", [FEDORA, ALPINE], ids=lambda system: system["name"])
def test_files_need_no_package_manager(system: SystemReply) -> None:
    assert words(system, desired("file", "directory", "link", "user", "command")) == ""


def test_services_need_systemd_alone() -> None:
    assert words(FEDORA, desired("service")) == ""
    assert "lacks systemctl, which" in words(ALPINE, desired("service"))


@pytest.mark.parametrize(
    "system",
    [
        reply("Ubuntu", "26.10", "ubuntu", "debian"),
        reply("Zorin OS", "17", "zorin", "ubuntu", "debian"),
        reply("Somebody's own", "1", "own"),
        reply("Linux", ""),
    ],
    ids=lambda system: system["name"],
)
def test_debian_s_relatives_and_unknown_ones_with_apt_are_not_refused(system: SystemReply) -> None:
    assert words(system, desired("package", "service", sites=True)) == ""


def test_a_hostile_name_cannot_write_to_the_terminal() -> None:
    name = "\x1b[2J\r\nweb2: confirmed " + "x" * 100
    found = words(reply(name, "1\x07", "alpine", missing=NO_APT), desired("package"))
    assert found.startswith("[2Jweb2: confirmed ")
    assert "\x1b" not in found
    assert len(found.splitlines()[0]) < 140
