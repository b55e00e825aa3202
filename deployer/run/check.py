"""Checks a project for errors without contacting any host."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import SourceError, SourceErrors, UsageError
from deployer.model import Host, Play, SourceRef
from deployer.plan.desired import CertificateSources, DesiredState, desired_state
from deployer.plan.stock_hosts import stock_host
from deployer.playbook.builtin import roles_path
from deployer.run.project import Project
from deployer.sites.lint.note import RENAMED_CODES
from deployer.sites.model import Site
from deployer.sites.releases import DEFAULT_RELEASE
from deployer.text.redaction import masked

if TYPE_CHECKING:
    from deployer.plan.rendered_files import RenderedFile
    from deployer.sites.certificate_files import CertificateFiles
    from deployer.sites.lint import Note

_DISMISSED = re.compile(r"#\s*noqa:\s*([a-z0-9, \t-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedProject:
    """The result of a check without errors; `rendered` are the hosts' files, if requested."""

    plays: int
    hosts: int
    sites: int
    resources: int
    notes: tuple[Note, ...]
    rendered: tuple[RenderedFile, ...] | None = None

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
        files = self.rendered
        return {
            "format_version": 1,
            "command": "check",
            "exit_code": 0,
            "hosts": {},
            "findings": [],
            "warnings": [str(note) for note in self.notes],
            "notes": [note.document() for note in self.notes],
            **({} if files is None else {"rendered": [each.document() for each in files]}),
        }


def check_project(
    project: Project, *, release: str = DEFAULT_RELEASE, render: bool = False
) -> CheckedProject:
    """Render every play for every host, with the facts of a freshly installed one.

    Args:
        release: what hosts run, one of `RELEASES`.
        render: also return the hosts' files.

    Raises:
        UsageError: all errors, each place once.
    """
    from deployer.plan.rendered_files import rendered_files
    from deployer.sites.lint import lint, lint_of_hosts

    hosts = project.hosts()
    errors: dict[str, UsageError] = {}
    notes: dict[Note, None] = {}
    sites: dict[str, Site] = {}
    by_host: dict[str, tuple[Site, ...]] = {}
    rendered: list[RenderedFile] = []
    resources = 0
    certificates = _Certificates(project)
    for host in hosts:
        try:
            desired = _desired(project, host, certificate=certificates.of, release=release)
        except SourceErrors as error:
            errors.update({str(one): one for one in error.errors})
            continue
        except UsageError as error:
            errors[str(error)] = error
            continue
        resources += len(desired.resources)
        by_host[host.name] = desired.sites
        sites.update({site.domain: site for site in desired.sites})
        found = lint(desired.sites, desired.resources, shipped=str(roles_path()))
        notes.update(dict.fromkeys(masked(found, desired.secrets)))
        if render:
            rendered += rendered_files(
                host.name,
                desired.resources,
                secrets=desired.secrets,
                placeholders=certificates.placeholders,
            )
    _raise(list(errors.values()))
    notes.update(dict.fromkeys(lint_of_hosts(by_host)))
    return CheckedProject(
        plays=len(project.playbook.plays),
        hosts=len(hosts),
        sites=len(sites),
        resources=resources,
        notes=without_dismissed(notes),
        rendered=tuple(rendered) if render else None,
    )


def without_dismissed(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes in the order of their places, except those whose line has ``# noqa: CODE``.

    Source: ansible-lint, https://docs.ansible.com/projects/lint/usage/#muting-warnings
    """
    files: dict[str, Sequence[str]] = {}

    def line_of(source: SourceRef) -> str:
        if source.file not in files:
            try:
                files[source.file] = Path(source.file).read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                files[source.file] = ()
        return next(iter(files[source.file][source.line - 1 : source.line]), "")

    def is_dismissed(note: Note) -> bool:
        found = _DISMISSED.search(line_of(note.source)) if note.source else None
        codes = re.split(r"[\s,]+", found[1]) if found else ()
        return note.code in {RENAMED_CODES.get(code, code) for code in codes}

    return tuple(
        sorted((note for note in notes if not is_dismissed(note)), key=lambda note: note.place())
    )


def rehearse(project: Project, host: Host) -> None:
    """Render once while the connections are being opened, so that the rendering with the host's
    facts finds its templates compiled, its roles read and its modules imported."""
    with contextlib.suppress(UsageError):
        _desired(project, host, certificate=project.certificate)


def task_tags(project: Project, play: Play, hosts: Sequence[Host]) -> frozenset[str]:
    """The tags of the tasks that `play` gives to `hosts`, those of its sites' roles included.

    Raises:
        UsageError: all errors in the play for a host.
    """
    certificate = _Certificates(project).of
    states = (_desired(project, host, certificate=certificate, play=play) for host in hosts)
    return frozenset().union(*(desired.tags for desired in states))


def _desired(
    project: Project,
    host: Host,
    *,
    certificate: Callable[[Site], CertificateFiles],
    release: str = DEFAULT_RELEASE,
    play: Play | None = None,
) -> DesiredState:
    return desired_state(
        play or project.playbook,
        host,
        inventory=project.inventory,
        about=stock_host(release),
        certificates=CertificateSources(from_files=certificate),
        options=project.render_options,
    )


class _Certificates:
    """The certificates for a check: provided ones, and placeholders for the internal CA's."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._ephemeral: dict[tuple[str, ...], CertificateFiles] = {}

    def of(self, site: Site) -> CertificateFiles:
        """The certificate of a site, or its placeholder."""
        if site.tls.issuer == "provided":
            return self._project.certificate(site)
        from deployer.certificates.internal_ca.authority import ephemeral

        if site.names not in self._ephemeral:
            self._ephemeral[site.names] = ephemeral(site.names)
        return self._ephemeral[site.names]

    @property
    def placeholders(self) -> frozenset[bytes]:
        """The contents of the placeholders."""
        return frozenset(files.fullchain_pem for files in self._ephemeral.values())


def _raise(errors: Sequence[UsageError]) -> None:
    placed = [error for error in errors if isinstance(error, SourceError)]
    if len(errors) == 1:
        raise errors[0]
    if placed and len(placed) == len(errors):
        raise SourceErrors(placed)
    if errors:
        raise UsageError("\n\n".join(map(str, errors)))
