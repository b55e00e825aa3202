"""The core types: frozen values shared by layers that do not import each other.

The playbook's text becomes `Host`, `Play` and `Site` (`sites.model`); those become `Resource`s; the
state of a host comes back as `Observation`s; both together make a `Plan` of `Change`s
(`plan.model`). Absent is ``None`` everywhere, `mode` is a four-digit octal string, and names carry
units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: A value of any type: of YAML, or of a template.
Value = Any
#: A JSON object; its keys are described where it is written.
Document = Mapping[str, Value]
#: The attributes of a resource.
Attributes = Document
Proxy = Literal["nginx", "apache", "haproxy"]  # `deployer.proxies` has the rest about them
Hop = Literal["backend", "proxy", "public"]
Severity = Literal["error", "warning", "note"]

DEFAULT_PROXY: Proxy = "nginx"

#: The detail of a check that was ended by Ctrl-C.
UNFINISHED = "not finished: interrupted"


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A place in a source file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host of the inventory. `vars` are its merged inventory variables, including `ansible_*`."""

    name: str
    hostname: str
    port: int = 22
    user: str | None = None
    groups: tuple[str, ...] = ()
    vars: Attributes = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether the agent runs here, without SSH (``ansible_connection: local``)."""
        return self.vars.get("ansible_connection") == "local"


# --- the playbook ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task or handler as written; arguments and conditions are not rendered yet."""

    name: str
    module: str
    args: Attributes
    when: tuple[str, ...] = ()
    loop: object = None
    notify: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    become: bool | None = None
    no_log: bool = False
    vars: Attributes = field(default_factory=dict)
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role as read from its folder, with the variables and tags of its call."""

    name: str
    path: str
    defaults: Attributes
    vars: Attributes
    tasks: tuple[Task, ...]
    handlers: tuple[Task, ...]
    tags: frozenset[str] = frozenset()
    when: tuple[str, ...] = ()
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """A play as written; the form of `sites` is checked, but they are not rendered yet."""

    name: str
    hosts: str
    become: bool = False
    serial: tuple[int | str, ...] = ()
    max_fail_percentage: float = 0.0
    vars: Attributes = field(default_factory=dict)
    secret_vars: Attributes = field(default_factory=dict)
    roles: tuple[Role, ...] = ()
    tasks: tuple[Task, ...] = ()
    handlers: tuple[Task, ...] = ()
    sites: tuple[Attributes, ...] = ()
    displaces: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    project: str = ""
    source: SourceRef | None = None


# --- desired and observed -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The desired state of one thing on a host; `attributes` is `None` if it should not exist.

    Only the given attributes are managed; a file without `mode` keeps the one it has. `content` is
    a file's bytes (`attributes` then has their `sha256` and `size`). The content of a `secret`
    resource is never shown. `former` is the file that a new one replaces, for the diff. `notify`
    are names of handlers. `site` is the domain of the site that it belongs to, `task` identifies
    the task that names it. A folder that should not exist is only removed `if_empty`.
    """

    kind: str
    name: str
    attributes: Attributes | None
    content: bytes | None = None
    former: str = ""
    notify: tuple[str, ...] = ()
    stage: int = 0
    secret: bool = False
    reason: str = ""
    source: SourceRef | None = None
    site: str = ""
    task: str = ""
    if_empty: bool = False

    @property
    def id(self) -> str:
        """``kind:name``, unique in a plan."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """Runs once at the end of a stage in which a changed resource notified it.

    `action` is ``reload``, ``restart``, ``start`` or ``stop`` for a service, ``run`` for a command.
    `config_test` runs first and must exit with 0: the proxy's own check of its configuration.
    """

    name: str
    action: str
    unit: str = ""
    argv: tuple[str, ...] = ()
    config_test: tuple[str, ...] = ()
    no_log: bool = False
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The present state of one thing on a host; `attributes` is `None` if it does not exist.

    `fingerprint` changes with any managed attribute; `content` is a file's bytes if requested, or
    those of the file that it replaces, and `like_former` whether both are the same; `entries` are
    the names in a folder if requested; `problem` is why the thing could not be read, and `unsafe`
    why it must not be changed.
    """

    resource_id: str
    attributes: Attributes | None
    fingerprint: str
    content: bytes | None = None
    like_former: bool = False
    entries: tuple[str, ...] = ()
    problem: str = ""
    unsafe: str = ""


# --- verification ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeResult:
    """One opening handshake (RFC 6455, section 4), at one hop."""

    uri: str
    hop: Hop
    status_code: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None
    timings_s: Mapping[str, float] = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A different finding that could apply instead: its code, and how to tell the two apart."""

    code: str
    tell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem that can be acted on: the hop, the symptom, the cause and the fix.

    An ``error`` fails its check, a ``warning`` is likely to cause trouble later, a ``note``
    explains an observation. `request` and `response` have one line for each header, without
    secrets; `directive` is what to write, and `file` the place (with its line, if known);
    `alternatives` are other findings with the same symptom.
    """

    code: str
    hop: Hop
    symptom: str
    cause: str
    fix: str
    evidence: str = ""
    severity: Severity = "error"
    request: str = ""
    response: str = ""
    directive: str = ""
    file: str = ""
    alternatives: tuple[Alternative, ...] = ()

    @property
    def page(self) -> str:
        """The page of the documentation on it."""
        return f"docs/findings/{self.code}.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one check of a site. `target` is the route's path, or what else was checked.

    `valid_until` is the last day of a certificate that passed, ``2027-02-19``. `answered_by` is the
    process at the hop *backend*, ``python3 (process 812 of chat.service)``. A `skipped` check
    counts as passed; its `detail` has the reason.
    """

    site: str
    name: str
    target: str
    hop: Hop
    ok: bool
    detail: str = ""
    seconds: float = 0.0
    valid_until: str = ""
    handshake: HandshakeResult | None = None
    finding: Finding | None = None
    skipped: bool = False
    answered_by: str = ""
