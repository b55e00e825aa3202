"""Sites as plain values that the nginx role's template prints.

What a config looks like is said in ``roles/nginx/templates/site.conf.j2`` alone. Here stands what
can be computed: names that are unique in nginx's one flat name space, the order of routes, escaped
patterns, and that no value can mean more in a config file than it should.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256

from deployer.errors import SourceError
from deployer.model import Route, Site, SourceRef, Tls, Upstream
from deployer.sites.acme import CHALLENGE_PORT
from deployer.sites.certificates import is_acme

View = dict[str, object]

CERTIFICATES_FOLDER = "/etc/ssl/deployer"

# nginx keeps variable and server names in hashes of 64-byte buckets. An entry takes its length,
# rounded up, and two pointers, so 46 characters fit. The directives that enlarge the buckets may
# stand once in a whole configuration, so they are not ours to set.
# https://nginx.org/en/docs/hash.html
_LONGEST_HASHED_NAME = 46
_LONGEST_PREFIX = 29
_LONGEST_SLUG = 8  # prefix + "_" + slug + "_refused" stays within the 46

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~!&()*+,=:@/-]*")
_PLAIN_FILE = re.compile(r"/[\w.~!+,=@/-]*")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9.*-]+")
_PLAIN_ORIGIN = re.compile(r"[A-Za-z0-9+.:/_\[\]-]+")
_CHALLENGE: View = {"challenge": f"127.0.0.1:{CHALLENGE_PORT}"}
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def bootstrap(site: Site) -> View:
    """The values for a site that has no certificate yet: it answers challenges and nothing else."""
    for name in site.names:
        _refuse_unless(_PLAIN_NAME, name, what="the name", source=site.source)
    return {**view(replace(site, routes=(), tls=Tls())), "only_challenges": True, **_CHALLENGE}


def view(site: Site, *, challenge: bool = False) -> View:
    """The values that the template prints for a site; routes come with the longest path first.

    With `challenge` it answers those of an ACME issuer, though its own certificate is another's.

    Raises:
        SourceError: a value that nginx would read as something else than it is.
    """
    prefix = name_prefix(site.domain)
    routes = sorted(site.routes, key=lambda route: (-len(_path(route)), route.match != "exact"))
    slugs = _slugs(routes)
    rules = _origin_rules(site, routes, slugs=slugs, prefix=prefix)
    long_names = [name for name in site.names if len(name) > _LONGEST_HASHED_NAME]
    for name in site.names:
        _refuse_unless(_PLAIN_NAME, name, what="the name", source=site.source)
    return {
        "domain": site.domain,
        "server_names": [name for name in site.names if name not in long_names],
        "server_name_patterns": [_escaped(name) for name in long_names],
        "tls": site.has_tls,
        **(_CHALLENGE if challenge or _is_challenged(site) else {"challenge": None}),
        "only_challenges": False,
        "is_address": _is_address(site.domain),
        "hsts_s": site.tls.hsts_s if site.has_tls else None,
        "certificate": f"{_certificate_folder(site)}/fullchain.pem",
        "certificate_key": f"{_certificate_folder(site)}/privkey.pem",
        "websocket": any(route.websocket for route in routes),
        "plain": any(route.upstreams and not route.websocket for route in routes),
        "origin_rules": list({str(rule["variable"]): rule for rule in rules.values()}.values()),
        "routes": [
            _route_view(route, prefix=prefix, slug=slug, rule=rules.get(slug))
            for route, slug in zip(routes, slugs, strict=True)
        ],
        "has_root_route": any(_path(route) == "/" and route.match == "prefix" for route in routes),
    }


def _is_challenged(site: Site) -> bool:
    return is_acme(site) and site.tls.challenge == "http-01"


def _certificate_folder(site: Site) -> str:
    """What an ACME issuer gives has versions, and a link to the one in use."""
    folder = f"{CERTIFICATES_FOLDER}/{site.domain}"
    return f"{folder}/current" if is_acme(site) else folder


def _is_address(domain: str) -> bool:
    """Whether clients name no server in their handshakes (RFC 6066, section 3)."""
    return domain.replace(".", "").isdigit() or ":" in domain


def name_prefix(domain: str) -> str:
    """What the names of a site's variables and upstreams begin with: two domains never share one.

    A dot becomes one underscore and a hyphen two, which no two dots can make. A name that is too
    long for nginx's hash is cut and told apart by a digest. `$1…` would be a capture, so a digit
    is not the first character.
    """
    prefix = domain.lower().replace("-", "__").replace(".", "_").replace("*", "any")
    if prefix[0].isdigit():
        prefix = f"_{prefix}"
    if len(prefix) > _LONGEST_PREFIX:
        digest = sha256(domain.lower().encode()).hexdigest()[:8]
        prefix = f"{prefix[: _LONGEST_PREFIX - 9].rstrip('_')}_{digest}"
    return prefix


def duration(seconds: float) -> str:
    """A time as nginx writes it, in its largest whole unit: ``1h``, ``75s``, ``1500ms``."""
    milliseconds = max(1, round(seconds * 1000))
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def _path(route: Route) -> str:
    """The path as segments: a prefix has no slash at its end, whether written so or not."""
    return route.path if route.match == "exact" else route.path.rstrip("/") or "/"


def _slugs(routes: Iterable[Route]) -> list[str]:
    """A word for each route from the end of its path, unique in its site, without underscores.

    Without them `PREFIX_SLUG_WORD` can be read from its end in one way only, so that the names of
    two sites never meet.
    """
    slugs: list[str] = []
    for route in routes:
        word = re.sub("[^a-z0-9]", "", _path(route).lower().rpartition("/")[2])
        word = word[:_LONGEST_SLUG] or "root"
        slug, number = word, 1
        while slug in slugs:
            number += 1
            slug = f"{word[: _LONGEST_SLUG - len(str(number))]}{number}"
        slugs.append(slug)
    return slugs


def _route_view(route: Route, *, prefix: str, slug: str, rule: View | None) -> View:
    path = _path(route)
    _refuse_unless(_PLAIN_PATH, path, what="the path", source=route.source)
    if route.root is not None:
        _refuse_unless(_PLAIN_FILE, route.root, what="the folder", source=route.source)
    schemes = {upstream.tls for upstream in route.upstreams}
    if len(schemes) > 1:
        raise SourceError(
            f"the upstreams of {route.path} mix http and https",
            source=route.source,
            hint="One route speaks to all of its upstreams in the same way: use one scheme.",
        )
    return {
        "path": path,
        "path_pattern": _escaped(path),
        "exact": route.match == "exact",
        "websocket": route.websocket,
        "root": route.root,
        "upstream": f"{prefix}_{slug}",
        "servers": [_server(upstream, source=route.source) for upstream in route.upstreams],
        "scheme": "https" if True in schemes else "http",
        "timeout": duration(route.idle_timeout_s),
        "stripped": f"{prefix}_{slug}_path" if route.strip_prefix and path != "/" else None,
        "refused": rule["variable"] if rule else None,
    }


def _server(upstream: Upstream, *, source: SourceRef | None) -> str:
    if upstream.socket:
        _refuse_unless(_PLAIN_FILE, upstream.socket, what="the socket", source=source)
        return f"unix:{upstream.socket}"
    _refuse_unless(_PLAIN_HOST, upstream.host, what="the upstream", source=source)
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    return f"{host}:{upstream.port}"


def _origin_rules(
    site: Site, routes: Sequence[Route], *, slugs: Sequence[str], prefix: str
) -> dict[str, View]:
    """The rule of each WebSocket route that has one, by slug; routes that agree share a rule."""
    shared: dict[tuple[tuple[str, ...], bool], View] = {}
    rules: dict[str, View] = {}
    for route, slug in zip(routes, slugs, strict=True):
        anywhere = route.origins is not None and "any" in route.origins
        if not route.websocket or (anywhere and not route.require_origin):
            continue
        patterns = (".+",) if anywhere else _origin_patterns(site, route)
        own = route.origins is None and not route.require_origin
        key = (patterns, route.require_origin)
        if key not in shared:
            shared[key] = {
                "variable": f"{prefix}_foreign" if own else f"{prefix}_{slug}_refused",
                "patterns": patterns,
                "require_origin": route.require_origin,
            }
        rules[slug] = shared[key]
    return rules


def _origin_patterns(site: Site, route: Route) -> tuple[str, ...]:
    own_scheme = "https" if site.has_tls else "http"
    origins = route.origins
    if origins is None:
        origins = tuple(f"{own_scheme}://{name}" for name in site.names)
    else:
        for origin in origins:
            _refuse_unless(_PLAIN_ORIGIN, origin, what="the origin", source=route.source)
    return tuple(dict.fromkeys(_origin_pattern(origin) for origin in origins))


def _origin_pattern(origin: str) -> str:
    """An origin with its default port or without: the same origin (RFC 6454, section 4)."""
    scheme, _, _ = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None:
        return _escaped(origin)
    bare = origin.removesuffix(f":{port}")
    has_other_port = re.search(r":[0-9]+$", bare) is not None
    # A wildcard site's own pages: the star stands for one label (RFC 9525, section 6.3).
    pattern = _escaped(bare).replace(r"://\*\.", r"://[a-z0-9-]+\.", 1)
    return pattern if has_other_port else f"{pattern}(:{port})?"


def _escaped(text: str) -> str:
    """The text as a regular expression that matches itself alone; `-` and `/` stay readable."""
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def _refuse_unless(
    pattern: re.Pattern[str], value: str, *, what: str, source: SourceRef | None
) -> None:
    found = pattern.match(value)
    end = found.end() if found else 0
    if end < len(value) or not value:
        bad = repr(value[end : end + 1] or value)
        raise SourceError(
            f"{what} {value!r} has {bad}, which cannot stand there",
            source=source,
            hint="It would change the meaning of nginx's configuration file.",
        )
