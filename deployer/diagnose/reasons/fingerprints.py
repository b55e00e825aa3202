"""Recognise who wrote a response, and its meaning: pages of proxies, refusals of libraries. Pure.

Source: the source code or real responses of each; docs/explanation/hops.md has the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from deployer.proxies import PROXIES, ProxyServer
from deployer.verify.probe.attempt import Attempt, printable

Meaning = Literal[
    "no-upgrade",  # the service saw a request without (the right) Upgrade and Connection
    "http-1.0",  # the service saw HTTP/1.0
    "origin",  # the service refuses the Origin
    "no-key",  # the service saw no Sec-WebSocket-Key, or no version
    "subprotocol",  # the service refuses what was offered
    "http-to-https",  # plain HTTP arrived at a TLS port
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The meaning of a service's response to a handshake.

    `arrived` is the value of `header` as received by the service (``close`` for Connection, empty
    if it was missing, `None` if unknown); `host` is the Host that it received.
    """

    meaning: Meaning
    library: str
    header: str = ""
    arrived: str | None = None
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    meaning: Meaning
    library: str
    body: re.Pattern[str]
    statuses: frozenset[int] = frozenset({400})
    header: str = ""


def _pattern(
    meaning: Meaning, library: str, body: str, *statuses: int, header: str = ""
) -> _Pattern:
    return _Pattern(
        meaning=meaning,
        library=library,
        body=re.compile(body, re.IGNORECASE),
        statuses=frozenset(statuses or (400,)),
        header=header,
    )


# Each pattern has the name of the library or framework that responds with it.
_PATTERNS = (
    _pattern("no-upgrade", "golang.org/x/net/websocket", r"\A\s*not websocket protocol\s*\Z"),
    _pattern(
        "no-upgrade",
        "Python websockets",
        r"failed to open a websocket connection: "
        r"(?:missing|invalid|empty) (?P<header>connection|upgrade) header"
        r"(?:: (?P<arrived>[^.\n]*))?",
        400,
        426,
    ),
    _pattern(
        "no-upgrade", "aiohttp", r"no websocket upgrade hdr: (?P<arrived>\S+)", header="Upgrade"
    ),
    _pattern(
        "no-upgrade", "aiohttp", r"no connection upgrade hdr: (?P<arrived>\S+)", header="Connection"
    ),
    _pattern(
        "no-upgrade", "Tornado or Spring", r'can "upgrade" only to "websocket"', header="Upgrade"
    ),
    _pattern(
        "no-upgrade", "Tornado or Spring", r'"connection" must be "upgrade"', header="Connection"
    ),
    _pattern("no-upgrade", "Socket.IO", r'"code":\s*3,\s*"message":\s*"bad request"'),
    _pattern(
        "no-upgrade",
        "coder/websocket",
        r"websocket protocol violation: (?P<header>connection|upgrade) header "
        r'"(?P<arrived>[^"]*)"',
        400,
        426,
    ),
    _pattern(
        "no-upgrade", "Elixir's WebSockAdapter", r"'(?P<header>connection|upgrade)' header must"
    ),
    _pattern("no-upgrade", "a WebSocket library", r"expected (?:upgrade: )?websocket", 400, 426),
    _pattern("no-upgrade", "ws", r"(?:missing or )?invalid upgrade header", 400, header="Upgrade"),
    _pattern("no-key", "ws", r"missing or invalid sec-websocket-(?:key|version) header"),
    _pattern(
        "no-key",
        "Python websockets",
        r"(?:missing|invalid|empty) sec-websocket-(?:key|version) header",
    ),
    _pattern("origin", "Tornado", r"cross origin websockets not allowed", 403),
    _pattern(
        "origin",
        "coder/websocket",
        r'request origin "[^"]*" is not authori[sz]ed for host "(?P<host>[^"]*)"',
        403,
    ),
    _pattern("origin", "Python websockets", r"invalid origin header", 403),
    _pattern("origin", "a service", r"origin (?:is )?not allowed|invalid origin", 400, 401, 403),
    _pattern("origin", "golang.org/x/net/websocket", r"\A\s*null origin\s*\Z", 403),
    _pattern("subprotocol", "ws", r"invalid sec-websocket-protocol header"),
    _pattern("subprotocol", "Python websockets", r"(?:missing|no) subprotocol", 400),
    _pattern(
        "http-to-https",
        "a TLS server",
        r"plain http request was sent to https port|http request to an https server"
        r"|speaking plain http to an ssl-enabled server port",
        400,
    ),
)


def fingerprint_of(attempt: Attempt) -> Fingerprint | None:
    """Return how the request arrived at the service, if the response is a known one."""
    status = attempt.status_code
    if status is None:
        return None
    body = attempt.answer.body.decode("utf-8", "replace")
    for pattern in _PATTERNS:
        found = pattern.body.search(body) if status in pattern.statuses else None
        if found is None:
            continue
        groups = found.groupdict()
        quoted = groups.get("arrived")
        return Fingerprint(
            meaning=pattern.meaning,
            library=pattern.library,
            header=(groups.get("header") or pattern.header).capitalize(),
            arrived=_arrived(quoted, body),
            host=printable(groups.get("host") or "", limit=100),
        )
    return _by_status(attempt, status)


def _arrived(quoted: str | None, body: str) -> str | None:
    if quoted is not None:
        return "" if quoted in ("None", "") else printable(quoted.strip(), limit=60)
    return "" if re.search(r"missing (connection|upgrade) header", body, re.IGNORECASE) else None


def _by_status(attempt: Attempt, status: int) -> Fingerprint | None:
    versions = header(attempt, "sec-websocket-version")
    if status == 505:
        return Fingerprint(meaning="http-1.0", library="a service")
    upgrade = header(attempt, "upgrade").lower()
    if status == 426 and upgrade in ("", "websocket") and versions in ("", "13"):
        return Fingerprint(meaning="no-upgrade", library="a WebSocket service")
    # gorilla/websocket sends the version with every refusal, and checks Origin last.
    if status == 400 and versions == "13":
        return Fingerprint(meaning="no-upgrade", library="gorilla/websocket")
    if status == 403 and versions == "13":
        return Fingerprint(meaning="origin", library="gorilla/websocket")
    return None


# --- authors of responses -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Responder:
    """The author of a response; `is_own_page`: it is a proxy's (or web server's) own page.

    `proxy` is the author, if it is one that this program deploys.
    """

    name: str
    is_own_page: bool
    proxy: ProxyServer | None = None


_IN_FRONT = (
    ("cf-ray", "Cloudflare"),
    ("x-amz-cf-id", "CloudFront"),
    ("x-served-by", "Fastly"),
    ("x-azure-ref", "Azure Front Door"),
    ("x-vercel-id", "Vercel"),
    ("fly-request-id", "Fly.io"),
    ("x-akamai-request-id", "Akamai"),
)
_SERVERS_IN_FRONT = (
    ("awselb", "an AWS load balancer"),
    ("cloudflare", "Cloudflare"),
    ("envoy", "Envoy"),
    ("akamaighost", "Akamai"),
    ("google frontend", "Google's front end"),
)


def responder_of(attempt: Attempt) -> Responder | None:
    """Return the author of the response, judged by the page; `None` if unknown."""
    body, server = attempt.answer.body, header(attempt, "server")
    for proxy in PROXIES.values():
        traits = proxy.traits
        found = traits.own_page.search(body)
        is_named = server.lower().startswith(traits.server_names)
        if found or (is_named and traits.named_page is not None and traits.named_page.search(body)):
            name = traits.page_name or (printable(found[1], limit=40) if found else proxy.title)
            return Responder(name, True, proxy)
    if body.startswith(b"upstream connect error or disconnect/reset before headers"):
        return Responder("Envoy", True)
    return Responder(printable(server, limit=60), False) if server else None


def is_own_page(attempt: Attempt) -> bool:
    """Whether a proxy (or web server) wrote the response itself instead of forwarding one."""
    responder = responder_of(attempt)
    return responder is not None and responder.is_own_page


def is_proxy_server(attempt: Attempt) -> bool:
    """Whether a proxy has put its name on the response, regardless of the author."""
    name = header(attempt, "server").lower()
    own = tuple(word for proxy in PROXIES.values() for word in proxy.traits.server_names)
    return name.startswith((*own, "envoy", "caddy", "cloudflare", "aws"))


def in_front(attempt: Attempt) -> str:
    """Return the CDN or load balancer that forwarded the response, or an empty text."""
    for name, who in _IN_FRONT:
        if header(attempt, name):
            return who
    server = header(attempt, "server").lower()
    return next((who for word, who in _SERVERS_IN_FRONT if server.startswith(word)), "")


def header(attempt: Attempt, name: str) -> str:
    """Return the first value of a header of the response, or an empty text."""
    fields = attempt.answer.headers
    return next((value for key, value in fields if key.lower() == name.lower()), "")


def is_html(attempt: Attempt) -> bool:
    """Whether the response is a page."""
    start = attempt.answer.body.lstrip()[:15].lower()
    return "html" in header(attempt, "content-type").lower() or start.startswith(
        (b"<!doctype html", b"<html")
    )


def is_same_answer(one: Attempt, other: Attempt) -> bool:
    """Whether two responses are the same, except for parts that change every time."""
    if one.status_code is None or one.status_code != other.status_code:
        return False
    return _stripped(one) == _stripped(other)


def _stripped(attempt: Attempt) -> bytes:
    """Return the beginning of the body without digits and identifiers (times, IDs, nonces)."""
    return re.sub(rb"[0-9a-f]{8,}|[0-9]+", b"", attempt.answer.body[:400])
