"""Ansible's facts about this host."""

from __future__ import annotations

import binascii
import os
import struct
import sys

from deployer.agent.accounts import user_name
from deployer.agent.distribution import distribution_facts
from deployer.agent.files import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json


def facts() -> Json:
    """Ansible's facts, read from files: no program is started, and no name is resolved."""
    system = os.uname()
    about = distribution_facts()
    return {
        **about,
        "ansible_hostname": system.nodename.partition(".")[0],
        "ansible_fqdn": _fqdn(system.nodename),
        "ansible_architecture": system.machine,
        "ansible_kernel": system.release,
        "ansible_processor_vcpus": os.cpu_count() or 1,
        "ansible_memtotal_mb": _memory_mb(),
        "ansible_default_ipv4": _default_ipv4(),
        "ansible_all_ipv6_addresses": ipv6_addresses(),
        "ansible_dns": {"nameservers": _nameservers()},
        "ansible_service_mgr": "systemd" if os.path.isdir("/run/systemd/system") else _init_name(),
        "ansible_pkg_mgr": _package_manager(about["ansible_os_family"]),
        "ansible_python_version": ".".join(map(str, sys.version_info[:3])),
        "ansible_user_id": user_name(os.geteuid()),
    }


def _fqdn(nodename: str) -> str:
    """The host's full name according to /etc/hosts; DNS might hang."""
    if "." in nodename:
        return nodename
    for line in read_text("/etc/hosts").splitlines():
        names = line.partition("#")[0].split()[1:]
        if nodename in names:
            return next((name for name in names if name.startswith(nodename + ".")), names[0])
    return nodename


def _nameservers() -> list[str]:
    """The name servers of resolv.conf(5), which uses the first three."""
    rows = [line.split() for line in read_text("/etc/resolv.conf").splitlines()]
    found = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
    return [address for address in found if _is_address(address)][:3]


def _is_address(text: str) -> bool:
    import _socket

    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    try:
        _socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _memory_mb() -> int:
    for line in read_text("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def _default_ipv4() -> Json:
    for line in read_text("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and int(fields[3], 16) & 1:
            import _socket

            gateway = _socket.inet_ntoa(struct.pack("=I", int(fields[2], 16)))
            return {"address": own_address(), "interface": fields[0], "gateway": gateway}
    return {}


def own_address() -> str:
    """The source address of packets that leave the host; connecting a UDP socket sends nothing."""
    import _socket

    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    except OSError:
        return ""
    finally:
        probe.close()


def ipv6_addresses() -> list[str]:
    lines = read_text("/proc/net/if_inet6").splitlines()
    found = [fields[0] for fields in map(str.split, lines) if len(fields) > 5 and fields[5] != "lo"]
    if not found:
        return []
    import _socket

    return [_socket.inet_ntop(_socket.AF_INET6, binascii.unhexlify(text)) for text in found]


def _init_name() -> str:
    return read_text("/proc/1/comm").strip() or "unknown"


#: As Ansible: the last one that exists; on Debian always apt, on Red Hat's relatives dnf's version.
_PACKAGE_MANAGERS = (
    ("/usr/bin/yum", "dnf"),
    ("/usr/bin/dnf-3", "dnf"),
    ("/usr/bin/dnf5", "dnf5"),
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/bin/pacman", "pacman"),
    ("/bin/opkg", "opkg"),
    ("/sbin/apk", "apk"),
    ("/usr/bin/emerge", "portage"),
    ("/usr/bin/xbps-install", "xbps"),
)


def _package_manager(family: str) -> str:
    if family == "Debian":
        return "apt"
    if family == "RedHat":
        for path in ("/usr/bin/dnf", "/usr/bin/microdnf"):
            if os.path.exists(path):
                return "dnf5" if os.path.realpath(path) == "/usr/bin/dnf5" else "dnf"
        return "unknown"
    found = [name for path, name in _PACKAGE_MANAGERS if os.path.exists(path)]
    return found[-1] if found else "unknown"
