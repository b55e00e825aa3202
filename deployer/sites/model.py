"""A site as a value: the names it is served under, its TLS settings, routes and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deployer.model import DEFAULT_PROXY, Proxy, SourceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The target of a route: a TCP address, or a unix socket (then `host` is empty).

    Of several, one with twice the `weight` gets twice the clients, and a `backup` gets some only if
    all others have failed. `max_conns` limits the connections to it. With TLS, its certificate may
    be verified, by the CAs of the host's system or those of `ca`, in PEM. It is sent the name
    `sni`, and must have a certificate for it. With `send_proxy`, each connection to it begins with
    a header of that version of the PROXY protocol, which names the client. One that is `drained`
    gets no new connections, until an administrator returns it.
    """

    host: str = ""
    port: int = 0
    socket: str = ""
    tls: bool = False
    weight: int = 1
    backup: bool = False
    max_conns: int | None = None
    verify: Literal["", "system", "file"] = ""
    ca: str = field(default="", repr=False)
    sni: str = ""
    send_proxy: Literal["", "v1", "v2"] = ""
    drained: bool = False

    @property
    def tls_name(self) -> str:
        """The name that it is sent in TLS and must have in its certificate; empty: the site's."""
        if self.sni or not self.verify or not self.host or ":" in self.host:
            return self.sni
        is_address = not self.host.rpartition(".")[2].strip("0123456789")
        return "" if is_address else self.host

    def __str__(self) -> str:
        scheme = "https" if self.tls else "http"
        if self.socket:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Eab:
    """External account binding: identifies a customer of a CA (RFC 8555, section 7.3.4)."""

    kid: str
    hmac_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """The certbot plugin that answers DNS-01 challenges.

    `credentials` is a file on the controller; `propagation_s` is the delay before validation.
    """

    plugin: str
    credentials: str | None = None
    propagation_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The certificates that clients present.

    `ca` has the certificates of the CAs that issue them (PEM). `certificate` and `key` are paths on
    the controller: what checks present, if anything.
    """

    ca: str = ""
    verify: Literal["required", "optional"] = "required"
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a site gets its certificate.

    `issuer` is a name known to deployer or the URL of an ACME directory; `certificate` and `key`
    are paths on the controller for ``provided``; `hsts_s` is `None` without HSTS. The fields from
    `certbot` on are for ACME issuers: where certbot runs, how it proves the names, the CA's
    profile, the key type, whether the CA suggests renewal times, and whose rate limits apply.
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
    clients: Clients | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A handshake to make: a `verify:` entry, or the `probe` of a route.

    `headers` are sent in addition to the handshake's own and may be secret. `expect` is a text that
    must be received, or a pattern if `expect_is_regex`. The answer must have one of `statuses`.
    `places` has the position of each key in the playbook.
    """

    path: str
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    send: str | None = None
    expect: str | None = None
    expect_is_regex: bool = False
    statuses: tuple[int, ...] = (101,)
    hold_s: float | None = None
    source: SourceRef | None = None
    places: Mapping[str, SourceRef] = field(default_factory=dict, compare=False, repr=False)

    def at(self, *keys: str) -> SourceRef | None:
        """The position of the first of `keys` that is present, or else of the whole."""
        return next((self.places[key] for key in keys if key in self.places), self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where a route redirects to: a path of the site or a URL, and the status."""

    to: str
    code: int = 308


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Headers that are set, with their values, and those that are removed."""

    set: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A number of requests in one or 60 seconds."""

    count: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRequest:
    """A service that is asked about each request, with a request for `path`.

    `headers` of its answer are sent to the route's service. Pages that it refuses are redirected
    to `sign_in`, followed by the page's URL if it ends with ``=``, or to the answer's Location.
    """

    host: str
    port: int
    tls: bool = False
    path: str
    headers: tuple[str, ...] = ()
    sign_in: str | None = None

    @property
    def service(self) -> Upstream:
        """Where the service listens."""
        return Upstream(host=self.host, port=self.port, tls=self.tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Which pages of other origins may read a route's answers, and how they may ask.

    `origins` is ``("any",)`` for every page.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int = 0


#: The answers with which a service, or a proxy in front of it, reports that it does not work.
FAILURES = (500, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """When one of several upstreams is down: after `fails` failures in a row, for `pause_s`.

    Answers with one of `statuses` are failures too. With a `path`, that is requested every
    `interval_s`, and an upstream is down until it answers well.
    """

    fails: int = 1
    pause_s: float = 1.0
    statuses: tuple[int, ...] = ()
    path: str = ""
    interval_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of a site. Exactly one of `upstreams`, `root` and `redirect` is set.

    `origins` is `None` for the site's own names, ``("any",)`` for every page, otherwise a list of
    ``scheme://host[:port]``, in lower case. `max_body_bytes` is `None` for the site's, 0 for no
    limit. The files of a `root` have an `index` in each folder; with `spa`, the one of the route
    is also served for all files that do not exist. Of clients, those in `allow` (if there are any)
    and not in `deny` are served, with a password of one of `users` (by name, hashed) and up to a
    rate. `balance` is how one of several upstreams is chosen, in `sticky` routes only for clients
    without a cookie, and `health` decides when one gets none. The names of upstreams are looked up
    every `resolve_s`, or only at reloads. With `login`, the service rejects clients that have not
    logged in, including checks. `probe` is how the route is checked, `None` for a handshake on its
    path; nothing is sent to a route that is not `is_probed`. `places` has the position of each key
    in the playbook.
    """

    path: str
    match: Literal["prefix", "exact"] = "prefix"
    websocket: bool = False
    upstreams: tuple[Upstream, ...] = ()
    root: str | None = None
    index: str = "index.html"
    spa: bool = False
    redirect: Redirect | None = None
    request_headers: Headers = Headers()
    response_headers: Headers = Headers()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    snippet: str = field(default="", repr=False)
    request_rate: Rate | None = None
    handshake_rate: Rate | None = None
    cors: Cors | None = None
    auth: AuthRequest | None = None
    balance: Literal["source", "round_robin", "least_conn"] = "source"
    sticky: bool = False
    health: Health | None = None
    resolve_s: float | None = None
    strip_prefix: bool = False
    rewrite_location: bool = False
    buffering: bool = False
    timeout_s: float = 60.0
    max_body_bytes: int | None = None
    idle_timeout_s: float = 3600.0
    ping_interval_s: float | None = None
    origins: tuple[str, ...] | None = None
    require_origin: bool = False
    login: bool = False
    probe: Check | None = None
    is_probed: bool = True
    source: SourceRef | None = None
    places: Mapping[str, SourceRef] = field(default_factory=dict, compare=False, repr=False)

    def at(self, *keys: str) -> SourceRef | None:
        """The position of the first of `keys` that is present, or else of the whole."""
        return next((self.places[key] for key in keys if key in self.places), self.source)

    @property
    def in_rotation(self) -> tuple[Upstream, ...]:
        """The upstreams that get new connections."""
        return tuple(each for each in self.upstreams if not each.drained)

    @property
    def pause_s(self) -> float:
        """How long the proxy waits for the service to send more."""
        return self.idle_timeout_s if self.websocket else self.timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A name that the proxy serves, with the routes behind its paths.

    `port` is `None` for the usual one, 443 with TLS and 80 without. The one that `is_default`
    answers all names on its ports that no other site has.
    `max_body_bytes` limits the size of requests, but not of WebSocket messages. `echo` is a path
    whose answer repeats the request's headers, if there is one. `drain_s` is how long connections
    stay open after a reload, `None` for no limit; with `require_survival`, a commit that loses some
    of them is rolled back. `displaces` are names of others that the host may stop serving for this
    site. With `underscores_in_headers`, services get the headers whose names have underscores. With
    `gzip`, the proxy compresses texts. Its `access_log` is the proxy's own, or
    JSON. A site in `maintenance` has no routes and answers 503,
    with `maintenance_page` if that is not empty.
    `redirects` are aliases, each with the name to which it redirects. `trusted_proxies` are the
    addresses of proxies in front of this one, whose statements about the visitor are believed; with
    `proxy_protocol`, each of their connections begins with one, and no one else may connect.
    `snippets` are lines for the proxy's configuration, by their place there.
    `places` has the position of each key in the playbook, those of `tls` as
    ``tls.issuer``.
    """

    domain: str
    aliases: tuple[str, ...] = ()
    port: int | None = None
    is_default: bool = False
    proxy: Proxy = DEFAULT_PROXY
    tls: Tls = field(default_factory=Tls)
    routes: tuple[Route, ...] = ()
    verify: tuple[Check, ...] = ()
    echo: str | None = None
    drain_s: float | None = 3600.0
    max_body_bytes: int | None = 16 * 1048576
    require_survival: bool = False
    displaces: tuple[str, ...] = ()
    underscores_in_headers: bool = False
    redirects: tuple[tuple[str, str], ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    snippets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    gzip: bool = False
    access_log: Literal["usual", "json"] = "usual"
    maintenance: bool = False
    maintenance_page: str = field(default="", repr=False)
    source: SourceRef | None = None
    places: Mapping[str, SourceRef] = field(default_factory=dict, compare=False, repr=False)

    def at(self, *keys: str) -> SourceRef | None:
        """The position of the first of `keys` that is present, or else of the whole."""
        return next((self.places[key] for key in keys if key in self.places), self.source)

    @property
    def names(self) -> tuple[str, ...]:
        """The domain and its aliases."""
        return (self.domain, *self.aliases)

    @property
    def served_names(self) -> tuple[str, ...]:
        """The names that do not redirect to one of the others."""
        redirecting = {name for name, _ in self.redirects}
        return tuple(name for name in self.names if name not in redirecting)

    @property
    def has_tls(self) -> bool:
        """Whether the site is served over HTTPS."""
        return self.tls.issuer != "none"

    @property
    def serving_port(self) -> int:
        """The port on which the routes are served."""
        return self.port or (443 if self.has_tls else 80)

    @property
    def port_in_urls(self) -> str:
        """``:8443``, or nothing if the port is the usual one of the scheme."""
        usual = 443 if self.has_tls else 80
        return "" if self.serving_port == usual else f":{self.serving_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedSite:
    """A site that a commit removes: its `names` stop answering, also the WebSockets at `paths`."""

    domain: str
    names: tuple[str, ...]
    has_tls: bool
    paths: tuple[str, ...] = ()
    port: int | None = None
    proxy_protocol: bool = False
