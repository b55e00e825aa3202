"""What can be said against sites without asking a host; docs/lint.md has a section for each code.

A module holds what belongs to one subject. What is an error stands in `impossible` alone, because
plans and applies ask for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deployer.errors import SourceError, SourceErrors
from deployer.model import Resource
from deployer.sites.lint.impossible import impossible
from deployer.sites.lint.note import Note, note_document, warning
from deployer.sites.model import Site

__all__ = ["Note", "lint", "lint_of_hosts", "note_document", "refuse_impossible"]


def lint(
    sites: Sequence[Site], resources: Iterable[Resource] = (), *, shipped: str = ""
) -> list[Note]:
    """All that is amiss with the sites of one host, and with the files that name them.

    `shipped` is the folder of the built-in roles, whose tasks nobody is sent to.
    """
    from deployer.sites.lint import checks, files, origins, paths, timing, tls, upstreams

    notes = list(impossible(sites))
    for site in sites:
        for route in site.routes:
            for subject in (timing.timing, paths.paths, origins.origins, upstreams.upstreams):
                notes += subject(site, route)
        notes += [*tls.tls(site), *timing.draining(site), *timing.surviving(site)]
        notes += checks.checks(site)
    of_files = files.lint_files(sites, resources, shipped=f"{shipped}/")
    return [*notes, *upstreams.both_schemes(sites), *of_files]


def lint_of_hosts(sites: Mapping[str, Sequence[Site]]) -> list[Note]:
    """What is amiss with sites that several hosts serve; `sites` are by host."""
    from deployer.sites.certificate_files import is_acme

    hosts: dict[str, list[str]] = {}
    found: dict[str, Site] = {}
    for host, served in sites.items():
        for site in served:
            is_asked_there = site.tls.certbot == "host" and site.tls.challenge == "http-01"
            if is_acme(site) and is_asked_there:
                hosts.setdefault(site.domain, []).append(host)
                found[site.domain] = site
    return [
        warning(
            "several-hosts",
            f"{domain} is served by {', '.join(names)}, and each orders its own certificate",
            "The CA may ask any of them, and only one knows the answer: write "
            "`certbot: controller` under tls.",
            found[domain].at("tls"),
        )
        for domain, names in hosts.items()
        if len(names) > 1
    ]


def refuse_impossible(sites: Sequence[Site]) -> None:
    """Raises `SourceErrors` where something cannot be deployed."""
    errors = [
        SourceError(note.problem, source=note.source, hint=note.reason, code=note.code)
        for note in sorted(impossible(sites), key=Note.place)
    ]
    if errors:
        raise SourceErrors(errors)
