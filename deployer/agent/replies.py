"""The agent's replies and events (docs/reference/protocol.md), for type checkers only.

Optional keys are in separate classes with ``total=False``: Python 3.8 has no `NotRequired`.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from deployer.agent.commit.states import CommitState

ProxyName = Literal["nginx", "apache", "haproxy"]

# --- parts ----------------------------------------------------------------------------------------


class Listener(TypedDict):
    """A process that listens on a port; `unit` is empty if it belongs to no service."""

    port: int
    pid: int
    process: str
    unit: str


# `from` is a keyword, which the class syntax does not allow.
LockState = TypedDict("LockState", {"who": str, "from": str, "since": str})


class KeptPath(TypedDict):
    """A path that a revert left as others had changed it."""

    path: str
    why: str


class KeptFile(KeptPath, total=False):
    """The same with contents, if they may be shown; `None` if the file was or is missing."""

    former_b64: str | None
    now_b64: str | None


class FailedStep(TypedDict):
    """Something that a revert could not restore."""

    resource_id: str
    message: str


UnfinishedCommit = TypedDict(
    "UnfinishedCommit",
    {
        "commit": str,
        "state": CommitState,
        "who": str,
        "from": str,
        "time": str,
        "deadline": str,
        "why": str,
        "failed": "list[FailedStep]",
        "kept": "list[KeptPath]",
        "watched": bool,
    },
)
EndedCommit = TypedDict(
    "EndedCommit",
    {
        "commit": str,
        "state": CommitState,
        "who": str,
        "from": str,
        "time": str,
        "why": str,
        "ended": str,
        "kept": "list[KeptPath]",
    },
)


class HandlerRecord(TypedDict, total=False):
    """A handler as recorded; all keys are optional."""

    name: str
    action: str
    unit: str
    argv: list[str]
    config_test: list[str]


OwedHandler = TypedDict(
    "OwedHandler",
    {"handler": HandlerRecord, "since": str, "commit": str, "who": str, "from": str},
)


RollbackRecord = TypedDict(
    "RollbackRecord",
    {
        "to": int,
        "generation": int,
        "who": str,
        "from": str,
        "time": str,
        "resource_ids": "list[str]",
    },
)


class _ManagedEntry(TypedDict):
    id: str
    since: int
    by: list[str]


class ManagedEntry(_ManagedEntry, total=False):
    """A resource that deployer created; `by` are the playbooks that name it."""

    site: str
    task: str
    notify: list[str]
    deep: bool
    secret: bool
    implicit: bool


class _OwnPort(TypedDict, total=False):
    port: int
    proxy_protocol: bool


class ReachedSite(_OwnPort):
    """How a site is reached: `paths` are those of its WebSockets, `port` if it has its own.

    With `proxy_protocol`, connections begin with a PROXY header.
    """

    names: list[str]
    proxy: str
    tls: bool
    paths: list[str]


class _Managed(TypedDict):
    entries: list[ManagedEntry]
    sites: dict[str, ReachedSite]
    handlers: dict[str, HandlerRecord]


class Managed(_Managed, total=False):
    """What deployer has created on a host, and which upstreams are drained, by site."""

    drained: dict[str, list[str]]


class HostState(TypedDict):
    """The state of deployer's own records on a host."""

    lock: LockState | None
    pending: UnfinishedCommit | None
    generation: int
    last: EndedCommit | None
    rollback: RollbackRecord | None
    managed: Managed | None
    owed: list[OwedHandler]
    proxies: list[ProxyName]


class ChangedResource(TypedDict):
    """One change of a commit."""

    resource_id: str
    action: str


class _Record(TypedDict):
    commit: str
    time: str
    who: str
    digest: str
    changes: list[ChangedResource]
    verified: list[str]
    state: CommitState
    generation: int | None
    sequence: int


class CommitRecord(_Record, total=False):
    """A commit of the history. Its key ``from`` is a keyword: read it with `get`."""

    why: str
    ended: str
    kept: list[KeptPath]
    failed: list[FailedStep]
    sites: list[dict[str, Any]]
    rolls_back_to: int | None
    purpose: str


# --- replies --------------------------------------------------------------------------------------


class SystemReply(TypedDict):
    """The distribution of a host, and the requested programs that it does not have."""

    name: str
    version: str
    like: list[str]
    codenames: list[str]
    missing: list[str]


class SharedFile(TypedDict, total=False):
    """What a configuration file that several playbooks share has to keep.

    `sites` are the files of sites, content by path; `former` those of a file that an earlier
    version of deployer wrote; `kept` is its hand-written end. Only `problem` if it is unreadable.
    """

    sites: dict[str, str]
    former: list[dict[str, Any]]
    kept: str
    problem: str


class FactsReply(TypedDict):
    """The reply to ``facts``."""

    facts: dict[str, Any]
    system: SystemReply
    packages: dict[str, dict[str, str | None]]
    listeners: list[Listener]
    shared: dict[str, SharedFile]
    deployer: HostState


class _Observation(TypedDict):
    id: str
    attributes: dict[str, Any] | None
    fingerprint: str


class ObservationReply(_Observation, total=False):
    """One resource as a probe found it."""

    content_b64: str
    entries: list[str]
    like_former: bool
    problem: str
    unsafe: str


class ProbeReply(TypedDict):
    """The reply to ``probe``."""

    observations: list[ObservationReply]


class ApplyReply(TypedDict):
    """The reply to ``apply``; and to ``abandon``."""

    commit: str
    state: CommitState


class ConfirmReply(ApplyReply):
    """The reply to ``confirm``."""

    generation: int


class RevertReply(ApplyReply):
    """The reply to ``revert``."""

    kept: list[KeptFile]
    failed: list[FailedStep]
    certificates_kept: list[str]


class ClaimReply(TypedDict):
    """The reply to ``claim``."""

    is_noted: bool


class HistoryReply(TypedDict):
    """The reply to ``history``."""

    generations: list[CommitRecord]


class _FormerResource(TypedDict):
    kind: str
    name: str
    attributes: dict[str, Any] | None
    generation: int


class FormerResource(_FormerResource, total=False):
    """A resource as it was before later generations."""

    content_b64: str
    secret: bool
    gone: bool


class FormerSites(TypedDict):
    """Sites of another playbook, and how they were verified."""

    sites: list[dict[str, Any]]
    verification: dict[str, Any] | None


class UndoReply(TypedDict):
    """The reply to ``undo``."""

    to: int
    resources: list[FormerResource]
    handlers: list[HandlerRecord]
    sites: list[dict[str, Any]]
    undone_sites: list[dict[str, Any]]
    verification: dict[str, Any] | None
    others: list[FormerSites]
    managed: Managed | None
    unknown: list[str]


class RelayReply(TypedDict):
    """The reply to ``connect``."""

    relay: int


class PlacesReply(TypedDict):
    """The reply to ``places``: process slots of Apache."""

    places: int
    stay: int


class Holder(TypedDict):
    """A process that accepts connections; `unit` has its suffix, and is empty if there is none.

    If systemd listens for a .socket unit, that is the `unit`, and `starts` is the unit it starts.
    """

    pid: int
    process: str
    unit: str
    starts: str


class HoldersReply(TypedDict):
    """The reply to ``holders``: a list for each endpoint, in their order."""

    holders: list[list[Holder]]


class _Worker(TypedDict):
    pid: int
    websockets: int
    connections: int
    is_old: bool


class WorkerConnections(_Worker, total=False):
    """The connections of one process of a proxy."""

    clients: list[str]


class UnitConnections(TypedDict):
    """The connections of one proxy."""

    workers: list[WorkerConnections]
    drain_s: float | None


class ConnectionsReply(TypedDict):
    """The reply to ``connections``: those of units that run."""

    units: dict[str, UnitConnections]


class _InspectReply(TypedDict):
    proxies: list[dict[str, Any]]
    notes: list[str]
    addresses: list[str]


class InspectReply(_InspectReply, total=False):
    """The reply to ``inspect``; `deployer.proxies.inspect` reads its items."""

    unread: list[str]
    others: list[dict[str, Any]]


class LookReply(TypedDict):
    """The reply to ``certificates`` with `do` ``look``."""

    certificates: dict[str, dict[str, Any]]
    sites: list[dict[str, Any]]
    others_use_certbot: bool


class StatusReply(TypedDict):
    """The reply to ``certificates`` with `do` ``status``."""

    certificates: list[dict[str, Any]]


class RenewReply(TypedDict):
    """The reply to ``certificates`` with `do` ``renew``: domain → why it failed."""

    failed: dict[str, str]


class TimerReply(TypedDict):
    """The reply to ``certificates`` with `do` ``timer``."""

    next_run: str | None


# --- events ---------------------------------------------------------------------------------------


class _Step(TypedDict):
    event: str
    n: int
    total: int
    resource_id: str
    action: str
    state: str


class StepEvent(_Step, total=False):
    """A step starts, or is done after `seconds`."""

    seconds: float
