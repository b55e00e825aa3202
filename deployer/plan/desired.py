"""The desired state of one host: resources, handlers and sites from rendered plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from deployer.errors import SourceError, SourceErrors
from deployer.model import Document, Handler, Host, Resource, SourceRef
from deployer.plan.model import Change
from deployer.plan.ports import Listener
from deployer.proxies import CONFIG_TESTS
from deployer.proxies.roles import ServingHost
from deployer.resources import KINDS, PATH_KINDS, Origin, from_task, handler_from_task
from deployer.sites.model import RemovedSite, Site

if TYPE_CHECKING:
    from deployer.playbook import Plays, RenderedTask, RenderOptions, RoleCall
    from deployer.playbook.inventory.load import Inventory
    from deployer.sites.acme import CertificatesOnHost, OnController
    from deployer.sites.certificate_files import CertificateFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSources:
    """Where the certificates of sites come from.

    `from_files` returns that of a site whose issuer is not an ACME one; `on_controller` are those
    that are ordered here. With `staging_first`, a host's first order at Let's Encrypt is preceded
    by one at its staging environment.
    """

    from_files: Callable[[Site], CertificateFiles]
    staging_first: bool = True
    on_controller: OnController | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts(ServingHost):
    """The facts of a host, with the processes that listen on the sites' ports."""

    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """The desired state of one host.

    `roots` maps each domain to the PEM of the root that its certificate must lead to, or to `None`
    for the system's trust store. `secrets` are texts that must never be shown. `tags` are those of
    all tasks. `displaces` are names of other sites that the host may stop serving; `leaving` are
    names that the run removes on purpose. With `undoes`, files become what they were before earlier
    generations, and the names in them leave on purpose, too. `rolls_back_to` is the generation
    whose state it is, if it is that of a rollback.

    `unwanted` is what tasks and roles with ``state: absent`` name, `absent_sites` are the domains
    of such sites, and `skipped` the tasks that do not apply to this host. With tags, the state
    `is_part` of the whole. `removed` are the sites whose names stop answering, and `managed` is the
    record for the host of what the playbook names (`deployer.plan.leftovers`). `purpose` is why the
    state changes, if the playbook is not the reason.
    """

    resources: tuple[Resource, ...]
    handlers: Mapping[str, Handler]
    sites: tuple[Site, ...]
    roots: Mapping[str, bytes | None] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    displaces: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    undoes: bool = False
    rolls_back_to: int | None = None
    unwanted: tuple[Resource, ...] = ()
    absent_sites: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    is_part: bool = False
    removed: tuple[RemovedSite, ...] = ()
    managed: Document | None = None
    purpose: str = ""


def desired_state(
    plays: Plays,
    host: Host,
    *,
    inventory: Inventory,
    about: HostFacts,
    certificates: CertificateSources,
    options: RenderOptions,
) -> DesiredState:
    """Everything that `plays` define for `host`.

    Raises:
        UsageError: an error in the playbook, a role, a template or a certificate.
    """
    from deployer.playbook import render_host
    from deployer.sites.lint import reject_errors

    site_roles = _SiteRoles(about, certificates)
    rendered = render_host(
        plays,
        host,
        inventory=inventory,
        facts=about.facts,
        site_roles=site_roles,
        options=options,
    )
    reject_errors(rendered.sites)
    is_part = options.tags is not None or bool(options.skip_tags)
    present = [task for task in rendered.tasks if not task.absent]
    return DesiredState(
        resources=_resources(present),
        handlers={
            task.name: handler_from_task(
                task.name, task.module, task.args, _origin(task), CONFIG_TESTS
            )
            for task in rendered.handlers
        },
        sites=in_rotation(rendered.sites, about) if _writes_sites(present, is_part) else (),
        tags=frozenset().union(*(task.tags for task in rendered.tasks)),
        roots=site_roles.roots,
        secrets=rendered.secrets,
        displaces=rendered.displaces,
        unwanted=tuple(
            resource
            for task in rendered.tasks
            if task.absent
            for resource in from_task(task.module, task.args, _origin(task))
        ),
        absent_sites=rendered.absent_sites if _selects_sites(options) else frozenset(),
        skipped=rendered.skipped,
        is_part=is_part,
    )


def in_rotation(sites: tuple[Site, ...], about: HostFacts) -> tuple[Site, ...]:
    """`sites` with what is drained on the host."""
    if not any(about.drained.values()):
        return sites
    from deployer.sites.drains import with_drained

    return with_drained(sites, about.drained)


class _SiteRoles:
    """The roles that sites need. `roots` then holds the root of each certificate from files."""

    def __init__(self, about: HostFacts, certificates: CertificateSources) -> None:
        self._about = about
        self._sources = certificates
        self.roots: dict[str, bytes | None] = {}

    def __call__(self, sites: tuple[Site, ...]) -> Sequence[RoleCall]:
        if not sites and not self._about.removed:
            return []
        from deployer.agent import bundle
        from deployer.playbook import RoleCall
        from deployer.proxies.roles import Ordering, proxy_roles
        from deployer.sites.certificate_files import is_acme

        about, sources = self._about, self._sources
        sites = in_rotation(sites, about)
        of_files = [site for site in sites if site.has_tls and not is_acme(site)]
        certificates = {site.domain: sources.from_files(site) for site in of_files}
        self.roots.update({name: files.root_pem for name, files in certificates.items()})
        roles = proxy_roles(
            sites,
            host=about,
            certificates=certificates,
            ordering=Ordering(
                program=bundle.archive,
                staging_first=sources.staging_first,
                on_controller=sources.on_controller,
            ),
        )
        return [
            RoleCall(role=role.role, vars=role.vars, stage=role.stage, source=role.source)
            for role in roles
        ]


def with_chains(desired: DesiredState, on_host: CertificatesOnHost | None) -> DesiredState:
    """`desired` with the roots of certificates from ACME issuers.

    Let's Encrypt certificates must lead to a root of this system. For any other issuer the root is
    the chain that the issuer gave to the host; deployer cannot judge whether clients trust it.
    """
    from deployer.sites import acme
    from deployer.sites.certificate_files import is_acme

    if on_host is None:
        return desired
    chains: dict[str, bytes | None] = {
        site.domain: on_host.chain(site.domain, more=acme.ca_bundle_of(site)) or None
        for site in desired.sites
        if is_acme(site) and site.tls.issuer != "letsencrypt"
    }
    return replace(desired, roots={**desired.roots, **chains})


def probe_requests(resources: Sequence[Resource]) -> list[dict[str, object]]:
    """The queries of a ``probe`` (docs/reference/protocol.md) for everything that is desired."""
    latest = {resource.id: resource for resource in resources}
    return [
        {
            "id": resource.id,
            "kind": resource.kind,
            "name": resource.name,
            "query": KINDS[resource.kind].query(resource),
        }
        for resource in latest.values()
    ]


def probe_request_for(change: Change) -> dict[str, object]:
    """The ``probe`` request that observes a resource that was added by the plan itself."""
    return {"id": change.resource_id, "kind": change.kind, "name": change.name, "query": {}}


def _selects_sites(options: RenderOptions) -> bool:
    """Whether a run with these tags changes the sites themselves."""
    from deployer.playbook.render.tags import selected

    return selected(frozenset({"sites"}), wanted=options.tags, skipped=options.skip_tags)


def _writes_sites(tasks: Sequence[RenderedTask], is_part: bool) -> bool:
    """Whether a run is complete or includes tasks of sites: only then are sites verified."""
    return not is_part or any(
        "sites" in task.tags or task.module == "certificate" for task in tasks
    )


def _origin(task: RenderedTask) -> Origin:
    return Origin(
        reason=task.name,
        notify=task.notify,
        secret=task.secret or task.no_log,
        stage=task.stage,
        source=task.source,
        site=task.site,
        task=task.origin,
    )


def _resources(tasks: Sequence[RenderedTask]) -> tuple[Resource, ...]:
    """The tasks' resources; tasks that define the same resource identically are merged.

    A later stage of the commit may define a resource differently; within one stage that is an
    error.
    """
    found: dict[tuple[str, int], Resource] = {}
    latest: dict[str, Resource] = {}
    errors: list[SourceError] = []
    for task in tasks:
        for resource in from_task(task.module, task.args, _origin(task)):
            name = _identity(resource)
            earlier = latest.get(name)
            if earlier is not None and _is_same(earlier, resource):
                if resource.notify != earlier.notify:
                    key = (name, earlier.stage)
                    found[key] = latest[name] = _with_both_notified(earlier, resource)
            elif earlier is not None and earlier.stage >= resource.stage:
                errors.append(_conflict(resource, earlier))
            else:
                found[name, resource.stage] = latest[name] = resource
    if errors:
        raise SourceErrors(errors)
    return tuple(found.values())


def _is_same(one: Resource, other: Resource) -> bool:
    return (one.attributes, one.kind) == (other.attributes, other.kind)


def _identity(resource: Resource) -> str:
    """The key that is unique within a stage: the path for kinds that have one, else the id."""
    return resource.name if resource.kind in PATH_KINDS else resource.id


def _with_both_notified(first: Resource, second: Resource) -> Resource:
    return replace(first, notify=tuple(dict.fromkeys((*first.notify, *second.notify))))


def _conflict(resource: Resource, earlier: Resource) -> SourceError:
    place = _place(earlier.source)
    return SourceError(
        f"{resource.kind} {resource.name} is defined differently here and {place}",
        source=resource.source,
        hint="A resource has one desired state in a run; remove one of the two tasks.",
    )


def _place(source: SourceRef | None) -> str:
    return f"at {source}" if source else "in a different task"
