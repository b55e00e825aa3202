"""Which server and location of nginx match a request, by nginx's own rules.

Source: nginx, "How nginx processes a request", "Server names", and ``location`` of
ngx_http_core_module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from deployer.proxies.nginx.config import Directive, http_of

#: Directives that forward a request; nginx redirects their prefix without its slash to it.
PASSING = ("proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass")
#: How well a name matches, the best first.
_EXACT, _SUFFIX, _PREFIX, _REGEX, _DEFAULT = range(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The blocks that apply to a request, ``http`` first, the location last.

    `is_default` if no server has the name. `slash_from` is the location that makes nginx answer
    with a redirect to the same path with a slash. `path` is the request's, as locations see it.
    """

    blocks: tuple[Directive, ...]
    path: str
    is_default: bool = False
    is_tls: bool = False
    slash_from: Directive | None = None

    @property
    def server(self) -> Directive:
        """The server that handles the request."""
        return self.blocks[1]

    @property
    def location(self) -> Directive | None:
        """The innermost location; `None` if the server itself answers."""
        return self.blocks[-1] if len(self.blocks) > 2 else None

    @property
    def innermost(self) -> Directive:
        """The location, or the server."""
        return self.blocks[-1]

    def level(self, *names: str) -> Directive | None:
        """The innermost block with one of those directives; outer ones are not inherited then."""
        return next((block for block in reversed(self.blocks) if any(block.all(*names))), None)

    def value(self, name: str) -> Directive | None:
        """The directive that applies here; the innermost one wins."""
        level = self.level(name)
        return level.last(name) if level is not None else None

    def server_value(self, name: str) -> Directive | None:
        """The directive that applies to the server; locations do not change it."""
        return self.server.last(name) or self.blocks[0].last(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listen:
    port: int
    is_tls: bool
    is_default: bool


def match_of(tree: Directive, *, name: str, port: int, path: str) -> Match | None:
    """Match a request for `path` at `name` and `port`; `None` if nothing listens there."""
    http = http_of(tree)
    if http is None:
        return None
    chosen = _server(http, name, port)
    if chosen is None:
        return None
    server, listen, rank = chosen
    path = _normal(path)
    found = _found(server, path)
    return Match(
        blocks=(http, server, *found.chain),
        path=path,
        is_default=rank == _DEFAULT,
        is_tls=listen.is_tls,
        slash_from=found.slash_from,
    )


def _normal(path: str) -> str:
    """Decoded, and without double slashes: merge_slashes is on by default."""
    return re.sub(r"/{2,}", "/", unquote(path)) or "/"


# --- servers --------------------------------------------------------------------------------------


def servers_of(http: Directive) -> Iterator[Directive]:
    """All servers, in order."""
    return http.all("server")


def listens(server: Directive) -> tuple[tuple[int, bool, bool], ...]:
    """For each TCP address: its port, whether it speaks TLS, whether it is the default."""
    return tuple((each.port, each.is_tls, each.is_default) for each in _listens(server))


def _listens(server: Directive) -> list[_Listen]:
    found = []
    is_on = server.last("ssl")
    always_tls = is_on is not None and is_on.words[:1] == ("on",)  # until 1.25.1
    for each in server.all("listen"):
        words = each.words
        if not words or words[0].startswith("unix:") or "quic" in words or "udp" in words:
            continue
        port = re.search(r"(?:^|:)(\d+)$", words[0].rpartition("]")[2] or words[0])
        has_only_host = "." in words[0] and ":" not in words[0]
        number = int(port.group(1)) if port and not has_only_host else 80
        found.append(
            _Listen(
                port=number,
                is_tls="ssl" in words[1:] or always_tls,
                is_default=bool({"default_server", "default"} & set(words[1:])),
            )
        )
    if not any(server.all("listen")):
        found.append(_Listen(port=80, is_tls=always_tls, is_default=False))
    return found


def _server(http: Directive, name: str, port: int) -> tuple[Directive, _Listen, int] | None:
    listening = [
        (server, listen)
        for server in servers_of(http)
        for listen in _listens(server)
        if listen.port == port
    ]
    if not listening:
        return None
    # A socket speaks TLS if any of its servers says so.
    tls = any(listen.is_tls for _, listen in listening)
    best: tuple[tuple[int, int], Directive, _Listen] | None = None
    for server, listen in listening:
        for word in (word for each in server.all("server_name") for word in each.words):
            rank = _rank(word, name.lower())
            if rank is not None and (best is None or rank < best[0]):
                best = rank, server, listen
    if best is not None:
        return best[1], _with_tls(best[2], tls), best[0][0]
    first = next((pair for pair in listening if pair[1].is_default), listening[0])
    return first[0], _with_tls(first[1], tls), _DEFAULT


def _with_tls(listen: _Listen, tls: bool) -> _Listen:
    return _Listen(port=listen.port, is_tls=tls, is_default=listen.is_default)


def _rank(word: str, name: str) -> tuple[int, int] | None:
    """How well a word of ``server_name`` matches, smaller is better; `None` if not."""
    if word.startswith("~"):
        try:
            return (_REGEX, 0) if re.search(word[1:], name, re.IGNORECASE) else None
        except re.error:
            return None
    word = word.lower()
    if word == name or (word.startswith(".") and name == word[1:]):
        return _EXACT, 0
    if word.startswith((".", "*.")):
        return (_SUFFIX, -len(word)) if name.endswith(word.removeprefix("*")) else None
    if word.endswith(".*"):
        return (_PREFIX, -len(word)) if name.startswith(word[:-1]) else None
    return None


# --- locations ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    chain: tuple[Directive, ...] = ()
    is_final: bool = False
    slash_from: Directive | None = None


def modifier_of(location: Directive) -> tuple[str, str]:
    """The modifier (``=``, ``^~``, ``~``, ``~*``, ``@`` or none) and the path of a ``location``."""
    words = location.words
    if len(words) > 1 and words[0] in ("=", "^~", "~", "~*"):
        return words[0], words[1]
    word = words[0] if words else "/"
    for sign in ("=", "^~", "~*", "~", "@"):
        if word.startswith(sign):
            return sign, word[len(sign) :]
    return "", word


def _found(block: Directive, path: str) -> _Found:
    """nginx's `ngx_http_core_find_location`, including nested locations."""
    locations = [(*modifier_of(location), location) for location in block.all("location")]
    plain = [each for each in locations if each[0] not in ("~", "~*", "@")]
    exact = next((each for sign, word, each in plain if sign == "=" and word == path), None)
    if exact is not None:
        return _Found(chain=(exact,), is_final=True)
    longest = _longest(plain, path)
    if longest is None or longest[1] != path:
        slash = next((each for _, word, each in plain if _would_redirect(word, each, path)), None)
        if slash is not None:
            return _Found(chain=(slash,), is_final=True, slash_from=slash)
    chain: tuple[Directive, ...] = ()
    if longest is not None:
        below = _found(longest[2], path)
        chain = (longest[2], *below.chain)
        if below.is_final or longest[0] == "^~":
            return _Found(chain=chain, is_final=below.is_final, slash_from=below.slash_from)
    for sign, _, location in locations:
        if sign in ("~", "~*") and _matches(location, path):
            below = _found(location, path)
            return _Found(
                chain=(location, *below.chain), is_final=True, slash_from=below.slash_from
            )
    return _Found(chain=chain)


def _longest(
    plain: Sequence[tuple[str, str, Directive]], path: str
) -> tuple[str, str, Directive] | None:
    fitting = [each for each in plain if each[0] != "=" and path.startswith(each[1])]
    return max(fitting, key=lambda each: len(each[1]), default=None)


def _would_redirect(word: str, location: Directive, path: str) -> bool:
    """Whether nginx answers `path` with 301 because of a location with a trailing slash."""
    passes = next((each for each in location.all(*PASSING)), None)
    return passes is not None and word == f"{path}/"


def _matches(location: Directive, path: str) -> bool:
    sign, pattern = modifier_of(location)
    try:
        return re.search(pattern, path, re.IGNORECASE if sign == "~*" else 0) is not None
    except re.error:
        return False
