"""A sealed plan: everything that an apply needs, without playbook, inventory and roles. Pure.

`signature` protects it against alteration, `file` stores it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deployer.model import Document, Host
from deployer.plan.desired import DesiredState
from deployer.plan.model import Change, Plan
from deployer.plan.wire import plan_from_json, plan_to_json
from deployer.run.batches import Batch
from deployer.sites.model import RemovedSite, Site

#: Prefixes of the inventory's connection variables; no others go into the file.
_CONNECTION_VARS = ("ansible_", "deployer_")
_FILE_VARS = frozenset(
    {
        "ansible_ssh_private_key_file",
        "ansible_private_key_file",
        "deployer_known_hosts_file",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedHost:
    """One host's plan, with the queries that detect drift, and the sites to verify.

    `asked` are the queries of the ``probe`` (docs/reference/protocol.md), one per change, in order.
    """

    host: Host
    becomes_root: bool
    plan: Plan
    asked: tuple[Mapping[str, object], ...] = ()
    sites: tuple[Site, ...] = ()
    roots: Mapping[str, bytes | None]
    secrets: frozenset[str] = frozenset()
    displaces: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    removed: tuple[RemovedSite, ...] = ()
    managed: Document | None = None

    @property
    def desired(self) -> DesiredState:
        """The desired state for an apply of the plan: the sites to verify, and the secrets."""
        return DesiredState(
            resources=(),
            handlers={},
            sites=self.sites,
            roots=self.roots,
            secrets=self.secrets,
            displaces=self.displaces,
            leaving=self.leaving,
            removed=self.removed,
            managed=self.managed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPlan:
    """The plan of a run; `created_at` is in RFC 3339.

    `playbook` and `inventories` are for the command lines in messages.
    """

    created_at: str
    who: str
    origin: str
    playbook: str
    sealed_hosts: tuple[SealedHost, ...]
    planned_batches: tuple[Batch, ...]
    inventories: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The playbook's, for the command lines in messages."""
        return Path(self.playbook)

    def hosts(self) -> tuple[Host, ...]:
        """Every host, in the order of the plays."""
        return tuple(each.host for each in self.sealed_hosts)

    def of(self, host: Host) -> SealedHost:
        """The plan of `host`."""
        return next(each for each in self.sealed_hosts if each.host.name == host.name)

    def becomes_root(self, host: Host) -> bool:
        """Whether to become root on `host`."""
        return self.of(host).becomes_root

    def batches(self) -> tuple[Batch, ...]:
        """The batches in which the hosts are changed."""
        return self.planned_batches


def connection_host(host: Host, *, folder: Path) -> Host:
    """`host` with its connection variables only.

    File names relative to `folder`, where the plan was made, become absolute.
    """
    kept = {key: value for key, value in host.vars.items() if str(key).startswith(_CONNECTION_VARS)}
    for key in _FILE_VARS & kept.keys():
        named = str(kept[key])
        kept[key] = named if named.startswith("~") else str(folder / named)
    return replace(host, groups=(), vars=kept)


# --- JSON -----------------------------------------------------------------------------------------


def sealed_to_json(sealed: SealedPlan) -> dict[str, object]:
    """The plan as the document that is sealed."""
    return {
        "created_at": sealed.created_at,
        "who": sealed.who,
        "from": sealed.origin,
        "playbook": sealed.playbook,
        "inventories": list(sealed.inventories),
        "hosts": [_host_to_json(each) for each in sealed.sealed_hosts],
        "batches": [
            {
                "hosts": [host.name for host in batch.hosts],
                "max_fail_percentage": batch.max_fail_percentage,
            }
            for batch in sealed.planned_batches
        ],
    }


def sealed_from_json(document: Document) -> SealedPlan:
    """The plan that `sealed_to_json` wrote."""
    hosts = tuple(map(_host_from_json, document["hosts"]))
    by_name = {each.host.name: each.host for each in hosts}
    return SealedPlan(
        created_at=document["created_at"],
        who=document["who"],
        origin=document["from"],
        playbook=document["playbook"],
        inventories=tuple(document.get("inventories", ())),
        sealed_hosts=hosts,
        planned_batches=tuple(
            Batch(
                hosts=tuple(by_name[name] for name in batch["hosts"]),
                max_fail_percentage=batch["max_fail_percentage"],
            )
            for batch in document["batches"]
        ),
    )


def _host_to_json(sealed: SealedHost) -> dict[str, object]:
    from deployer.sites.document import sites_to_json

    host, plan = sealed.host, sealed.plan
    return {
        "name": host.name,
        "hostname": host.hostname,
        "port": host.port,
        "user": host.user,
        "vars": dict(host.vars),
        "become": sealed.becomes_root,
        "plan": plan_to_json(plan),
        # Not in the plan's own document, as the agent does not need it.
        "before_contents_b64": {
            _key_of(change): base64.b64encode(change.before_content).decode()
            for change in plan.changes
            if change.before_content is not None
        },
        "no_log_handlers": [run.handler.name for run in plan.handlers if run.handler.no_log],
        "asked": [dict(each) for each in sealed.asked],
        "sites": sites_to_json(sealed.sites),
        "roots": {
            domain: None if pem is None else pem.decode() for domain, pem in sealed.roots.items()
        },
        "secrets": sorted(sealed.secrets),
        "displaces": sorted(sealed.displaces),
        "leaving": sorted(sealed.leaving),
        "removed": [asdict(site) for site in sealed.removed],
        "managed": sealed.managed,
    }


def _key_of(change: Change) -> str:
    """Unique in a plan: a resource may change at several stages."""
    return f"{change.stage} {change.resource_id}"


def _host_from_json(document: Document) -> SealedHost:
    from deployer.sites.document import sites_from_json

    return SealedHost(
        host=Host(
            name=document["name"],
            hostname=document["hostname"],
            port=document["port"],
            user=document["user"],
            vars=document["vars"],
        ),
        becomes_root=document["become"],
        plan=_with_controller_parts(
            plan_from_json(document["plan"]),
            before=document["before_contents_b64"],
            no_log=document["no_log_handlers"],
        ),
        asked=tuple(document["asked"]),
        sites=sites_from_json(document["sites"]),
        roots={
            domain: None if pem is None else pem.encode()
            for domain, pem in document["roots"].items()
        },
        secrets=frozenset(document["secrets"]),
        displaces=frozenset(document.get("displaces", ())),
        leaving=frozenset(document.get("leaving", ())),
        removed=tuple(map(_removed_from_json, document.get("removed", ()))),
        managed=document.get("managed"),
    )


def _removed_from_json(document: Document) -> RemovedSite:
    return RemovedSite(
        **{**document, "names": tuple(document["names"]), "paths": tuple(document["paths"])}
    )


def _with_controller_parts(plan: Plan, *, before: Mapping[str, str], no_log: Sequence[str]) -> Plan:
    return replace(
        plan,
        changes=tuple(
            replace(change, before_content=base64.b64decode(before[_key_of(change)]))
            if _key_of(change) in before
            else change
            for change in plan.changes
        ),
        handlers=tuple(
            replace(run, handler=replace(run.handler, no_log=run.handler.name in no_log))
            for run in plan.handlers
        ),
    )
