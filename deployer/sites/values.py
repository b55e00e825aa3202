"""What the views of all proxies share: names, the order of routes, escaped patterns, plain values.

A view is what a proxy's template prints of a site. No value in one can mean more in a config file
than it should: what could is refused here, with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

from deployer.errors import SourceError
from deployer.model import SourceRef
from deployer.sites.acme import CHALLENGE_PORT
from deployer.sites.certificate_files import is_acme
from deployer.sites.model import Route, Site

View = dict[str, object]

CERTIFICATES_FOLDER = "/etc/ssl/deployer"

PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~!&()*+,=:@/-]*")
PLAIN_FILE = re.compile(r"/[\w.~!+,=@/-]*")
PLAIN_HOST = re.compile(r"[A-Za-z0-9._:-]+")
PLAIN_NAME = re.compile(r"[A-Za-z0-9.*-]+")
PLAIN_ORIGIN = re.compile(r"[A-Za-z0-9+.:/_\[\]-]+")

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LONGEST_PREFIX = 29
_LONGEST_SLUG = 8


def challenge_of(site: Site, *, also: bool = False) -> str | None:
    """Where challenges for the site's names are passed to on port 80; `also` where others ask."""
    return f"127.0.0.1:{CHALLENGE_PORT}" if also or is_challenged(site) else None


def is_challenged(site: Site) -> bool:
    """Whether the site's own issuer asks on port 80."""
    return is_acme(site) and site.tls.challenge == "http-01"


def certificate_folder(site: Site) -> str:
    """What an ACME issuer gives has versions, and a link to the one in use."""
    folder = f"{CERTIFICATES_FOLDER}/{site.domain}"
    return f"{folder}/current" if is_acme(site) else folder


def is_address(domain: str) -> bool:
    """Whether clients name no server in their handshakes (RFC 6066, section 3)."""
    return domain.replace(".", "").isdigit() or ":" in domain


def name_prefix(domain: str) -> str:
    """What the names of a site's variables and upstreams begin with: two domains never share one.

    A dot becomes one underscore and a hyphen two, which no two dots can make. A name that is too
    long for nginx's hash is cut and told apart by a digest. `$1…` would be a capture, so a digit
    is not the first character.
    """
    prefix = domain.lower().replace("-", "__").replace(".", "_").replace("*", "any__")
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


def size(count: int) -> str:
    """Bytes as nginx and Apache's people write them, in the largest whole unit: ``16m``."""
    for unit, length in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if count % length == 0:
            return f"{count // length}{unit}"
    return str(count)


def path_of(route: Route) -> str:
    """The path as segments: a prefix has no slash at its end, whether written so or not."""
    return route.path if route.match == "exact" else route.path.rstrip("/") or "/"


def ordered(routes: Iterable[Route]) -> list[Route]:
    """The longest path first, and an exact one before a prefix of the same length."""
    return sorted(routes, key=lambda route: (-len(path_of(route)), route.match != "exact"))


def has_root_route(site: Site) -> bool:
    """Whether every path of the site is somebody's."""
    return any(path_of(route) == "/" and route.match == "prefix" for route in site.routes)


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
            hint="One route speaks to all of its upstreams in the same way: use one scheme.",
        )
    return "https" if True in schemes else "http"


def slugs_of(routes: Iterable[Route]) -> list[str]:
    """A word for each route from the end of its path, unique in its site, without underscores.

    Without them `PREFIX_SLUG_WORD` can be read from its end in one way only, so that the names of
    two sites never meet.
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
    """Raises: SourceError: a name of the site that would be more than a name."""
    for name in site.names:
        refuse_unless(PLAIN_NAME, name, what="the name", source=site.source)


def covers(site: Site, other: Site) -> bool:
    """Whether a wildcard of the site stands for a name of the other."""
    ends = [name.lower().removeprefix("*") for name in site.names if name.startswith("*")]
    return any(name.lower().endswith(tuple(ends)) for name in other.names)


def origin_patterns(site: Site, route: Route) -> tuple[str, ...]:
    """Patterns, without anchors, of the origins that may connect: the site's own unless said."""
    own_scheme = "https" if site.has_tls else "http"
    origins = route.origins
    if origins is None:
        origins = tuple(f"{own_scheme}://{name}" for name in site.names)
    else:
        for origin in origins:
            refuse_unless(PLAIN_ORIGIN, origin, what="the origin", source=route.source)
    return tuple(dict.fromkeys(_origin_pattern(origin) for origin in origins))


def _origin_pattern(origin: str) -> str:
    """An origin with its default port or without: the same origin (RFC 6454, section 4)."""
    scheme, _, _ = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None:
        return escaped(origin)
    bare = origin.removesuffix(f":{port}")
    has_other_port = re.search(r":[0-9]+$", bare) is not None
    # A wildcard site's own pages: the star stands for one label (RFC 9525, section 6.3).
    pattern = escaped(bare).replace(r"://\*\.", r"://[a-z0-9-]+\.", 1)
    return pattern if has_other_port else f"{pattern}(:{port})?"


def escaped(text: str) -> str:
    """The text as a regular expression that matches itself alone; `-` and `/` stay readable."""
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def refuse_unless(
    pattern: re.Pattern[str], value: str, *, what: str, source: SourceRef | None
) -> None:
    """Raises: SourceError: `value` has something that `pattern` does not allow."""
    found = pattern.match(value)
    end = found.end() if found else 0
    if end < len(value) or not value:
        bad = repr(value[end : end + 1] or value)
        raise SourceError(
            f"{what} {value!r} has {bad}, which cannot stand there",
            source=source,
            hint="It would change the meaning of the proxy's configuration file.",
        )
