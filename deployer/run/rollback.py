"""The desired state of a rollback, with all that its verification needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from deployer.agent.kinds import thing
from deployer.errors import SourceError
from deployer.plan.desired import DesiredState, HostFacts, with_chains
from deployer.plan.leftovers import is_certificate
from deployer.plan.rollback import former_state
from deployer.sites.document import sites_from_json
from deployer.sites.model import Site
from deployer.sites.secret_headers import secrets_of_site

if TYPE_CHECKING:
    from deployer.agent.replies import Managed, UndoReply
    from deployer.model import Document, Host
    from deployer.plan.model import Plan
    from deployer.run.project import Project
    from deployer.transport import Link
    from deployer.verify.stored import Verification


class Rollback:
    """The return to the generation in `reply`.

    It is verified with the roots and checks that were stored with it, and so are the sites of other
    playbooks that it changes. Generations without them, of earlier versions, are verified with the
    roots that the project has now.
    """

    def __init__(self, reply: UndoReply, project: Project, host: Host, about: HostFacts) -> None:
        self._reply = reply
        self._project = project
        self._about = about
        self._secrets = project.secrets(host, facts=about.facts)
        self._known: set[str] | None = None
        self._texts: list[str] = list(reply["unknown"])

    @property
    def unknowns(self) -> tuple[str, ...]:
        """Texts about what cannot be restored or verified."""
        return tuple(self._texts)

    def desired(self, link: Link) -> DesiredState:
        """The state of that generation, with the sites of its own playbook."""
        reply = self._reply
        sites, roots = self._restored(reply["sites"], reply["verification"])
        former = replace(
            former_state(reply),
            sites=sites,
            roots=roots,
            secrets=self._secrets.union(*map(secrets_of_site, sites)),
            leaving=self._leaving(),
            undoes=True,
        )
        return _with_chains(former, self._about, link)

    def _leaving(self) -> frozenset[str]:
        """The names of sites that later generations brought."""
        reply = self._reply
        before = [*reply["sites"], *(site for other in reply["others"] for site in other["sites"])]
        return frozenset(
            {name for site in reply["undone_sites"] for name in _names_of(site)}.difference(
                *(_names_of(site) for site in before)
            )
        )

    def with_changed_sites(
        self, desired: DesiredState, plan: Plan, managed: Managed | None, link: Link
    ) -> DesiredState:
        """`desired` with the sites of other playbooks for which `plan` changes something.

        `managed` is the present inventory of the host.
        """
        then = self._reply["managed"]
        if then is None:
            return desired
        entries = [*then["entries"], *(managed["entries"] if managed else ())]
        changed = {thing(each.resource_id) for each in plan.changes if each.action != "no-op"}
        domains = {each.get("site") for each in entries if thing(each["id"]) in changed}
        domains &= {each.get("site") for each in then["entries"] if not is_certificate(each)}
        more: tuple[Site, ...] = ()
        roots = dict(desired.roots)
        for other in self._reply["others"]:
            chosen = [site for site in other["sites"] if site["domain"] in domains]
            sites, of_sites = self._restored(chosen, other["verification"])
            more, roots = (*more, *sites), {**of_sites, **roots}
        if not more:
            return desired
        secrets = desired.secrets.union(*map(secrets_of_site, more))
        found = replace(desired, sites=(*desired.sites, *more), roots=roots, secrets=secrets)
        return _with_chains(found, self._about, link)

    def _restored(
        self, documents: Sequence[Mapping[str, object]], stored: Document | None
    ) -> tuple[tuple[Site, ...], dict[str, bytes | None]]:
        roots: Mapping[str, bytes | None] = {}
        if stored is None:
            sites = sites_from_json(documents)
            if any(site.has_tls for site in sites):
                self._note_missing_roots()
        else:
            from deployer.verify.stored import restored

            verification = cast("Verification", stored)
            known = self._secrets_now() if verification["hidden"] else set()
            sites, roots, left_out = restored(documents, verification, known)
            self._texts += left_out
        return sites, {
            site.domain: roots[site.domain]
            if site.domain in roots
            else self._project.trusted_root(site)
            for site in sites
        }

    def _note_missing_roots(self) -> None:
        words = (
            "an earlier version of deployer made this generation and did not store how it was "
            "verified: its certificates are compared with the roots that this project has now"
        )
        if words not in self._texts:
            self._texts.append(words)

    def _secrets_now(self) -> set[str]:
        if self._known is None:
            from deployer.verify.stored import secrets_in

            self._known = secrets_in(_checks_as_written(self._project)) | self._secrets
        return self._known


def _names_of(site: Document) -> tuple[str, ...]:
    return site["domain"], *site["aliases"]


def _with_chains(former: DesiredState, about: HostFacts, link: Link) -> DesiredState:
    """Certificates from ACME issuers stay as they are: their chains are those on the host now."""
    from deployer.sites.certificate_files import is_acme

    if not any(is_acme(site) for site in former.sites):
        return former
    from deployer.certificates.on_host import look

    try:
        return with_chains(former, about.certificates or look(link))
    except SourceError:  # a ca_bundle of then is no longer on this machine: the stored roots remain
        return former


def _checks_as_written(project: Project) -> Iterator[Document]:
    """The checks of the playbook's sites; their templates are not rendered."""
    for play in project.playbook.plays:
        for site in play.sites:
            checks = site.get("verify")
            routes = site.get("routes")
            probes = [
                route.get("probe")
                for route in (routes if isinstance(routes, list | tuple) else ())
                if isinstance(route, Mapping)
            ]
            listed = checks if isinstance(checks, list | tuple) else ()
            yield from (check for check in (*listed, *probes) if isinstance(check, Mapping))
