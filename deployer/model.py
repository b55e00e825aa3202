"""The core types: frozen values that every station of the data's way hands to the next.

Text becomes `Host`, `Play` and `Site`; those become `Resource`s; what is on the host comes back as
`Observation`s; both together make a `Plan` of `Change`s. Absent is ``None`` everywhere, `mode` is a
four-digit octal string, and units stand in the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Attributes = Mapping[str, Any]
Proxy = Literal["nginx", "apache", "haproxy"]
Hop = Literal["backend", "proxy", "public"]
Action = Literal["create", "update", "delete", "no-op"]
ForecastAction = Literal["reload", "restart", "stop"]
Severity = Literal["error", "warning", "note"]

PLAN_FORMAT_VERSION = 1

#: The systemd unit of each proxy, which is the name of its package, too.
PROXY_UNITS: Mapping[Proxy, str] = {"nginx": "nginx", "apache": "apache2", "haproxy": "haproxy"}

#: The detail of a check that Ctrl-C ended.
UNFINISHED = "not finished: interrupted"


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A place in a file that a person wrote; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host of the inventory. `vars` are its merged inventory variables, `ansible_*` included."""

    name: str
    hostname: str
    port: int = 22
    user: str | None = None
    groups: tuple[str, ...] = ()
    vars: Attributes = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether the runner is started here, without SSH (``ansible_connection: local``)."""
        return self.vars.get("ansible_connection") == "local"


# --- the playbook ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task or handler as written: arguments and conditions are not rendered yet."""

    name: str
    module: str
    args: Attributes
    when: tuple[str, ...] = ()
    loop: Any = None
    notify: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    become: bool | None = None
    no_log: bool = False
    vars: Attributes = field(default_factory=dict)
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role as read from its folder, with the variables and tags of the place that names it."""

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
    """A play as written; `sites` are validated in form, but not rendered yet."""

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
    tags: frozenset[str] = frozenset()
    source: SourceRef | None = None


# --- sites ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where a route's requests go: a TCP address, or a unix socket (then `host` is empty)."""

    host: str = ""
    port: int = 0
    socket: str = ""
    tls: bool = False

    def __str__(self) -> str:
        scheme = "https" if self.tls else "http"
        if self.socket:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Eab:
    """External account binding: which customer of a CA asks (RFC 8555, section 7.3.4)."""

    kid: str
    hmac_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """The certbot plugin that answers DNS-01 challenges.

    `credentials` is a file on the controller; `propagation_s` is how long the CA is kept waiting.
    """

    plugin: str
    credentials: str | None = None
    propagation_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a site gets its certificate.

    `issuer` is a word of the contract or an ACME directory's URL; `certificate` and `key` are paths
    on the controller for ``provided``; `hsts_s` is `None` unless HSTS was asked for. From `certbot`
    on it is for ACME issuers alone: where certbot runs, how it proves the names, which profile of
    the CA's and which kind of key is asked for, whether the CA is asked when to renew, and whose
    rate limits hold.
    """

    issuer: str = "none"
    email: str | None = None
    hsts_s: int | None = None
    ca_bundle: str | None = None
    certificate: str | None = None
    key: str | None = None
    certbot: Literal["host", "controller"] = "host"
    challenge: Literal["http-01", "dns-01"] = "http-01"
    dns: Dns | None = None
    profile: str | None = None
    key_type: str = "ecdsa-p256"
    ari: bool = False
    eab: Eab | None = None
    limits: Literal["letsencrypt", "none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of a site. Exactly one of `upstreams` and `root` is set.

    `origins` is `None` for the site's own names, ``("any",)`` for every page, otherwise a list of
    ``scheme://host[:port]``, in lower case. With `login`, the service turns away whoever has not
    logged in, as no check has. `places` has where each key that is written stands.
    """

    path: str
    match: Literal["prefix", "exact"] = "prefix"
    websocket: bool = False
    upstreams: tuple[Upstream, ...] = ()
    root: str | None = None
    strip_prefix: bool = False
    idle_timeout_s: float = 3600.0
    ping_interval_s: float | None = None
    origins: tuple[str, ...] | None = None
    require_origin: bool = False
    login: bool = False
    source: SourceRef | None = None
    places: Mapping[str, SourceRef] = field(default_factory=dict, compare=False, repr=False)

    def at(self, *keys: str) -> SourceRef | None:
        """Where the first of `keys` that is written stands, or else the whole."""
        return next((self.places[key] for key in keys if key in self.places), self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A `verify:` entry: a handshake beyond those that every WebSocket route gets by itself.

    `expect` is a text that must be received, or a pattern when `expect_is_regex`. `places` has
    where each key that is written stands.
    """

    path: str
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    send: str | None = None
    expect: str | None = None
    expect_is_regex: bool = False
    hold_s: float | None = None
    source: SourceRef | None = None
    places: Mapping[str, SourceRef] = field(default_factory=dict, compare=False, repr=False)

    def at(self, *keys: str) -> SourceRef | None:
        """Where the first of `keys` that is written stands, or else the whole."""
        return next((self.places[key] for key in keys if key in self.places), self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A name that the proxy serves, and what stands behind each of its paths.

    `max_body_bytes` is how large a request may be; WebSocket messages are not limited by it.
    `echo` is a path whose answer repeats the request's headers, `None` where there is none.
    `drain_s` is how long connections of an earlier configuration may live on after a reload,
    `None` for as long as they like; with `require_survival`, a commit that loses some of them is
    taken back. `places` has where each key that is written stands, those of `tls` as
    ``tls.issuer``.
    """

    domain: str
    aliases: tuple[str, ...] = ()
    proxy: Proxy = "nginx"
    tls: Tls = field(default_factory=Tls)
    routes: tuple[Route, ...] = ()
    verify: tuple[Check, ...] = ()
    echo: str | None = None
    drain_s: float | None = 3600.0
    max_body_bytes: int | None = 16 * 1048576
    require_survival: bool = False
    source: SourceRef | None = None
    places: Mapping[str, SourceRef] = field(default_factory=dict, compare=False, repr=False)

    def at(self, *keys: str) -> SourceRef | None:
        """Where the first of `keys` that is written stands, or else the whole."""
        return next((self.places[key] for key in keys if key in self.places), self.source)

    @property
    def names(self) -> tuple[str, ...]:
        """The domain and its aliases."""
        return (self.domain, *self.aliases)

    @property
    def has_tls(self) -> bool:
        """Whether the site is served over HTTPS."""
        return self.tls.issuer != "none"


# --- desired, observed, planned -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One thing on a host as it should be; `attributes` is `None` for a thing that should not be.

    Only the attributes that are named are managed; a file without `mode` keeps the one it has.
    `content` is a file's bytes (`attributes` then holds their `sha256` and `size`). A `secret`
    resource's content is never shown. `former` is the file that a new one takes the place of, to be
    compared with. `notify` are names of handlers.
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

    @property
    def id(self) -> str:
        """``kind:name``, once in a plan."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What runs once at the end of a stage in which a changed resource notified it.

    `action` is ``reload``, ``restart``, ``start`` or ``stop`` for a service, ``run`` for a command.
    `config_test` is run before, and must exit with 0: a proxy's own check of its whole config.
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
    """One thing on a host as it is; `attributes` is `None` where it does not exist.

    `fingerprint` changes when any managed attribute of it changes; `content` is a file's bytes
    where they were asked for, or those of the file that it takes the place of, and `like_former`
    whether that is the same; `problem` says why the thing could not be looked at.
    """

    resource_id: str
    attributes: Attributes | None
    fingerprint: str
    content: bytes | None = None
    like_former: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an apply does to one resource: from `before` to `after`, and why."""

    resource_id: str
    action: Action
    before: Attributes | None
    after: Attributes | None
    fingerprint: str
    before_content: bytes | None = None
    after_content: bytes | None = None
    secret: bool = False
    stage: int = 0
    reason: str = ""

    @property
    def kind(self) -> str:
        return self.resource_id.partition(":")[0]

    @property
    def name(self) -> str:
        return self.resource_id.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRun:
    """A handler that will run at the end of `stage`, and the ids of the resources that ask it.

    `reason` says in words why it runs although none of them changes.
    """

    handler: Handler
    stage: int
    because: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A handler that an earlier run left undone at `since`, and whose run that was."""

    handler: Handler
    since: str
    who: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What becomes of the `connections` (WebSockets) that the proxy of `unit` has open now.

    A reload leaves them to `workers` old workers, for `drain_s` at most (`None`: without end); a
    restart or stop ends them.
    """

    unit: str
    action: ForecastAction
    connections: int
    workers: int
    drain_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that an apply would do to one host, in order. `unknowns` says in words what a dry run
    cannot know; `created_at` is in RFC 3339; `digest` covers everything but itself and `forecasts`,
    which are of the moment."""

    host: str
    created_at: str
    changes: tuple[Change, ...]
    handlers: tuple[HandlerRun, ...] = ()
    unknowns: tuple[str, ...] = ()
    digest: str = ""
    format_version: int = PLAN_FORMAT_VERSION
    forecasts: tuple[Forecast, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(change.action == "no-op" for change in self.changes) and not self.handlers


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
    """What a finding could be instead: that one's code, and how to tell the two apart."""

    code: str
    tell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong that a person can act on: the hop, what it looks like, why, and the mend.

    An ``error`` fails its check, a ``warning`` will hurt some day, a ``note`` explains what one may
    have seen. `request` and `response` are what was sent and what came back, a line for each
    header, without secrets; `directive` is what to write, and `file` where (with its line, where
    that is known); `alternatives` are what it cannot be told from.
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
        """Where the documentation explains it."""
        return f"docs/findings/{self.code}.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check of a site. `target` is the route's path or what else was looked at.

    `valid_until` is the last day of a certificate that passed, ``2027-02-19``. A check that was
    `skipped` counts as passed; its `detail` has the reason.
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
