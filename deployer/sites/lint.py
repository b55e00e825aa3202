"""What can be said against sites without asking a host, and without doubt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deployer.errors import SourceError, SourceErrors
from deployer.model import Route, Site, SourceRef
from deployer.sites.certificates import is_acme

_CHALLENGES = "/.well-known/acme-challenge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that is amiss: what it is, what it leads to, and what to write instead.

    An ``error`` cannot be deployed; a ``warning`` can, and will be a disappointment.
    """

    code: str
    severity: Literal["error", "warning"]
    problem: str
    reason: str
    source: SourceRef | None = None

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        return f"{where}{self.problem}\n      {self.reason}"


def lint(sites: Sequence[Site]) -> list[Note]:
    """All that is amiss with the sites of one host, site by site."""
    notes = list(_between_sites(sites))
    for site in sites:
        notes += _duplicate_paths(site)
        for route in site.routes:
            notes += _route_notes(site, route)
    return notes


def lint_of_hosts(sites: Mapping[str, Sequence[Site]]) -> list[Note]:
    """What is amiss with sites that several hosts serve; `sites` are by host."""
    hosts: dict[str, list[str]] = {}
    found: dict[str, Site] = {}
    for host, served in sites.items():
        for site in served:
            is_asked_there = site.tls.certbot == "host" and site.tls.challenge == "http-01"
            if is_acme(site) and is_asked_there:
                hosts.setdefault(site.domain, []).append(host)
                found[site.domain] = site
    return [
        Note(
            code="several-hosts",
            severity="warning",
            problem=f"{domain} is served by {', '.join(names)}, and each orders its own "
            "certificate",
            reason="The CA may ask any of them, and only one knows the answer: write "
            "`certbot: controller` under tls.",
            source=found[domain].source,
        )
        for domain, names in hosts.items()
        if len(names) > 1
    ]


def refuse_errors(notes: Iterable[Note]) -> None:
    """Raises `SourceErrors` where any of the notes is an error."""
    errors = [
        SourceError(note.problem, source=note.source, hint=note.reason)
        for note in notes
        if note.severity == "error"
    ]
    if errors:
        raise SourceErrors(errors)


def _between_sites(sites: Sequence[Site]) -> Iterator[Note]:
    owners: dict[str, Site] = {}
    for site in sites:
        for name in dict.fromkeys(site.names):
            owner = owners.setdefault(name, site)
            if owner is not site:
                first = f" ({owner.source})" if owner.source else ""
                yield Note(
                    code="duplicate-domain",
                    severity="error",
                    problem=f"{name} belongs to another site already{first}",
                    reason="Only one of them would be served: put the routes into one site.",
                    source=site.source,
                )
    if sites and (other := next((s for s in sites if s.proxy != sites[0].proxy), None)):
        yield Note(
            code="two-proxies",
            severity="error",
            problem=f"{other.domain} wants {other.proxy} on a host where {sites[0].domain} wants "
            f"{sites[0].proxy}",
            reason="Both would listen on ports 80 and 443: use one proxy on a host.",
            source=other.source,
        )


def _duplicate_paths(site: Site) -> Iterator[Note]:
    seen: set[tuple[str, str]] = set()
    for route in site.routes:
        path = route.path if route.match == "exact" else route.path.rstrip("/") or "/"
        if (path, route.match) in seen:
            yield Note(
                code="duplicate-path",
                severity="error",
                problem=f"{site.domain} has {path} twice",
                reason="Only the first would be reached: remove one, or give them different paths.",
                source=route.source or site.source,
            )
        seen.add((path, route.match))


def _route_notes(site: Site, route: Route) -> Iterator[Note]:
    source = route.source or site.source
    if route.ping_interval_s is not None and route.ping_interval_s >= route.idle_timeout_s:
        yield Note(
            code="ping-too-late",
            severity="warning",
            problem=f"{route.path}: a ping every {route.ping_interval_s:g} s cannot keep open what "
            f"is closed after {route.idle_timeout_s:g} s of silence",
            reason="Connections will drop with code 1006: make idle_timeout at least twice "
            "ping_interval.",
            source=source,
        )
    path = route.path.rstrip("/")
    if is_acme(site) and (path == _CHALLENGES or path.startswith(f"{_CHALLENGES}/")):
        yield Note(
            code="shadows-challenge",
            severity="warning",
            problem=f"{route.path} is where the certificate's issuer looks for its challenges",
            reason="On port 80 the issuer's answers come first there, so that this route serves "
            "port 443 alone.",
            source=source,
        )
    if route.websocket and route.origins and "any" not in route.origins:
        scheme = "https" if site.has_tls else "http"
        own = {f"{scheme}://{name}" for name in site.names}
        own |= {f"{origin}:{443 if site.has_tls else 80}" for origin in own}
        serves_pages = any(not other.websocket for other in site.routes)
        if serves_pages and not own & set(route.origins):
            yield Note(
                code="own-origin-missing",
                severity="warning",
                problem=f"{route.path}: origins has none of the site's own names",
                reason=f"The site's own pages will get 403 there: add {scheme}://{site.domain}.",
                source=source,
            )
