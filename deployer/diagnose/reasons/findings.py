"""Build findings, with alternatives and how to check them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

from deployer.model import Alternative, Finding, Hop, Severity
from deployer.proxies.words import in_each
from deployer.verify.judge.responsible_hop import evidence_of
from deployer.verify.probe.attempt import Attempt

#: For causes that only an inspection of the host can distinguish.
ASK_THE_HOST = "`deployer diagnose URL --host user@server` reads the proxy's configuration"

_TELL: Mapping[str, str] = {
    "backend-not-websocket": (
        "on the host, the same handshake directly to the service gets the same response"
    ),
    "bad-gateway": "the proxy's error log names the address that it tried",
    "config-invalid": "on the host, the proxy's own configuration test fails",
    "connection-cleared": 'the location has proxy_set_header Connection "" (the keep-alive recipe)',
    "connections-exhausted": "it works again with few connections; the error log reports it",
    "h2-websocket": "the proxy speaks HTTP/2 to the service; ordinary pages work, upgrades do not",
    "headers-not-inherited": (
        "the location has its own proxy_set_header, which drops those of the server block"
    ),
    "host-rewritten": (
        "with `Origin: http://127.0.0.1:PORT` (the service's own address, or the name in "
        "proxy_pass), the handshake succeeds"
    ),
    "login-required": "with a session's Cookie or Authorization (--header), it succeeds",
    "map-twice": "two `map` blocks set the same variable; the last one wins",
    "origin-blocked": "with an Origin that the service allows (--origin), it succeeds",
    "page-instead": "the service's own log has the request under a different path",
    "port-lost": "the service gets Host without the port",
    "proxy-down": "on the host, `ss -ltnp` shows no process on the port",
    "reload-not-taken": (
        "the configuration has this port, and the proxy's log has an error from the last reload"
    ),
    "service-down": (
        "the proxy's error log has connection refused; on the host, `ss -ltnp` shows no process on "
        "the service's port"
    ),
    "service-hangs": "on the host, the service's own port accepts the request and does not answer",
    "slash-mismatch": "either location or proxy_pass (ProxyPass) ends with a slash, but not both",
    "tls-untrusted": (
        "the issuer is a private root CA that signs without an intermediate; with that root in "
        "--ca-bundle FILE, the certificate is accepted"
    ),
    "unreachable-from-here": "it is reachable from a different network, or on the host itself",
    "upgrade-not-forwarded": "on the host, the same handshake directly to the service gets 101",
    "upstream-scheme": (
        "the proxy's error log has an SSL error or a prematurely closed connection, while the "
        "service runs"
    ),
    "wrong-route": "the request is missing from the service's own log",
}


def _sign(code: str) -> str:
    """Return how to recognise a cause, with the signs of each proxy."""
    of_proxies = in_each(lambda words: words.signs.get(code, ""))
    if code not in _TELL:
        return of_proxies
    return f"{_TELL[code]} ({of_proxies})" if of_proxies else _TELL[code]


def alternatives(*codes: str, **words: str) -> tuple[Alternative, ...]:
    """Return alternatives, the most likely first; `words` replace a text (``_`` for ``-``)."""
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
    """Return the finding, with the peer's response in `attempt` as evidence."""
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
