"""The keys of a playbook, for validation and for the JSON Schema of `deployer check --schema`.

A file is validated twice: as written, when strings with ``{{ }}`` are not checked, and with every
template rendered for a host, when each value must be valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from deployer.model import DEFAULT_PROXY, Value
from deployer.playbook.schema import refused as not_supported
from deployer.playbook.schema.auth_request import AuthRequest
from deployer.playbook.schema.cors import CorsModel
from deployer.playbook.schema.models import Before, Misplaced, Strict, field
from deployer.playbook.schema.route_kinds import keys_of_other_kinds
from deployer.playbook.schema.route_settings import (
    AliasModel,
    BasicAuthModel,
    RateLimit,
    Redirect,
    RequestHeadersModel,
    ResponseHeadersModel,
    as_alias,
)
from deployer.playbook.schema.site_settings import MaintenanceModel
from deployer.playbook.schema.tls import TlsModel
from deployer.playbook.schema.types import (
    AbsolutePath,
    Clients,
    Conditions,
    Domain,
    Drain,
    Duration,
    FileName,
    Headers,
    Line,
    Origin,
    Origins,
    Port,
    Proxy,
    RequestPath,
    RouteSnippets,
    SiteSnippets,
    Size,
    Statuses,
    Subprotocols,
    Text,
    TrustedProxies,
    Upstreams,
    UrlPath,
    Words,
)
from deployer.playbook.schema.upstream_settings import HealthModel

State = Literal["present", "absent"]


class Pattern(Strict):
    """A regular expression that must match part of a message of the service."""

    regex: Text = field(description="The pattern, in Python's syntax.")


class ProbeModel(Strict):
    """How a WebSocket route is checked, wherever deployer opens its WebSocket."""

    path: RequestPath | None = field(None, description="The path, with its query.")
    origin: Origin | None = field(None, description="The Origin to send; default: the site's own.")
    subprotocols: Subprotocols = field(
        (), description="Subprotocols to offer; one must be selected."
    )
    headers: Headers = field(
        (), description="Headers to send, such as a session's cookie; values are never shown."
    )
    send: Text | None = field(None, description="A text to send once the connection is open.")
    expect: Text | Pattern | None = field(
        None, description="The expected message: a text, or {regex: …}."
    )
    status: Statuses = field(
        (101,), description="Accepted answers; others than 101 must be the service's own."
    )

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        status = node.get("status", 101)
        if isinstance(status, str) and "{{" in status:
            return
        given = status if isinstance(status, list) else [status]
        if any(str(each) == "101" or "{{" in str(each) for each in given):
            return
        for key in ("send", "expect", "hold"):
            if key in node:
                hint = "only an open connection has messages"
                yield Misplaced(key, f"'{key}' requires the status 101", hint)


class CheckModel(ProbeModel):
    """A handshake to verify; one on a route's own path replaces the route's default."""

    path: RequestPath = field(description="The path, with its query.")
    hold: Duration | None = field(
        None, description="The connection must still answer after being idle this long."
    )


_KINDS = ("websocket", "upstream", "root", "redirect")
_ONE_OF_KINDS = "a route requires one of 'websocket', 'upstream', 'root' and 'redirect'"


class RouteModel(Strict):
    """One path of a site, with exactly one of `websocket`, `upstream`, `root` and `redirect`."""

    path: UrlPath = field(
        description="A prefix of whole segments: /ws matches /ws and /ws/x, not /wsx; {NAME} "
        "matches one segment."
    )
    match: Literal["prefix", "exact"] = field(
        "prefix", description="exact matches only the path itself."
    )
    websocket: Upstreams | None = field(None, description="The WebSocket service behind this path.")
    upstream: Upstreams | None = field(None, description="The HTTP service behind this path.")
    root: AbsolutePath | None = field(None, description="A folder of files on the host.")
    redirect: Redirect | None = field(None, description="Where this path redirects to.")
    index: FileName = field("index.html", description="root: the file of a folder.")
    spa: bool = field(
        False, description="root: answer with the route's index for files that do not exist."
    )
    request_headers: RequestHeadersModel | None = field(
        None, description="Headers that the service gets or does not get."
    )
    response_headers: ResponseHeadersModel | None = field(
        None, description="Headers that clients get or do not get."
    )
    allow: Clients | None = field(
        None, description="Addresses that may use the route, and the host itself; others get 403."
    )
    deny: Clients | None = field(None, description="Addresses that get 403.")
    basic_auth: BasicAuthModel | None = field(None, description="Ask for a name and password.")
    auth_request: AuthRequest = field(
        None, description="A service to ask about each request; false: none."
    )
    rate_limit: RateLimit | None = field(
        None, description="How often one address may send requests."
    )
    cors: CorsModel | None = field(
        None, description="Pages of other origins that may read the answers."
    )
    snippets: RouteSnippets | None = field(
        None, description="Lines of a proxy's configuration for the route, by proxy."
    )
    balance: Literal["source", "round_robin", "least_conn"] = field(
        "source", description="How one of several upstreams is chosen; source is by address."
    )
    sticky: Literal["cookie"] | None = field(
        None, description="cookie: a client stays with its upstream by a cookie."
    )
    health: HealthModel | None = field(
        None, description="When one of several upstreams gets no clients."
    )
    resolve: Duration | None = field(
        None, description="How often the names of upstreams are looked up; default: at reloads."
    )
    strip_prefix: bool = field(False, description="The service sees the path without this prefix.")
    rewrite_location: bool = field(
        False,
        description="Redirects to the service's own address lead to the site; with strip_prefix, "
        "those to its paths and the paths of its cookies get the prefix.",
    )
    buffering: bool = field(
        False, description="Collect answers for slow clients; by default they pass as they come."
    )
    timeout: Duration = field(
        60.0, description="upstream: how long the service may take to answer, or pause."
    )
    max_body: Size | None = field(
        None, description="The maximum size of a request; default: the site's."
    )
    idle_timeout: Duration = field(3600.0, description="How long a connection may be idle.")
    ping_interval: Duration | None = field(None, description="How often the service sends pings.")
    origins: Origins | None = field(
        None, description="Pages that may connect; default: the site's own."
    )
    require_origin: bool = field(False, description="Reject clients that send no Origin.")
    login: bool = field(
        False, description="The service rejects clients without a login, including checks."
    )
    probe: bool | ProbeModel | None = field(
        None, description="How the route is checked; false: not at all."
    )

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        kinds = [key for key in _KINDS if key in node]
        if node.get("websocket") is True:
            url = (
                node["upstream"]
                if isinstance(node.get("upstream"), str)
                else "http://127.0.0.1:PORT"
            )
            hint = f"write websocket: {url}" + (
                ", without 'upstream'" if "upstream" in node else ""
            )
            yield Misplaced("websocket", "'websocket' must be the URL of the service", hint)
        elif len(kinds) > 1:
            hint = ""
            if kinds[:2] == ["websocket", "upstream"]:
                hint = "a websocket route also forwards plain HTTP requests"
            yield Misplaced(kinds[1], f"a route has one of {' and '.join(kinds)}, not both", hint)
        elif not kinds and not set(node) - set(cls.fields()):
            yield Misplaced(None, _ONE_OF_KINDS)
        if len(kinds) == 1:
            yield from keys_of_other_kinds(kinds[0], node)
        path = node.get("path")
        if "root" in node and isinstance(path, str) and re.search(r"(?<!\{)\{(?!\{)", path):
            yield Misplaced("path", "the path of a 'root' has no placeholders")
        probe = node.get("probe")
        if node.get("auth_request") is True:
            hint = "write a preset (authelia, authentik, oauth2-proxy) or {url: …}"
            yield Misplaced("auth_request", "'auth_request' must be a mapping, or false", hint)
        if isinstance(probe, str) and "{{" not in probe:
            hint = f"write probe: {{path: {probe}}}" if probe.startswith("/") else ""
            yield Misplaced("probe", "'probe' must be a mapping, or false", hint)


_DISPLACES = "Names of other sites that the host may stop serving; default for its default server."


class SiteModel(Strict):
    """A name that the reverse proxy serves, with its routes."""

    domain: Domain
    aliases: list[Annotated[AliasModel, Before(as_alias)]] = field(
        [], description="Further names of the site."
    )
    default: bool = field(False, description="Answer names that no site has, on the same ports.")
    port: Port | None = field(None, description="The port; default: 443 with tls, 80 without.")
    proxy: Proxy = field(DEFAULT_PROXY, description="The reverse proxy that serves the site.")
    tls: TlsModel | None = field(
        None, description="How the site gets its certificate; plain HTTP without it."
    )
    state: State = field(
        "present",
        description="absent removes what was created for the site; needs only the domain.",
    )
    routes: list[RouteModel] = field(
        [], min_length=1, description="The paths of the site; the longest match wins."
    )
    request_headers: RequestHeadersModel | None = field(
        None, description="The same for all routes to services, which may have more."
    )
    response_headers: ResponseHeadersModel | None = field(
        None, description="The same for all routes except redirects."
    )
    allow: Clients = field((), description="The same for routes without their own.")
    deny: Clients = field((), description="The same for routes without their own.")
    basic_auth: BasicAuthModel | None = field(
        None, description="The same for routes without their own."
    )
    auth_request: AuthRequest = field(
        None, description="The same for routes without their own, and without basic_auth."
    )
    cors: CorsModel | None = field(
        None, description="The same for routes without their own, except those of WebSockets."
    )
    verify: list[CheckModel] = field(
        [], description="Handshakes to make in addition to those of every WebSocket route."
    )
    drain: Drain = field(
        3600.0,
        description="How long open connections may outlive a reload; none for no limit.",
    )
    max_body: Size = field(
        16 * 1048576,
        description="The maximum size of a request; does not limit WebSocket messages.",
    )
    echo: RequestPath | None = field(
        None, description="A path whose answer repeats the request's headers, used to verify them."
    )
    require_survival: bool = field(
        False,
        description="Roll back a commit that loses WebSocket connections held open during it.",
    )
    displaces: Words = field([], description=_DISPLACES)
    underscores_in_headers: bool = field(
        False, description="Pass on headers with an underscore in their names."
    )
    maintenance: bool | MaintenanceModel = field(
        False, description="Answer 503 instead of serving the routes; open WebSockets stay."
    )
    snippets: SiteSnippets | None = field(
        None, description="Lines of a proxy's configuration for the site, by proxy and place."
    )
    trusted_proxies: TrustedProxies = field(
        (),
        description="Proxies in front that state the visitor's address: addresses, ranges, "
        "cloudflare, fastly or private.",
    )
    proxy_protocol: bool = field(
        False,
        description="Balancers in front begin each connection with a PROXY header; requires "
        "trusted_proxies.",
    )
    access_log: Literal["usual", "json"] = field(
        "usual", description="The proxy's usual log of requests, or one JSON object a line."
    )
    gzip: bool = field(False, description="Compress texts that services and folders do not.")

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        state = node.get("state")
        is_template = isinstance(state, str) and "{{" in state
        is_known = not set(node) - set(cls.fields())
        if "routes" not in node and state != "absent" and not is_template and is_known:
            yield Misplaced(None, "missing key 'routes'")


def _as_file(value: object) -> Value:
    return {"file": value} if isinstance(value, str) else value


def _as_role(value: object) -> Value:
    if isinstance(value, str):
        return {"role": value}
    if isinstance(value, dict) and "name" in value and "role" not in value:
        return {("role" if key == "name" else key): each for key, each in value.items()}
    return value


class VarsFile(Strict):
    """A file of variables; the values of a secret one are never shown."""

    file: Line = field(description="A YAML file, relative to the playbook.")
    secret: bool = field(False, description="Never show its values, in diffs, logs or reports.")


class RoleEntry(Strict):
    """A role that the play applies."""

    role: Line = field(description="Its name; roles next to the playbook take precedence.")
    vars: dict[str, Value] = field({}, description="Variables of the role.")
    tags: Words = field([], description="Tags for everything in the role.")
    when: Conditions = field([], description="A condition, or a list that must all be true.")
    state: State = field("present", description="absent removes what the role has created.")
    refused: ClassVar[Mapping[str, str]] = not_supported.ROLE
    key_aliases: ClassVar[tuple[str, ...]] = ("name",)

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if "name" in node and "role" in node:
            yield Misplaced("name", "'name' is an alias of 'role': use one of them")


class TaskKeywords(Strict):
    """The keywords of a task besides its module."""

    name: Line | None = field(None, description="The name shown in plans.")
    when: Conditions = field([], description="A condition, or a list that must all be true.")
    loop: Value = field(None, description="A list; the task is repeated for each 'item'.")
    notify: Words = field([], description="Handlers that run once if this task changes something.")
    tags: Words = field([], description="Words for --tags and --skip-tags.")
    become: bool | None = field(
        None, description="Run as root; applies to the whole run on the host."
    )
    no_log: bool = field(False, description="Never show what this task writes.")
    vars: dict[str, Value] = field({}, description="Variables for this task only.")
    args: dict[str, Value] = field({}, description="Further arguments of the module.")
    state: State = field("present", description="absent removes what the task has created.")
    refused: ClassVar[Mapping[str, str]] = not_supported.TASK


Hosts = Annotated[
    str, Before(lambda value: ",".join(map(str, value)) if isinstance(value, list) else value)
]


class PlayModel(Strict):
    """The desired state of a group of hosts."""

    name: Line | None = field(None, description="The name of the play.")
    hosts: Hosts = field(
        description="A pattern over the inventory: a group, a host, all, web:!old."
    )
    become: bool = field(False, description="Run as root, with sudo.")
    become_user: Line | None = field(
        None, description="The user to become; ansible_become_user overrides it."
    )
    become_method: Line | None = field(
        None, description="sudo, su or doas; ansible_become_method overrides it."
    )
    become_exe: Line | None = field(
        None, description="The program instead of sudo; ansible_become_exe overrides it."
    )
    become_flags: Line | None = field(
        None, description="Options of sudo; ansible_become_flags overrides it."
    )
    remote_user: Line | None = field(
        None, description="The user to log in as, instead of -u; ansible_user overrides it."
    )
    connection: Line | None = field(
        None, description="ssh, paramiko or local; ansible_connection overrides it."
    )
    port: Value = field(None, description="The port of sshd; ansible_port overrides it.")
    gather_facts: bool = field(True, description="true; facts are always gathered.")
    serial: Value = field(
        None, description="Hosts at a time: a number, a percentage, or a list of them."
    )
    max_fail_percentage: float = field(
        0.0,
        description="The percentage of a batch that may fail before the run stops.",
        ge=0,
        le=100,
    )
    any_errors_fatal: bool = field(
        True, description="true; the same as max_fail_percentage 0, which is the default."
    )
    vars: dict[str, Value] = field({}, description="Variables of the play.")
    vars_files: list[Annotated[VarsFile, Before(_as_file)]] = field(
        [],
        description="Files of variables, which override vars; later files override earlier ones.",
    )
    roles: list[Annotated[RoleEntry, Before(_as_role)]] = field(
        [], description="Roles to apply, before the tasks."
    )
    tasks: list[dict[str, Value]] = field([])
    handlers: list[dict[str, Value]] = field([])
    sites: list[SiteModel] = field([], description="What the reverse proxy serves.")
    displaces: Words = field([], description=_DISPLACES)
    tags: Words = field([], description="Tags for everything in the play.")
    project: Line | None = field(
        None,
        description="The name by which hosts know this playbook; default: its path and machine.",
    )
    refused: ClassVar[Mapping[str, str]] = not_supported.PLAY

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if node.get("gather_facts") is False:
            hint = "facts are always gathered, in the same connection"
            yield Misplaced("gather_facts", "'gather_facts: false' is not supported", hint)
        if node.get("any_errors_fatal") is False:
            hint = "write max_fail_percentage: 100 to go on with the other hosts"
            yield Misplaced("any_errors_fatal", "'any_errors_fatal: false' is not supported", hint)
        elif "any_errors_fatal" in node and node.get("max_fail_percentage"):
            what = "'any_errors_fatal' allows no failures, but 'max_fail_percentage' does"
            yield Misplaced("any_errors_fatal", what, "use one of them")


def check_serial(value: object) -> tuple[int | str, ...]:
    """``serial`` as a tuple of numbers and percentages.

    Raises: ValueError, for anything else.
    """
    import re

    found: list[int | str] = []
    for each in value if isinstance(value, list) else [value]:
        text = str(each).strip()
        if isinstance(each, bool) or not re.fullmatch(r"[1-9][0-9]{0,4}|(100|[1-9][0-9]?)%", text):
            raise ValueError(f"{each!r} is neither a number of hosts (1 or more) nor a percentage")
        found.append(text if text.endswith("%") else int(text))
    return tuple(found)
