"""Facts of freshly installed hosts, to render playbooks without contacting a host."""

from __future__ import annotations

from functools import cache

from deployer.plan.desired import HostFacts
from deployer.proxies import PROXIES
from deployer.proxies.roles import System
from deployer.sites.releases import RELEASES


@cache
def stock_host(name: str) -> HostFacts:
    """A small server with IPv6 and that release; only OpenSSL is installed.

    Raises:
        KeyError: there is no such release in `RELEASES`.
    """
    release = RELEASES[name]
    proxies = {server.package: server.versions[release.series] for server in PROXIES.values()}
    available = {**proxies, "certbot": release.certbot}
    library, version = release.openssl
    return HostFacts(
        facts={
            "ansible_distribution": release.distribution,
            "ansible_distribution_release": release.codename,
            "ansible_distribution_version": release.version,
            "ansible_distribution_major_version": release.version.partition(".")[0],
            "ansible_os_family": "Debian",
            "ansible_hostname": "host",
            "ansible_fqdn": "host.example.com",
            "ansible_architecture": release.architecture,
            "ansible_kernel": release.kernel,
            "ansible_processor_vcpus": 2,
            "ansible_memtotal_mb": 2048,
            "ansible_default_ipv4": {
                "address": "192.0.2.1",
                "interface": "eth0",
                "gateway": "192.0.2.254",
            },
            "ansible_all_ipv6_addresses": ["2001:db8::1"],
            "ansible_dns": {"nameservers": ["192.0.2.53"]},
            "ansible_service_mgr": "systemd",
            "ansible_pkg_mgr": "apt",
            "ansible_python_version": release.python,
            "ansible_user_id": "root",
        },
        packages={
            library: {"installed": version, "candidate": version},
            **{each: {"installed": None, "candidate": at} for each, at in available.items()},
        },
        system=System(name=release.title, series=release.series),
    )
