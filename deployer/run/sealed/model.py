"""A sealed plan: all that an apply needs, without playbook, inventory and roles, as one value.

Pure; `deployer/seal.py` makes it proof against alteration, `deployer/sealed_file.py` keeps it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployer.model import Host
from deployer.plan.desired import DesiredState
from deployer.plan.model import Change, Plan
from deployer.plan.wire import plan_from_json, plan_to_json
from deployer.run.batches import Batch
from deployer.sites.model import Site

#: The inventory's variables that say how to connect; no others go into the file.
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
    """One host's plan, with what was asked to see that it is still so, and what verifies it.

    `asked` are the queries of the ``probe`` (docs/reference/protocol.md), one per change, in order.
    """

    host: Host
    becomes_root: bool
    plan: Plan
    asked: tuple[Mapping[str, Any], ...] = ()
    sites: tuple[Site, ...] = ()
    roots: Mapping[str, bytes | None]
    secrets: frozenset[str] = frozenset()

    @property
    def desired(self) -> DesiredState:
        """What an apply of the plan must know: the sites to verify, and what is not to be shown."""
        return DesiredState(
            resources=(), handlers={}, sites=self.sites, roots=self.roots, secrets=self.secrets
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPlan:
    """A whole run as it was planned; `created_at` is in RFC 3339.

    `playbook` and `inventories`, those that were named, are for commands that a person enters.
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
        """The playbook's, for commands that a person may have to enter."""
        return Path(self.playbook)

    def hosts(self) -> tuple[Host, ...]:
        """Every host, in the order of the plays."""
        return tuple(each.host for each in self.sealed_hosts)

    def of(self, host: Host) -> SealedHost:
        """What was planned for `host`."""
        return next(each for each in self.sealed_hosts if each.host.name == host.name)

    def becomes_root(self, host: Host) -> bool:
        """Whether root is to be become on `host`."""
        return self.of(host).becomes_root

    def batches(self) -> tuple[Batch, ...]:
        """In which order the hosts are changed."""
        return self.planned_batches


def for_connecting(host: Host, *, folder: Path) -> Host:
    """`host` with those of its variables alone that say how to connect.

    Files that are named relative to `folder`, where the plan was made, are found from anywhere.
    """
    kept = {key: value for key, value in host.vars.items() if str(key).startswith(_CONNECTION_VARS)}
    for key in _FILE_VARS & kept.keys():
        named = str(kept[key])
        kept[key] = named if named.startswith("~") else str(folder / named)
    return replace(host, groups=(), vars=kept)


# --- as a document --------------------------------------------------------------------------------


def sealed_to_json(sealed: SealedPlan) -> dict[str, Any]:
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


def sealed_from_json(document: Mapping[str, Any]) -> SealedPlan:
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


def _host_to_json(sealed: SealedHost) -> dict[str, Any]:
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
        # What the runner does not need, so that it is not in a plan's own document.
        "before_contents_b64": {
            _place_of(change): base64.b64encode(change.before_content).decode()
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
    }


def _place_of(change: Change) -> str:
    """What a plan holds once: a thing may change at several stages."""
    return f"{change.stage} {change.resource_id}"


def _host_from_json(document: Mapping[str, Any]) -> SealedHost:
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
        plan=_with_what_is_kept_here(
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
    )


def _with_what_is_kept_here(
    plan: Plan, *, before: Mapping[str, str], no_log: Sequence[str]
) -> Plan:
    return replace(
        plan,
        changes=tuple(
            replace(change, before_content=base64.b64decode(before[_place_of(change)]))
            if _place_of(change) in before
            else change
            for change in plan.changes
        ),
        handlers=tuple(
            replace(run, handler=replace(run.handler, no_log=run.handler.name in no_log))
            for run in plan.handlers
        ),
    )
