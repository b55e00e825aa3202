"""The names that Apache serves.

A connection is served by the sites for its own address and port, or else by those for all
addresses; of these, the first is the default. Source: httpd, "Virtual Host Matching".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from deployer.proxies.apache.config import ApacheConfig, config_of
from deployer.proxies.apache.rewrite import rules_of
from deployer.proxies.apache.tree import Directive
from deployer.proxies.apache.virtual_hosts import names_of, site_passes, speaks_tls
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import (
    MOST_PATHS,
    Loopback,
    ServedName,
    each_once,
    from_glob,
    from_regex,
    is_any_address,
    listened,
)
from deployer.text.numbers import is_number

_MODULE_LINES = re.compile(r"^ \w+_module \((?:static|shared)\)$", re.MULTILINE)
#: An address of a site: its host, and its port or ``*``.
_Place = tuple[str, str]


def served_names(state: ProxyState) -> tuple[ServedName, ...]:
    """Every name on every address that the configuration serves."""
    config = config_of(state)
    return each_once(_entries(state, config)) if config.directives else ()


def with_files(state: ProxyState, config: tuple[ConfigFile, ...]) -> ProxyState:
    """`state` as if its files were these: Apache's own output is about the former ones."""
    modules = "\n".join(_MODULE_LINES.findall(state.dump))
    made = replace(state, config=config, dump=modules)
    return replace(made, listeners=()) if _configured(config_of(made)) else made


def not_understood(state: ProxyState) -> str:
    """Its own list of its files, without which ``Include`` lines and conditions are unknown."""
    return "" if "Included configuration files" in state.dump else "apachectl -D DUMP_INCLUDES"


def _entries(state: ProxyState, config: ApacheConfig) -> Iterator[ServedName]:
    sites = [(site, _places(site)) for site in config.sections("virtualhost")]
    open_at = listened(state) or _configured(config)
    explicit = [
        (host.strip("[]"), int(port))
        for _, places in sites
        for host, port in places
        if not is_any_address(host) and is_number(port)
    ]
    at = Loopback(explicit)
    main = _common(config, None)
    for port, hosts in sorted(open_at.items()):
        named = {host for host, number in explicit if number == port}
        for address in sorted(_reachable(hosts, port, at) | named):
            own = [site for site, places in sites if _is_for(places, address, port)]
            group = own or [site for site, places in sites if _is_for_all(places, port)]
            if not group:
                yield replace(main, port=port, address=address, of_site=_main_names(config))
            for site in group:
                common = replace(
                    _common(config, site), port=port, address=address, of_site=names_of(site)
                )
                for name in names_of(site):
                    yield replace(common, name=name, asked=from_glob(name))
                for pattern in _tested_hosts(site):
                    yield replace(common, name=f"~{pattern}", asked=from_regex(pattern))
                if site is group[0]:
                    yield common


def _places(site: Directive) -> tuple[_Place, ...]:
    found = []
    for word in site.words:
        host, colon, port = word.rpartition(":")
        if not colon or host.endswith(":") or port.endswith("]"):
            host, port = word, "*"  # an address without a port: all of them
        found.append((host, port))
    return tuple(found)


def _is_for(places: tuple[_Place, ...], address: str, port: int) -> bool:
    return any(
        host.strip("[]") == address and number in ("*", str(port))
        for host, number in places
        if not is_any_address(host)
    )


def _is_for_all(places: tuple[_Place, ...], port: int) -> bool:
    return any(is_any_address(host) and number in ("*", str(port)) for host, number in places)


def _configured(config: ApacheConfig) -> dict[int, set[str]]:
    """By port, the addresses of ``Listen`` lines."""
    found: dict[int, set[str]] = {}
    for each in config.all_of("listen"):
        host, _, port = each.words[0].rpartition(":") if each.words else ("", "", "")
        if is_number(port):
            found.setdefault(int(port), set()).add(host.strip("[]"))
    return found


def _reachable(hosts: set[str], port: int, at: Loopback) -> set[str]:
    """Addresses to connect to; Apache's socket for all IPv6 addresses accepts IPv4."""
    found = set()
    for host in hosts:
        found.add(at.of("" if host == "::" else host, port))
        if host == "::":
            found.add(at.of("::", port))
    return found - {""}


def _offers_http2(config: ApacheConfig, site: Directive | None) -> bool:
    protocols = config.setting("protocols", site)
    return protocols is not None and "h2" in protocols.words and speaks_tls(config, site)


def _common(config: ApacheConfig, site: Directive | None) -> ServedName:
    """What all entries of a site share; `None` is the main server."""
    return ServedName(
        proxy="apache",
        name="",
        asked="",
        port=0,
        tls=speaks_tls(config, site),
        http2=_offers_http2(config, site),
        forwards=next(site_passes(config, site), None) is not None,
        websockets=tuple(_websocket_paths(config, site)),
        wants_proxy_line=_is_on(config, "remoteipproxyprotocol", site),
        file=site.file if site is not None else "",
        line=site.line if site is not None else 0,
    )


def _main_names(config: ApacheConfig) -> tuple[str, ...]:
    found = config.setting("servername")
    return (found.words[0].lower(),) if found is not None and found.words else ()


def _is_on(config: ApacheConfig, name: str, site: Directive | None) -> bool:
    found = config.setting(name, site)
    return found is not None and [word.lower() for word in found.words[:1]] == ["on"]


def _tested_hosts(site: Directive) -> Iterator[str]:
    """Patterns of names that rewrite rules test, which the site need not list."""
    for rule in rules_of(site.children):
        for each in rule.conditions:
            if each.words[0].upper() == "%{HTTP_HOST}" and each.words[1][:1] not in "!=<>-":
                yield each.words[1]


def _websocket_paths(config: ApacheConfig, site: Directive | None) -> list[str]:
    """The paths that a ProxyPass or a rewrite rule forwards as WebSockets."""
    found: dict[str, None] = {}
    for each in site_passes(config, site):
        scheme = each.target.lower().partition("|")[2] or each.target.lower()
        if each.upgrade or scheme.startswith(("ws:", "wss:")):
            path = from_regex(each.path, text_before="/") if each.is_regex else each.path
            found.setdefault(path or "")
    for rule in rules_of(site.children if site is not None else config.directives):
        if rule.target.lower().startswith(("ws:", "wss:")) and "p" in rule.flags:
            found.setdefault(from_regex(rule.pattern, text_before="/") or "/")
    return [path for path in found if path.startswith("/")][:MOST_PATHS]
