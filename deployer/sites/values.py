"""Values common to the views of all proxies: names, the order of routes, patterns, checked values.

A view is a site as values for a proxy's template. A value that could change the meaning of a config
file is rejected here, with its position in the playbook.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from hashlib import sha256
from math import ceil

from deployer.errors import SourceError
from deployer.model import SourceRef
from deployer.sites.acme import CHALLENGE_PORT
from deployer.sites.certificate_files import is_acme
from deployer.sites.model import Route, Site, Upstream
from deployer.sites.paths import escaped, path_of

View = dict[str, object]

CERTIFICATES_FOLDER = "/etc/ssl/deployer"

PLAIN_PATH = re.compile(r"/(\{\w+\}(?=/|$)|[A-Za-z0-9._~!&()*+,=:@/-])*", re.ASCII)
PLAIN_FILE = re.compile(r"/[\w.~!+,=@/-]*")
PLAIN_TARGET = re.compile(r"[A-Za-z0-9._~:/?@!&()*+,=%\[\]-]+")
PLAIN_HASH = re.compile(r"\$[A-Za-z0-9./$=,]+")
PLAIN_HOST = re.compile(r"[A-Za-z0-9._:-]+")
PLAIN_NAME = re.compile(r"[A-Za-z0-9.*-]+")
PLAIN_ORIGIN = re.compile(r"[A-Za-z0-9+.:/_\[\]-]+")

#: Headers that the proxy sets for services, whatever a client sends.
SET_HEADERS = (
    *("X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto"),
)
#: Headers that services trust when they come from a proxy: it removes a client's.
REMOVED_HEADERS = (
    *("Forwarded", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Scheme"),
    *("X-Forwarded-Ssl", "X-Original-Host", "X-Original-URL", "X-Rewrite-URL", "X-Scheme"),
    *("Client-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Proxy"),
)

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LONGEST_PREFIX = 29
_LONGEST_SLUG = 8


def challenge_of(site: Site, *, also: bool = False) -> str | None:
    """The address to which port 80 forwards challenges; with `also`, regardless of the issuer."""
    return f"127.0.0.1:{CHALLENGE_PORT}" if also or is_challenged(site) else None


def is_challenged(site: Site) -> bool:
    """Whether the site's issuer sends challenges to port 80."""
    return is_acme(site) and site.tls.challenge == "http-01"


def redirects_http(site: Site, *, also_challenged: bool = False) -> bool:
    """Whether port 80 redirects to the site.

    With a port of its own, it does so only if challenges need that port anyway.
    """
    if site.serving_port == 80:
        return False
    return site.serving_port == 443 or also_challenged or is_challenged(site)


def port_view(site: Site, *, challenge: bool) -> View:
    """The port of the site, and whether port 80 redirects there."""
    return {
        "port": site.serving_port,
        "is_default": site.is_default,
        "port_in_urls": site.port_in_urls,
        "redirects_http": redirects_http(site, also_challenged=challenge),
    }


def maintenance_view(site: Site, *, folder: str) -> View:
    """Whether the site is in maintenance, and the file of its page in `folder`, if it has one."""
    name = site.domain.lower().replace("*", "_")
    page = {"page": f"{folder}/{name}.html", "page_content": site.maintenance_page}
    return {"maintenance": site.maintenance, **(page if site.maintenance_page else {})}


def used_ports(sites: Iterable[Site]) -> dict[int, Site]:
    """The ports that the sites need, each with the first one of them."""
    found: dict[int, Site] = {}
    for site in sites:
        for port in (site.serving_port, 80) if redirects_http(site) else (site.serving_port,):
            found.setdefault(port, site)
    return found


def certificate_folder(site: Site) -> str:
    """The folder of the site's certificate; for ACME issuers a link to the version in use."""
    folder = f"{CERTIFICATES_FOLDER}/{site.domain}"
    return f"{folder}/current" if is_acme(site) else folder


def is_private(site: Site) -> bool:
    """Whether a proxy's files about the site may have secrets: only their owner may read them."""
    return bool(site.snippets) or any(
        route.users or route.request_headers.set or route.snippet for route in site.routes
    )


def is_address(domain: str) -> bool:
    """Whether `domain` is an IP address, which clients do not send in SNI (RFC 6066, section 3)."""
    return domain.replace(".", "").isdigit() or ":" in domain


def name_prefix(domain: str) -> str:
    """The prefix of a site's variables and upstreams, unique for each domain.

    A dot becomes one underscore and a hyphen two, which two dots cannot produce. A name that is too
    long for nginx's hash is shortened and made unique by a digest. `$1…` would be a capture, so the
    first character is never a digit.
    """
    prefix = domain.lower().replace("-", "__").replace(".", "_").replace("*", "any__")
    if prefix[0].isdigit():
        prefix = f"_{prefix}"
    if len(prefix) > _LONGEST_PREFIX:
        digest = sha256(domain.lower().encode()).hexdigest()[:8]
        prefix = f"{prefix[: _LONGEST_PREFIX - 9].rstrip('_')}_{digest}"
    return prefix


def duration(seconds: float) -> str:
    """`seconds` in nginx's notation, in the largest whole unit: ``1h``, ``75s``, ``1500ms``."""
    milliseconds = max(1, round(seconds * 1000))
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def size(count: int) -> str:
    """`count` bytes in the largest whole unit, as in nginx and Apache configurations: ``16m``."""
    for unit, length in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if count % length == 0:
            return f"{count // length}{unit}"
    return str(count)


def max_body_of(site: Site, route: Route) -> int:
    """The size in bytes to which the requests of a route are limited; 0 for no limit."""
    own = route.max_body_bytes
    return (site.max_body_bytes or 0) if own is None else own


#: The media types that are compressed with `gzip`, besides text/html. Not text/event-stream: a
#: compressor would hold its events back.
GZIP_TYPES = (
    *("text/css", "text/plain", "text/javascript", "text/xml", "application/javascript"),
    *("application/json", "application/manifest+json", "application/wasm", "application/xml"),
    *("image/svg+xml",),
)


def refuse_buffering(site: Site, *, proxy: str, hint: str) -> None:
    """Refuse routes with `buffering` behind a proxy that passes on answers as they arrive.

    Raises:
        SourceError: a route of the site has it.
    """
    for route in site.routes:
        if route.buffering:
            raise SourceError(
                f"{proxy} does not collect the answers of {route.path}: it passes them on as they"
                " arrive",
                source=route.at("buffering"),
                hint=hint,
            )


def redirect_view(site: Site, route: Route) -> View | None:
    """A redirect: what is sent for the path itself, and what the rest of a path is appended to.

    `rest` is `None` if nothing is appended. Both are absolute, except for the part before the path
    of a target within the site.
    """
    redirect = route.redirect
    if redirect is None:
        return None
    refuse_unless(PLAIN_TARGET, redirect.to, what="the target", source=route.at("redirect"))
    has_query = "?" in redirect.to
    is_kept = route.match == "prefix" and not has_query
    return {
        "to": redirect.to,
        "rest": redirect.to.rstrip("/") if is_kept else None,
        "query": not has_query,
        "inside": redirect.to.startswith("/"),
        "code": redirect.code,
    }


#: The header with the subject of a client's certificate (RFC 4514), which clients cannot forge.
SUBJECT_HEADER = "X-Client-Cert-Subject"


def clients_view(site: Site, folder: str) -> View:
    """Which certificates clients present, if any; the CAs are in a file in `folder`."""
    clients = site.tls.clients
    if clients is None or not site.has_tls:
        return {}
    return {
        "clients": {
            "required": clients.verify == "required",
            "ca": clients.ca or None,
            "ca_file": f"{folder}/{site.domain.lower().replace('*', '_')}.clients.pem",
            "header": SUBJECT_HEADER,
        }
    }


def client_headers(sites: Iterable[Site]) -> list[str]:
    """Headers that only the proxy may set, whatever a client sends."""
    subject = [SUBJECT_HEADER] if any(site.tls.clients for site in sites) else []
    return [*SET_HEADERS, *REMOVED_HEADERS, *auth_headers(sites), *subject]


def auth_headers(sites: Iterable[Site]) -> list[str]:
    """Headers about users that services of the sites get from authentication services."""
    asked = (route.auth for site in sites for route in site.routes if route.auth)
    return list({name.lower(): name for auth in asked for name in auth.headers}.values())


def removed_of(site: Site, route: Route) -> list[str]:
    """Headers that the service of a route does not get from clients."""
    own = {name.lower() for name in route.auth.headers} if route.auth else set()
    own |= {name.lower() for name, _ in route.request_headers.set}
    forged = [name for name in auth_headers([site]) if name.lower() not in own]
    return [*route.request_headers.remove, *forged]


#: The headers of CORS in answers: the proxy's replace those of the service.
CORS_HEADERS = (
    *("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"),
    *("Access-Control-Allow-Methods", "Access-Control-Allow-Headers"),
    *("Access-Control-Expose-Headers", "Access-Control-Max-Age"),
)


def cors_view(route: Route) -> View:
    """Which pages of other origins may read the answers, if the playbook lists some.

    `patterns` is empty if all pages may.
    """
    cors = route.cors
    if cors is None:
        return {}
    is_for_all = "any" in cors.origins
    for origin in () if is_for_all else cors.origins:
        refuse_unless(PLAIN_ORIGIN, origin, what="the origin", source=route.at("cors"))
    return {
        "cors": {
            "patterns": [] if is_for_all else [_origin_pattern(origin) for origin in cors.origins],
            "headers": list(CORS_HEADERS),
            "credentials": cors.credentials,
            "expose": ", ".join(cors.expose),
            "preflight": [
                {"name": f"Access-Control-{name}", "value": value}
                for name, value in (
                    ("Allow-Methods", ", ".join(cors.methods)),
                    ("Allow-Headers", ", ".join(cors.headers)),
                    ("Max-Age", str(cors.max_age_s)),
                )
                if value
            ],
        }
    }


def has_root_route(site: Site) -> bool:
    """Whether every path of the site belongs to a route."""
    return any(path_of(route) == "/" and route.match == "prefix" for route in site.routes)


def whole_seconds(seconds: float) -> int:
    """A time for a setting that counts whole seconds, at least one."""
    return max(1, ceil(seconds))


def resolve_view(route: Route) -> View:
    """How often names of upstreams are looked up, if the playbook decides."""
    return {} if route.resolve_s is None else {"resolve_s": whole_seconds(route.resolve_s)}


def scheme_of(route: Route) -> str:
    """``http`` or ``https``.

    Raises:
        SourceError: the upstreams of one route differ in it.
    """
    schemes = {upstream.tls for upstream in route.upstreams}
    if len(schemes) > 1:
        raise SourceError(
            f"the upstreams of {route.path} mix http and https",
            source=route.source,
            hint="A route uses one scheme for all of its upstreams.",
        )
    return "https" if True in schemes else "http"


def slugs_of(routes: Iterable[Route]) -> list[str]:
    """A slug for each route from the end of its path, unique in its site, without underscores.

    Without underscores `PREFIX_SLUG_WORD` can be split in only one way from its end, so the names
    of two sites never collide.
    """
    found: list[str] = []
    for route in routes:
        word = re.sub("[^a-z0-9]", "", path_of(route).lower().rpartition("/")[2])
        word = word[:_LONGEST_SLUG] or "root"
        slug, number = word, 1
        while slug in found:
            number += 1
            slug = f"{word[: _LONGEST_SLUG - len(str(number))]}{number}"
        found.append(slug)
    return found


def check_names(site: Site) -> None:
    """Check the names of the site.

    Raises:
        SourceError: a name contains a character that is special in a config file.
    """
    for name in site.names:
        refuse_unless(PLAIN_NAME, name, what="the name", source=site.source)


def underscored(names: Iterable[str]) -> list[str]:
    """Every spelling of the headers `names` with underscores: WSGI, Rack and CGI know one name."""
    return [
        "".join(map("".join, itertools.zip_longest(words, marks, fillvalue="")))
        for words in (name.split("-") for name in names)
        for marks in itertools.product("-_", repeat=len(words) - 1)
        if "_" in marks
    ]


def host_patterns(site: Site) -> list[str]:
    """A pattern, without anchors and in lower case, for each of the site's names in ``Host``."""
    return [escaped(name.lower()).replace(r"\*", "[a-z0-9_.-]+", 1) for name in site.names]


def covers(site: Site, other: Site) -> bool:
    """Whether a wildcard name of `site` matches a name of `other`."""
    ends = [name.lower().removeprefix("*") for name in site.names if name.startswith("*")]
    return any(name.lower().endswith(tuple(ends)) for name in other.names)


def origin_patterns(site: Site, route: Route) -> tuple[str, ...]:
    """Patterns, without anchors, of the allowed origins; by default the site's own names."""
    own_scheme = "https" if site.has_tls else "http"
    origins = route.origins
    if origins is None:
        origins = tuple(f"{own_scheme}://{name}{site.port_in_urls}" for name in site.served_names)
    else:
        for origin in origins:
            refuse_unless(PLAIN_ORIGIN, origin, what="the origin", source=route.source)
    return tuple(dict.fromkeys(_origin_pattern(origin) for origin in origins))


def _origin_pattern(origin: str) -> str:
    """The pattern of an origin, with or without its default port (RFC 6454, section 4)."""
    scheme, _, _ = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None:
        return escaped(origin)
    bare = origin.removesuffix(f":{port}")
    has_other_port = re.search(r":[0-9]+$", bare) is not None
    # In the origins of a wildcard site, the star matches one label (RFC 9525, section 6.3).
    pattern = escaped(bare).replace(r"://\*\.", r"://[a-z0-9-]+\.", 1)
    return pattern if has_other_port else f"{pattern}(:{port})?"


def address_of(
    upstream: Upstream, *, source: SourceRef | None, what: str = "the upstream", unix: str = "unix:"
) -> str:
    """``host:port``, with the brackets of IPv6, or the path of a socket after `unix`.

    Raises:
        SourceError: it contains what could change the meaning of a config file.
    """
    if upstream.socket:
        refuse_unless(PLAIN_FILE, upstream.socket, what="the socket", source=source)
        return f"{unix}{upstream.socket}"
    refuse_unless(PLAIN_HOST, upstream.host, what=what, source=source)
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    return f"{host}:{upstream.port}"


def refuse_unless(
    pattern: re.Pattern[str], value: str, *, what: str, source: SourceRef | None
) -> None:
    """Check that `pattern` matches the whole `value`.

    Raises:
        SourceError: with the first character that does not match.
    """
    found = pattern.match(value)
    end = found.end() if found else 0
    if end < len(value) or not value:
        bad = repr(value[end : end + 1] or value)
        raise SourceError(
            f"{what} {value!r} contains {bad}, which is not allowed there",
            source=source,
            hint="It would change the meaning of the proxy's configuration file.",
        )
