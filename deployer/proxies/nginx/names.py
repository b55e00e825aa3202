"""The names that nginx serves.

Source: nginx, "Server names", "How nginx processes a request", and ``listen`` of
ngx_http_core_module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import (
    MOST_PATHS,
    Loopback,
    ServedName,
    each_once,
    from_glob,
    from_regex,
    is_any_address,
)
from deployer.proxies.nginx.config import Directive, damage_of, http_of, tree_of, walk
from deployer.proxies.nginx.match import modifier_of
from deployer.text.numbers import is_number

_HOST_VARIABLES = frozenset({"$host", "$http_host"})
_SNI_VARIABLES = frozenset({"$ssl_preread_server_name"})
_EXACT = re.compile(r"~\*?\^((?:[\w-]|\\\.)+)\$")
#: A map may also be about the port in the Host header.
_HOST_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)+")
#: Parameters of a map, and keys that are no names.
_NO_KEYS = frozenset({"default", "hostnames", "volatile", "include", '""', ""})
#: Names that no request has: they make a server the default one.
_NO_NAMES = frozenset({"", "_", "__", "-", "localhost.invalid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listen:
    """One ``listen`` of a server; `host` is ``*`` for all IPv4 addresses."""

    server: Directive
    host: str
    port: int
    socket: str
    words: tuple[str, ...]

    @property
    def key(self) -> tuple[str, int, str]:
        return self.host, self.port, self.socket


def served_names(state: ProxyState) -> tuple[ServedName, ...]:
    """Every name on every address that the configuration serves."""
    tree = tree_of(state.config)
    http = http_of(tree)
    found = list(_of_http(http)) if http is not None else []
    for kind in ("stream", "mail"):
        block = tree.last(kind)
        found += _of_streams(block) if block is not None else ()
    return each_once(found)


def with_files(state: ProxyState, config: tuple[ConfigFile, ...]) -> ProxyState:
    """`state` as if its files were these."""
    return replace(state, config=config)


def not_understood(state: ProxyState) -> str:
    """Where a file cannot be parsed."""
    return damage_of(state.config)


def _of_http(http: Directive) -> Iterator[ServedName]:
    listens = [each for server in http.all("server") for each in _listens(server)]
    at = Loopback((each.host, each.port) for each in listens if not is_any_address(each.host))
    groups: dict[tuple[str, int, str], list[_Listen]] = {}
    for each in listens:
        groups.setdefault(each.key, []).append(each)
    mapped = [
        (name, asked)
        for name in _map_keys(http, _HOST_VARIABLES)
        if (asked := _asked(name)) is not None and _HOST_NAME.fullmatch(asked)
    ]
    for group in groups.values():
        always = any(_is_always_tls(each.server) for each in group)
        tls = always or any("ssl" in each.words for each in group)
        line = any("proxy_protocol" in each.words for each in group)
        http2 = any("http2" in each.words for each in group)
        default = next((each for each in group if _is_default(each)), group[0])
        usual: ServedName | None = None
        for each in group:
            address = "" if each.socket else at.of(each.host, each.port)
            if not address and not each.socket:
                continue
            common = ServedName(
                proxy="nginx",
                name="",
                asked="",
                port=each.port,
                address=address,
                socket=each.socket,
                tls=tls,
                websockets=tuple(_websocket_paths(http, each.server)),
                wants_proxy_line=line,
                http2=tls and (_is_on(each.server, "http2") or http2),
                file=each.server.file,
                line=each.server.line,
            )
            names = _names(each.server)
            for name, asked in names:
                yield replace(common, name=name, asked=asked)
            if each is default:
                usual = replace(
                    common,
                    of_site=tuple(name for name, _ in names),
                    forwards=any(one.name.endswith("_pass") for one in walk(each.server)),
                )
                yield usual
        if usual is not None:
            yield from (replace(usual, name=each, asked=to, of_site=()) for each, to in mapped)


def _listens(server: Directive) -> Iterator[_Listen]:
    lines = list(server.all("listen"))
    if not lines:
        yield _Listen(server=server, host="*", port=80, socket="", words=())
    for each in lines:
        words = each.words
        if not words or "quic" in words or "udp" in words:
            continue
        host, port, socket = _place(words[0], usual_port=80)
        yield _Listen(server=server, host=host, port=port, socket=socket, words=words[1:])
        if host == "[::]" and "ipv6only=off" in words:
            yield _Listen(server=server, host="*", port=port, socket="", words=words[1:])


def _place(word: str, *, usual_port: int) -> tuple[str, int, str]:
    """Host, port and unix socket of a ``listen``."""
    if word.startswith("unix:"):
        return "", 0, word[len("unix:") :]
    if is_number(word):
        return "*", int(word), ""
    bracketed = re.fullmatch(r"(\[[^\]]*\])(?::(\d+))?", word)
    if bracketed:
        return bracketed[1], int(bracketed[2] or usual_port), ""
    host, colon, port = word.partition(":")
    number = int(port) if colon and is_number(port) else usual_port
    return "*" if is_any_address(host) else host, number, ""


def _is_always_tls(server: Directive) -> bool:
    return _is_on(server, "ssl")  # until 1.25.1


def _is_on(server: Directive, name: str) -> bool:
    found = server.last(name)
    return found is not None and found.words[:1] == ("on",)


def _is_default(listen: _Listen) -> bool:
    return bool({"default_server", "default"} & set(listen.words))


def _names(server: Directive) -> list[tuple[str, str | None]]:
    """The names of a server, and for each a name to request."""
    found: list[tuple[str, str | None]] = []
    for word in (word for each in server.all("server_name") for word in each.words):
        name = _plain(word) if word.startswith("~") else word.lower()
        if name in _NO_NAMES or "$" in name.rstrip("$"):
            continue
        if name.startswith("."):
            found += [(name[1:], name[1:]), (f"*{name}", from_glob(f"*{name}"))]
        else:
            found.append((name, _asked(name)))
    return found


def _plain(name: str) -> str:
    """A pattern that matches one name only as that name: nginx refuses very long plain names."""
    found = _EXACT.fullmatch(name)
    return found[1].replace("\\", "").lower() if found else name


def _asked(name: str) -> str | None:
    """A name to request that matches a name, a wildcard or a pattern."""
    return from_regex(name.lstrip("~*")) if name.startswith("~") else from_glob(name)


def _map_keys(block: Directive, variables: frozenset[str]) -> Iterator[str]:
    """The keys of maps of the requested name: a server may serve names that it does not list."""
    for each in block.all("map"):
        if each.words[:1] and each.words[0] in variables:
            for entry in each.block or ():
                if entry.name not in _NO_KEYS:
                    yield entry.name if entry.name.startswith("~") else entry.name.lower()


# --- WebSockets -----------------------------------------------------------------------------------


def _websocket_paths(http: Directive, server: Directive) -> Iterator[str]:
    """The paths of locations that forward an upgrade, as far as their patterns show one."""
    chain = (http, server)
    found: dict[str, None] = {}
    for path in _paths_below(server, chain):
        found.setdefault(path)
        if len(found) >= MOST_PATHS:
            break
    yield from found


def _paths_below(block: Directive, chain: tuple[Directive, ...]) -> Iterator[str]:
    for location in block.all("location"):
        inner = (*chain, location)
        if any(each.name == "proxy_pass" for each in _own(location)) and _forwards(inner):
            path = _path_of(location)
            if path:
                yield path
        yield from _paths_below(location, inner)


def _own(location: Directive) -> Iterator[Directive]:
    """The directives of a location and of conditions in it."""
    for each in location.block or ():
        if each.name in ("if", "limit_except"):
            yield from walk(each)
        elif each.name != "location":
            yield each


def _forwards(chain: tuple[Directive, ...]) -> bool:
    """Whether the Upgrade header is passed on; a level with headers of its own inherits none."""
    for block in reversed(chain):
        lines = list(block.all("proxy_set_header"))
        if lines:
            return any(each.words[:1] and each.words[0].lower() == "upgrade" for each in lines)
    return False


def _path_of(location: Directive) -> str:
    sign, word = modifier_of(location)
    if sign == "@":
        return "/"
    if sign in ("~", "~*"):
        return from_regex(word, text_before="/") or ""
    return word if word.startswith("/") else ""


# --- stream and mail ------------------------------------------------------------------------------


def _of_streams(block: Directive) -> Iterator[ServedName]:
    """Servers that forward connections, by the name of the TLS handshake if they read it."""
    names = tuple(_map_keys(block, _SNI_VARIABLES))
    lines = [(server, each) for server in block.all("server") for each in server.all("listen")]
    places = [(server, each, _place(each.words[0], usual_port=0)) for server, each in lines]
    at = Loopback((host, port) for _, _, (host, port, _) in places if not is_any_address(host))
    for server, each, (host, port, socket) in places:
        address = "" if socket else at.of(host, port)
        if "udp" in each.words or (not address and not socket):
            continue
        reads = server.last("ssl_preread") or block.last("ssl_preread")
        is_preread = reads is not None and reads.words[:1] == ("on",)
        common = ServedName(
            proxy="nginx",
            name="",
            asked="",
            port=port,
            address=address,
            socket=socket,
            tls=is_preread,
            speaks_http=is_preread,
            wants_proxy_line="proxy_protocol" in each.words,
            file=server.file,
            line=server.line,
        )
        yield common
        for name in names if is_preread else ():
            yield replace(common, name=name, asked=_asked(name))
