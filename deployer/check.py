"""Everything that can be known to be wrong without a host."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployer.desired import CertificateSource, DesiredState, HostFacts, desired_state
from deployer.errors import SourceError, SourceErrors, UsageError
from deployer.model import Host, Site
from deployer.project import Project

if TYPE_CHECKING:
    from deployer.sites.certificates import CertificateFiles

#: A Debian 12 as it comes, to render with where no host is asked.
_ORDINARY_HOST = HostFacts(
    facts={
        "ansible_distribution": "Debian",
        "ansible_distribution_release": "bookworm",
        "ansible_distribution_version": "12",
        "ansible_distribution_major_version": "12",
        "ansible_os_family": "Debian",
        "ansible_hostname": "host",
        "ansible_fqdn": "host.example.com",
        "ansible_architecture": "x86_64",
        "ansible_kernel": "6.1.0",
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
        "ansible_python_version": "3.11.2",
        "ansible_user_id": "root",
    },
    packages={
        "nginx": {"installed": None, "candidate": "1.22.1-9"},
        "apache2": {"installed": None, "candidate": "2.4.62-1"},
        "haproxy": {"installed": None, "candidate": "2.6.12-1"},
        "libssl3": {"installed": "3.0.15-1", "candidate": "3.0.15-1"},
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedProject:
    """What a check found that is no error."""

    plays: int
    hosts: int
    sites: int
    resources: int
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """The result in one line."""
        return (
            f"ok: {self.plays} play{'s' * (self.plays != 1)}, "
            f"{self.hosts} host{'s' * (self.hosts != 1)}, "
            f"{self.sites} site{'s' * (self.sites != 1)}, "
            f"{self.resources} resource{'s' * (self.resources != 1)}"
        )

    def document(self) -> dict[str, Any]:
        """The result as ``--json`` shows it."""
        return {
            "format_version": 1,
            "command": "check",
            "exit_code": 0,
            "hosts": {},
            "findings": [],
            "warnings": list(self.warnings),
        }


def check_project(project: Project) -> CheckedProject:
    """Render every play for every host, with the facts of an ordinary Debian 12.

    Raises:
        UsageError: all that is wrong, each place once.
    """
    from deployer.sites.lint import lint, lint_of_hosts

    hosts = project.hosts()
    errors: dict[str, UsageError] = {}
    warnings: dict[str, None] = {}
    sites: dict[str, Site] = {}
    by_host: dict[str, tuple[Site, ...]] = {}
    resources = 0
    for host in hosts:
        try:
            desired = _desired(project, host, certificate=lambda site: _certificate(project, site))
        except SourceErrors as error:
            errors.update({str(one): one for one in error.errors})
            continue
        except UsageError as error:
            errors[str(error)] = error
            continue
        resources += len(desired.resources)
        by_host[host.name] = desired.sites
        sites.update({site.domain: site for site in desired.sites})
        warnings.update(dict.fromkeys(map(str, lint(desired.sites))))
    _raise(list(errors.values()))
    warnings.update(dict.fromkeys(map(str, lint_of_hosts(by_host))))
    return CheckedProject(
        plays=len(project.playbook.plays),
        hosts=len(hosts),
        sites=len(sites),
        resources=resources,
        warnings=tuple(warnings),
    )


def rehearse(project: Project, host: Host) -> None:
    """Render once while the connections are being opened: the real rendering, with the facts of the
    host itself, then finds its templates compiled, its roles read and its modules imported."""
    with contextlib.suppress(UsageError):
        _desired(project, host, certificate=project.certificate)


def _desired(project: Project, host: Host, *, certificate: CertificateSource) -> DesiredState:
    return desired_state(
        project.playbook,
        host,
        inventory=project.inventory,
        about=_ORDINARY_HOST,
        certificate=certificate,
        extra_vars=project.extra_vars,
        tags=project.tags,
    )


def _certificate(project: Project, site: Site) -> CertificateFiles:
    """A provided certificate is read and checked; a check makes none of the internal CA."""
    if site.tls.issuer == "provided":
        return project.certificate(site)
    from deployer.sites.internal_ca import ephemeral

    return ephemeral(site.names)


def _raise(errors: Sequence[UsageError]) -> None:
    placed = [error for error in errors if isinstance(error, SourceError)]
    if len(errors) == 1:
        raise errors[0]
    if placed and len(placed) == len(errors):
        raise SourceErrors(placed)
    if errors:
        raise UsageError("\n\n".join(map(str, errors)))
