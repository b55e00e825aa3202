"""Facts of freshly installed Debian hosts, to render playbooks without contacting a host."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.plan.desired import HostFacts
from deployer.proxies import PROXIES

DEFAULT_RELEASE = "12"


def _debian(
    release: str, codename: str, *, kernel: str, python: str, packages: Mapping[str, str]
) -> HostFacts:
    """A small server with IPv6; the first of `packages` is installed, the others are available."""
    return HostFacts(
        facts={
            "ansible_distribution": "Debian",
            "ansible_distribution_release": codename,
            "ansible_distribution_version": release,
            "ansible_distribution_major_version": release,
            "ansible_os_family": "Debian",
            "ansible_hostname": "host",
            "ansible_fqdn": "host.example.com",
            "ansible_architecture": "x86_64",
            "ansible_kernel": kernel,
            "ansible_processor_vcpus": 2,
            "ansible_memtotal_mb": 2048,
            "ansible_default_ipv4": {
                "address": "192.0.2.1",
                "interface": "eth0",
                "gateway": "192.0.2.254",
            },
            "ansible_all_ipv6_addresses": ["2001:db8::1"],
            "ansible_service_mgr": "systemd",
            "ansible_pkg_mgr": "apt",
            "ansible_python_version": python,
            "ansible_user_id": "root",
        },
        packages={
            name: {"installed": version if number == 0 else None, "candidate": version}
            for number, (name, version) in enumerate(packages.items())
        },
    )


def _proxies(release: str) -> dict[str, str]:
    return {server.package: server.debian[release] for server in PROXIES.values()}


#: Facts by Debian release, with the package versions of November 2026.
STOCK_HOSTS: Mapping[str, HostFacts] = {
    "11": _debian(
        "11",
        "bullseye",
        kernel="5.10.0",
        python="3.9.2",
        packages={
            "libssl1.1": "1.1.1w-0+deb11u8",
            **_proxies("11"),
            "certbot": "1.12.0-2",
        },
    ),
    "12": _debian(
        "12",
        "bookworm",
        kernel="6.1.0",
        python="3.11.2",
        packages={
            "libssl3": "3.0.22-1~deb12u2",
            **_proxies("12"),
            "certbot": "2.1.0-4",
        },
    ),
    "13": _debian(
        "13",
        "trixie",
        kernel="6.12.0",
        python="3.13.5",
        packages={
            "libssl3t64": "3.5.7-1~deb13u3",
            **_proxies("13"),
            "certbot": "4.0.0-2+deb13u1",
        },
    ),
}
