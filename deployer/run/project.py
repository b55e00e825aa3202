"""The inputs of a run on the controller: playbook, inventory, variables, certificates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.errors import UsageError
from deployer.model import Document, Host, Play, Task
from deployer.run.batches import Batch, batches
from deployer.run.connections import becomes_root, refuse_unchecked
from deployer.run.sealed.signature import is_sealed_file
from deployer.sites.model import Site
from deployer.text.paths import exists, is_file

if TYPE_CHECKING:
    from deployer.plan.projects import ProjectId
    from deployer.playbook.ansible_cfg.settings import AnsibleSettings
    from deployer.playbook.inventory.load import Inventory
    from deployer.playbook.load.peek import Glance
    from deployer.playbook.playbook import Playbook, RenderOptions
    from deployer.run.options import SessionOptions
    from deployer.sites.certificate_files import CertificateFiles
    from deployer.sites.drains import Drain

_DEFAULT_INVENTORIES = ("inventory.yml", "inventory.yaml", "inventory.ini", "inventory", "hosts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A loaded playbook, its inventory, and the selection made on the command line.

    `inventories` has one for each play, as the variables of plays may change how to connect.
    `drain` is a change of what is drained on its hosts.
    """

    path: Path
    playbook: Playbook
    inventory: Inventory
    extra_vars: Mapping[str, object]
    limit: str | None = None
    tags: frozenset[str] | None = None
    skip_tags: frozenset[str] = frozenset()
    inventories: tuple[Inventory, ...] = ()
    settings: AnsibleSettings
    drain: Drain | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on settings and the inventory, for the user."""
        return (*self.settings.notes, *self.inventory.notes)

    @property
    def render_options(self) -> RenderOptions:
        """The options of every rendering of the playbook."""
        from deployer.playbook import RenderOptions

        return RenderOptions(extra_vars=self.extra_vars, tags=self.tags, skip_tags=self.skip_tags)

    def plays(self) -> list[tuple[Play, tuple[Host, ...]]]:
        """The plays, each with its hosts within ``--limit``."""
        return [
            (play, own.select(play.hosts, self.limit))
            for play, own in zip(self.playbook.plays, self.inventories, strict=True)
        ]

    def hosts(self) -> tuple[Host, ...]:
        """Every host of the plays, once, in the order of the plays.

        Raises:
            UsageError: ``--limit`` matches none of them.
        """
        found = {host.name: host for _, hosts in self.plays() for host in hosts}
        if not found:
            patterns = ", ".join(f"'{play.hosts}'" for play in self.playbook.plays)
            if self.limit is None:
                raise UsageError(
                    f"no play has a host: {patterns} match none",
                    hint="the groups are empty, or everything in them is excluded",
                )
            raise UsageError(
                f"--limit {self.limit} matches none of the hosts of {patterns}",
                hint="deployer check without --limit shows how many there are.",
            )
        return tuple(found.values())

    def batches(self) -> tuple[Batch, ...]:
        """The batches in which the hosts are changed."""
        return tuple(batches(self.plays()))

    def becomes_root(self, host: Host) -> bool:
        """Whether a play or task for `host`, or the inventory, sets ``become``."""
        by_play = any(
            play.become or any(task.become for task in _tasks(play))
            for play, hosts in self.plays()
            if any(other.name == host.name for other in hosts)
        )
        return becomes_root(host, by_play=by_play)

    def may_order_certificates(self, host: Host) -> bool:
        """Whether a site of `host` may have an ACME issuer; a template may yield any."""
        return any(
            _issuer_as_written(site) not in ("internal", "provided", "none", None)
            for play, hosts in self.plays()
            if any(other.name == host.name for other in hosts)
            for site in play.sites
        )

    def may_order_here(self) -> bool:
        """Whether a site may need certbot on the controller; a template may yield any value."""
        return any(
            (tls := site.get("tls")) is not None
            and (not isinstance(tls, Mapping) or tls.get("certbot", "host") != "host")
            for play in self.playbook.plays
            for site in play.sites
        )

    @property
    def identity(self) -> ProjectId:
        """How hosts recognise this playbook in later runs."""
        import socket

        from deployer.plan.projects import ProjectId

        names = [play.project for play in self.playbook.plays if play.project]
        return ProjectId(
            path=str(self.path.resolve()),
            origin=socket.gethostname(),
            name=names[0] if names else "",
        )

    @property
    def certbot_folder(self) -> Path:
        """The folder of the certificates that certbot orders on the controller."""
        return self.path.parent.resolve() / ".deployer" / "certbot"

    def secrets(self, host: Host, *, facts: Document) -> frozenset[str]:
        """The secrets of `host`, as far as they are known from `facts`."""
        from deployer.playbook.render.variables import host_secrets

        return host_secrets(
            (play for play, hosts in self.plays() if any(each.name == host.name for each in hosts)),
            host,
            inventory=self.inventory,
            facts=facts,
            extra_vars=self.extra_vars,
        )

    def certificate(self, site: Site) -> CertificateFiles:
        """The certificate of a site whose issuer is not an ACME one."""
        from deployer.certificates.internal_ca.authority import InternalCa
        from deployer.sites import certificate_files

        if site.tls.issuer == "provided":
            return certificate_files.provided(site, self.path.parent)
        return InternalCa(self._ca_folder).certificate_for(site.names)

    def trusted_root(self, site: Site) -> bytes | None:
        """The root of the site's certificate in PEM, or `None` for the system's trust store.

        A certificate from an ACME issuer is checked against the chain that was issued with it.
        """
        if site.tls.issuer != "internal":
            return None
        from deployer.certificates.internal_ca.authority import InternalCa

        return InternalCa(self._ca_folder).root_pem()

    @property
    def root_file(self) -> Path:
        """The root of the project's own CA, made for the first site with `issuer: internal`."""
        return self._ca_folder / "root.pem"

    @property
    def _ca_folder(self) -> Path:
        return self.path.parent / ".deployer" / "ca"


def _issuer_as_written(site: Mapping[str, object]) -> object:
    tls = site.get("tls")
    return tls.get("issuer") if isinstance(tls, Mapping) else tls


def _tasks(play: Play) -> tuple[Task, ...]:
    of_roles = (task for role in play.roles for task in (*role.tasks, *role.handlers))
    return (*play.tasks, *play.handlers, *of_roles)


def inventory_paths(
    playbook: Path, given: Sequence[Path], settings: AnsibleSettings | None = None
) -> tuple[Path, ...]:
    """The given inventories, those of the settings, or the one next to the playbook or in the
    current folder.

    Raises:
        UsageError: none was given and none was found.
    """
    if given:
        return tuple(given)
    if settings is not None and settings.inventories:
        return settings.inventories
    folders = dict.fromkeys((playbook.parent, Path()))
    for folder in folders:
        for name in _DEFAULT_INVENTORIES:
            if is_file(folder / name):
                return (folder / name,)
    raise UsageError(
        f"No inventory: neither -i/--inventory nor {_DEFAULT_INVENTORIES[0]} next to {playbook}.",
        hint="Write one (`deployer init` makes both files), or name yours with -i.",
    )


def load_project(
    path: Path,
    options: SessionOptions,
    *,
    at_first_glance: Callable[[Glance], None] | None = None,
    settings: AnsibleSettings | None = None,
) -> Project:
    """Read and validate everything on the controller.

    `at_first_glance` receives the hosts that the playbook names before the rest of it is read;
    without it, no host will be contacted. `settings` are Ansible's, if they are read already.

    Raises:
        UsageError: with every error that was found, each with its place.
    """
    from deployer import playbook
    from deployer.playbook.load.connections import inventories as play_inventories

    _check_is_playbook(path)
    settings = settings or playbook.load_settings()
    given = playbook.parse_extra_vars(options.extra_vars)
    inventory = playbook.load_inventory(
        inventory_paths(path, options.inventories, settings),
        playbook_folder=path.parent,
        extra_vars=given,
    )
    become = options.become or bool(settings.become)
    if at_first_glance is not None:
        from deployer.playbook.load.peek import peek

        if not options.accept_new:
            refuse_unchecked(inventory.hosts.values(), settings)
        at_first_glance(peek(path, inventory=inventory, limit=options.limit, become=become))
    loaded = playbook.load_playbook(
        path,
        inventory=inventory,
        extra_vars=given,
        role_paths=settings.roles_paths,
        become=become,
    )
    inventories = play_inventories(loaded.plays, inventory)
    if at_first_glance is not None and not options.accept_new:
        others = (each for each in inventories if each is not inventory)
        refuse_unchecked((host for each in others for host in each.hosts.values()), settings)
    return Project(
        path=path,
        playbook=loaded,
        inventory=inventory,
        inventories=inventories,
        settings=settings,
        extra_vars=given,
        limit=options.limit,
        tags=None if options.tags is None else _words(options.tags),
        skip_tags=_words(options.skip_tags or ""),
    )


def _check_is_playbook(path: Path) -> None:
    """Raises: UsageError, if there is no file, or a sealed plan."""
    from deployer.playbook import missing_file

    if not exists(path):  # more useful to know than that the inventory is missing, too
        raise missing_file(path, what="playbook")
    if is_sealed_file(path):
        raise UsageError(
            f"{path} is a sealed plan, not a playbook.",
            hint=f"Show it with `deployer apply --dry-run {path}`, "
            f"or apply it with `deployer apply {path}`.",
        )


def _words(text: str) -> frozenset[str]:
    """Words that commas or spaces separate."""
    return frozenset(text.replace(",", " ").split())
