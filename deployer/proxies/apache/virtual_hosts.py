"""Which site and ProxyPass of Apache a request matches, in Apache's own order.

The site by port and name, or the first one if no name matches; then rewrite rules; then the last
``<Location>`` with a ProxyPass; then the site's ProxyPass lines in order, of which the first wins.
Source: httpd, "Virtual Host Matching", "Configuration Sections", mod_proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from deployer.proxies.apache.config import ApacheConfig
from deployer.proxies.apache.tree import Directive
from deployer.sites.model import Upstream

_PASSES = ("proxypass", "proxypassmatch")
#: The default ports of the schemes of a service's address.
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443, "h2c": 80, "h2": 443, "ajp": 8009}
_TLS = frozenset({"https", "wss", "h2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A ProxyPass or ProxyPassMatch; `target` is empty for ``!``, which ends the search."""

    directive: Directive
    path: str
    is_regex: bool
    target: str
    options: Mapping[str, str]
    location: Directive | None = None

    @property
    def upgrade(self) -> str:
        """The value of ``upgrade=`` in lower case; empty if it is missing."""
        return self.options.get("upgrade", "").lower()

    def catches(self, path: str) -> bool:
        """Whether requests for `path` match."""
        return self.rest_of(path) is not None

    def rest_of(self, path: str) -> str | None:
        """The rest of `path` after the matching part; `None` if it does not match."""
        if self.is_regex:
            return "" if _found(self.path, path) else None
        if not path.startswith(self.path):
            return None
        rest = path[len(self.path) :]
        is_whole = not rest or self.path.endswith("/") or rest.startswith("/")
        return rest if is_whole else None

    def path_at_service(self, path: str, base: str) -> str:
        """The path requested from the service; `base` is the path in the service's address."""
        if not self.is_regex:
            return (base + (self.rest_of(path) or "")) or "/"
        found = _found(self.path, path)
        if "$" not in base:
            return base + path
        groups = [found.group(0), *found.groups()] if found else []
        return re.sub(r"\$(\d)", lambda turn: _group(groups, int(turn[1])), base) or "/"


def _found(pattern: str, path: str) -> re.Match[str] | None:
    try:
        return re.search(re.sub(r"\(\?<([a-z])", r"(?P<\1", pattern), path)
    except re.error:
        return None


def _group(groups: list[str | None], number: int) -> str:
    return (groups[number] or "") if number < len(groups) else ""


def catches_path(pattern: str, path: str, *, is_regex: bool) -> bool:
    """Whether a Redirect matches `path`: by whole segments, or by a pattern."""
    if is_regex:
        return _found(pattern, path) is not None
    rest = path[len(pattern) :]
    is_whole = not rest or pattern.endswith("/") or rest.startswith("/")
    return path.startswith(pattern) and is_whole


# --- sites ----------------------------------------------------------------------------------------


def names_of(site: Directive) -> tuple[str, ...]:
    """ServerName and every ServerAlias, in lower case, without ports."""
    found: list[str] = []
    for each in site.children:
        if each.name == "servername" and each.words:
            found.insert(0, re.sub(r"^\w+://|:\d+$", "", each.words[0]).lower())
        elif each.name == "serveralias":
            found += [word.lower() for word in each.words]
    return tuple(found)


def site_of(config: ApacheConfig, *, name: str, port: int) -> tuple[Directive | None, bool]:
    """The site for a name and port, and whether it has the name; `None` for the main server."""
    at_port = [each for each in config.sections("virtualhost") if _is_at(each, port)]
    for site in at_port:
        if any(fnmatchcase(name.lower(), pattern) for pattern in names_of(site)):
            return site, True
    return (at_port[0] if at_port else None), False


def _is_at(site: Directive, port: int) -> bool:
    for word in site.words:
        host, colon, number = word.rpartition(":")
        if not colon or host.endswith(":") or number.endswith("]"):
            return True  # an address without a port: all of them
        if number in ("*", str(port)):
            return True
    return False


def own_address(site: Directive, port: int) -> str:
    """The one IPv4 address of a site; empty if it has several, or is for all."""
    words = [re.sub(r":(?:\d+|\*)$", "", word) for word in site.words]
    is_one = len(words) == 1 and re.fullmatch(r"\d+(?:\.\d+){3}", words[0])
    return words[0] if is_one and words[0] != "0.0.0.0" else ""  # noqa: S104 - compared


def listens(config: ApacheConfig, port: int) -> bool:
    """Whether a Listen line has that port; true if no Listen line is known."""
    addresses = [each.words[0] for each in config.all_of("listen") if each.words]
    return not addresses or any(text.rpartition(":")[2] == str(port) for text in addresses)


def speaks_tls(config: ApacheConfig, site: Directive | None) -> bool:
    """Whether the site has SSLEngine on."""
    found = config.setting("sslengine", site)
    return found is not None and [word.lower() for word in found.words[:1]] == ["on"]


# --- rules ----------------------------------------------------------------------------------------


def locations_of(
    config: ApacheConfig, site: Directive | None, path: str
) -> list[tuple[Directive, Pass | None]]:
    """The ``<Location>`` sections that apply to `path`, in order, with their ProxyPass."""
    found = []
    for group in (config.directives, site.children if site else ()):
        for each in group:
            if each.is_section and each.name in ("location", "locationmatch"):
                made = _pass_in(each)
                if made is not None and made.is_regex and made.directive.name == "proxypass":
                    made = None  # the pattern is read as a path there, and matches nothing
                if _covers(each, path):
                    found.append((each, made))
    return found


def _covers(section: Directive, path: str) -> bool:
    words = section.words
    is_regex = section.name == "locationmatch" or words[:1] == ("~",)
    pattern = words[-1] if words else ""
    if is_regex:
        return _found(pattern, path) is not None
    if any(sign in pattern for sign in "*?["):
        return fnmatchcase(path, pattern) or fnmatchcase(path, pattern.rstrip("/") + "/*")
    if not path.startswith(pattern):
        return False
    rest = path[len(pattern) :]
    return not rest or pattern.endswith("/") or rest.startswith("/")


def _pass_in(section: Directive) -> Pass | None:
    found = None
    is_regex = section.name == "locationmatch" or section.words[:1] == ("~",)
    for each in section.children:
        if each.name in _PASSES and each.words:
            found = Pass(
                directive=each,
                path=section.words[-1] if section.words else "/",
                is_regex=is_regex or each.name == "proxypassmatch",
                target="" if each.words[0] == "!" else each.words[0],
                options=_options(each.words[1:]),
                location=section,
            )
    return found


def passes_of(config: ApacheConfig, site: Directive | None) -> Iterator[Pass]:
    """The ProxyPass lines of a site, then those of the server, in the order of evaluation."""
    for group in (site.children if site else (), config.directives):
        for each in group:
            made = _pass_of(each) if each.name in _PASSES and not each.is_section else None
            if made is not None:
                yield made


def site_passes(config: ApacheConfig, site: Directive | None) -> Iterator[Pass]:
    """Every ProxyPass of a site, including locations, in file order; the server's come last."""
    for group in (site.children if site else (), config.directives):
        for each in group:
            if each.is_section and each.name in ("location", "locationmatch"):
                made = _pass_in(each)
                if made is not None and made.target:
                    yield made
            elif each.name in _PASSES and not each.is_section:
                made = _pass_of(each)
                if made is not None and made.target:
                    yield made


def _pass_of(directive: Directive) -> Pass | None:
    """A ProxyPass outside of locations: path, address, options."""
    if len(directive.words) < 2:
        return None
    return Pass(
        directive=directive,
        path=directive.words[0],
        is_regex=directive.name == "proxypassmatch",
        target="" if directive.words[1] == "!" else directive.words[1],
        options=_options(directive.words[2:]),
    )


def _options(words: tuple[str, ...]) -> dict[str, str]:
    pairs = (word.partition("=") for word in words)
    return {key.lower(): value for key, _, value in pairs}


def chosen_pass(config: ApacheConfig, site: Directive | None, path: str) -> Pass | None:
    """The ProxyPass that matches requests for `path`."""
    inside = [made for _, made in locations_of(config, site, path) if made is not None]
    if inside:
        return inside[-1]
    return next((each for each in passes_of(config, site) if each.catches(path)), None)


# --- services ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A service that a ProxyPass leads to; `directive` has its address and options."""

    upstream: Upstream
    path: str
    scheme: str
    options: Mapping[str, str]
    directive: Directive


def members_of(config: ApacheConfig, made: Pass) -> tuple[Member, ...]:
    """The services of a ProxyPass: one, or each member of its balancer."""
    if not made.target.lower().startswith("balancer://"):
        one = _member(made.target, made.options, made.directive)
        return (one,) if one else ()
    name, slash, rest = made.target[len("balancer://") :].partition("/")
    found = []
    for each in _balancer_members(config, name):
        words = [word for word in each.words if not word.lower().startswith("balancer://")]
        if words:
            one = _member(words[0] + slash + rest, _options(tuple(words[1:])), each)
            found += [one] if one else []
    return tuple(found)


def _balancer_members(config: ApacheConfig, name: str) -> Iterator[Directive]:
    """The members of a balancer, each once; a name with a variable matches all that fit."""
    pattern = re.sub(r"\\\$\\\{.*?\\\}", ".*", re.escape(name.lower()))
    seen: set[str] = set()
    for each in _members_of_all(config):
        owner, directive = each
        key = next((word for word in directive.words if not _balancer_name((word,))), "")
        if re.fullmatch(pattern, owner) and key not in seen:
            seen.add(key)
            yield directive


def _members_of_all(config: ApacheConfig) -> Iterator[tuple[str, Directive]]:
    for group in (config.directives, *(each.children for each in config.sections("virtualhost"))):
        for each in group:
            owner = _balancer_name(each.words)
            if each.is_section and each.name == "proxy" and owner:
                yield from ((owner, one) for one in each.children if one.name == "balancermember")
            elif each.name == "balancermember" and owner:
                yield owner, each


def _balancer_name(words: tuple[str, ...]) -> str:
    found = re.match(r"balancer://([^/]+)", words[0].lower()) if words else None
    return found.group(1) if found else ""


def _member(target: str, options: Mapping[str, str], directive: Directive) -> Member | None:
    if target.lower().startswith("unix:"):
        socket, _, url = target[5:].partition("|")
        parts = urlsplit(url)
        upstream = Upstream(socket=socket, tls=parts.scheme in _TLS)
        return Member(
            upstream=upstream,
            path=parts.path,
            scheme=parts.scheme,
            options=options,
            directive=directive,
        )
    found = re.match(r"(\w+)://(\[[^]]+\]|[^/:$]+)(?::(\d+))?(.*)", target, re.DOTALL)
    if found is None:
        return None
    scheme, host, port, path = found.groups()
    scheme = scheme.lower()
    number = int(port) if port else _PORTS.get(scheme, 0)
    upstream = Upstream(host=host.strip("[]"), port=number, tls=scheme in _TLS)
    return Member(upstream=upstream, path=path, scheme=scheme, options=options, directive=directive)


def member_of(target: str, rule: Directive) -> Member | None:
    """The service of a rewrite rule whose result is an address."""
    return _member(target, {}, rule)


def address_of(upstream: Upstream) -> str:
    """``127.0.0.1:3000``, ``[::1]:3000`` or a socket's path, as in a configuration."""
    if upstream.socket:
        return upstream.socket
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    return f"{host}:{upstream.port}"
