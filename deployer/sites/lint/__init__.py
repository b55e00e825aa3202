"""Lint of sites, without contacting a host; docs/lint.md has a section for each code.

One module for each subject. All errors are in `errors`, because plan and apply run only that
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deployer.errors import SourceError, SourceErrors
from deployer.model import Resource
from deployer.sites.lint.errors import errors_of
from deployer.sites.lint.note import Note, note_document, warning
from deployer.sites.model import Site

__all__ = ["Note", "lint", "lint_of_hosts", "note_document", "reject_errors"]


def lint(
    sites: Sequence[Site], resources: Iterable[Resource] = (), *, shipped: str = ""
) -> list[Note]:
    """All notes on the sites of one host, and on files of `resources` that mention them.

    Notes never point into `shipped`, the folder of the built-in roles.
    """
    from deployer.sites.lint import checks, files, origins, paths, timing, tls, upstreams

    notes = list(errors_of(sites))
    for site in sites:
        for route in site.routes:
            for subject in (timing.timing, paths.paths, origins.origins, upstreams.upstreams):
                notes += subject(site, route)
        notes += [*tls.tls(site), *timing.draining(site), *timing.surviving(site)]
        notes += checks.checks(site)
    of_files = files.lint_files(sites, resources, shipped=f"{shipped}/")
    return [*notes, *upstreams.both_schemes(sites), *of_files]


def lint_of_hosts(sites: Mapping[str, Sequence[Site]]) -> list[Note]:
    """The notes on sites that several hosts serve; `sites` are by host."""
    from deployer.sites.certificate_files import is_acme

    hosts: dict[str, list[str]] = {}
    found: dict[str, Site] = {}
    for host, served in sites.items():
        for site in served:
            is_ordered_there = site.tls.certbot == "host" and site.tls.challenge == "http-01"
            if is_acme(site) and is_ordered_there:
                hosts.setdefault(site.domain, []).append(host)
                found[site.domain] = site
    return [
        warning(
            "several-hosts",
            f"{domain} is served by {', '.join(names)}, and each orders its own certificate",
            "The CA may contact any of them, and only one knows the answer: set "
            "`certbot: controller` under tls.",
            found[domain].at("tls"),
        )
        for domain, names in hosts.items()
        if len(names) > 1
    ]


def reject_errors(sites: Sequence[Site]) -> None:
    """Reject sites that cannot be deployed.

    Raises:
        SourceErrors: with all errors.
    """
    errors = [
        SourceError(note.problem, source=note.source, hint=note.reason, code=note.code)
        for note in sorted(errors_of(sites), key=Note.place)
    ]
    if errors:
        raise SourceErrors(errors)
