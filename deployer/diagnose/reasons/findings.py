"""How to tell causes apart that look alike from outside, and findings made of both. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

from deployer.model import Alternative, Finding, Hop, Severity
from deployer.proxies.words import in_each
from deployer.verify.judge.responsible_hop import evidence_of
from deployer.verify.probe.attempt import Attempt

#: Said wherever nothing but a look at the host can tell.
ASK_THE_HOST = "`deployer diagnose URL --host user@server` reads the proxy's configuration"

_TELL: Mapping[str, str] = {
    "backend-not-websocket": (
        "the same handshake straight to the service, on the host, gets the same answer"
    ),
    "bad-gateway": "the proxy's error log names the address that it tried",
    "config-invalid": "on the host, the proxy's own configuration test fails",
    "connection-cleared": 'the location has proxy_set_header Connection "" (the keep-alive recipe)',
    "connections-exhausted": "it works again with few connections; the error log says so",
    "h2-websocket": "the proxy speaks HTTP/2 to the service; ordinary pages work, upgrades do not",
    "headers-not-inherited": (
        "the location has a proxy_set_header of its own, which drops those of the server block"
    ),
    "host-rewritten": (
        "sent with `Origin: http://127.0.0.1:PORT` (the service's own address, or the name in "
        "proxy_pass), the handshake succeeds"
    ),
    "login-required": "with the Cookie or Authorization of a session (--header), it succeeds",
    "map-twice": "two `map` blocks set the same variable; the last one wins",
    "origin-blocked": "with an Origin that the service lists (--origin), it succeeds",
    "page-instead": "the service's own log has the request under another path than was asked for",
    "port-lost": "the service sees Host without the port",
    "proxy-down": "on the host, `ss -ltnp` shows nobody on the port",
    "reload-not-taken": (
        "the configuration names this port, and the proxy's log has an error of its last reload"
    ),
    "service-down": (
        "the proxy's error log says connection refused; on the host, `ss -ltnp` shows nobody on "
        "the service's port"
    ),
    "service-hangs": "the service's own port takes the request, on the host, and does not answer",
    "slash-mismatch": "one of location and proxy_pass (ProxyPass) ends with a slash, the other not",
    "tls-untrusted": (
        "its issuer is a root, a CA of one's own that signs without an intermediate; then "
        "--ca-bundle FILE with that root lets it pass"
    ),
    "unreachable-from-here": "it is reached from another network, or on the host itself",
    "upgrade-not-forwarded": ("the same handshake straight to the service, on the host, gets 101"),
    "upstream-scheme": (
        "the proxy's error log has an SSL error, or a prematurely closed connection, and the "
        "service runs"
    ),
    "wrong-route": "the request is missing in the service's own log",
}


def _sign(code: str) -> str:
    """How to recognize a cause, with what only some proxies show."""
    of_proxies = in_each(lambda words: words.signs.get(code, ""))
    if code not in _TELL:
        return of_proxies
    return f"{_TELL[code]} ({of_proxies})" if of_proxies else _TELL[code]


def alternatives(*codes: str, **words: str) -> tuple[Alternative, ...]:
    """What else it can be, the likeliest first; `words` say it otherwise (``_`` for ``-``)."""
    own = {code.replace("_", "-"): tell for code, tell in words.items()}
    return tuple(Alternative(code=code, tell=own.get(code) or _sign(code)) for code in codes)


class _More(TypedDict, total=False):
    """Fields of a `Finding` that few findings have."""

    severity: Severity
    directive: str


def finding(
    code: str,
    *,
    hop: Hop,
    symptom: str,
    cause: str,
    fix: str,
    attempt: Attempt | None = None,
    or_else: Sequence[Alternative] = (),
    **more: Unpack[_More],
) -> Finding:
    """The finding, with what the peer of `attempt` said as its evidence."""
    return Finding(
        code=code,
        hop=hop,
        symptom=symptom,
        cause=cause,
        fix=fix,
        evidence=evidence_of(attempt) if attempt else "",
        request=attempt.request if attempt else "",
        response=attempt.response if attempt else "",
        alternatives=tuple(or_else),
        **more,
    )
