"""Probe the backend of a stage directly, and explain how the proxy's requests differ.

A proxy may speak the wrong scheme, ask for the wrong path, or send a PROXY line that the backend
does not expect. If the backend works with that one thing changed, the proxy is at fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeVar

from deployer.diagnose.handshake_variants import HandshakeOptions, h2c, handshake, plain
from deployer.diagnose.stages import Stage, with_query
from deployer.model import CheckResult, Hop
from deployer.proxies import PROXIES
from deployer.proxies.words import in_each
from deployer.sites.model import Upstream
from deployer.verify.net.access import Access
from deployer.verify.net.address import Address
from deployer.verify.probe.attempt import Attempt
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.spec import Endpoint, HttpProbe, UpgradeProbe

_AnyProbe = TypeVar("_AnyProbe", bound=HttpProbe)

#: Findings of a proxy that speaks TLS to a backend without it, or plain HTTP to one with it.
_SCHEME_SYMPTOMS = frozenset(
    {
        *("bad-gateway", "plain-http-on-https", "wrong-route", "connection-dropped"),
        *("timeout", "service-hangs", "handshake-refused"),
    }
)
#: Findings of a proxy that asks the service for a path that it does not have.
_PATH_SYMPTOMS = frozenset(
    {"wrong-route", "handshake-refused", "backend-not-websocket", "upgrade-not-forwarded"}
)
_OTHER_PATH = (
    "The proxy asks the service for a different path than the client: the service has no WebSocket"
    " there, but has one at the path that the client asks for."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The backend of a stage: a handshake and a plain request directly to it.

    `is_other_scheme`: it only works with the opposite of the stage's TLS setting.
    `is_other_path`: it only works at the client's path, or with corrected slashes, and not at the
    path that the stage makes of it. `is_proxy_line_wrong`: it expects a PROXY line that the stage
    does not send, or the other way round.
    """

    probe: UpgradeProbe
    plain: HttpProbe
    is_other_scheme: bool = False
    is_other_path: bool = False
    is_proxy_line_wrong: bool = False


def backend_of(stage: Stage, options: HandshakeOptions, access: Access) -> Backend | None:
    """Find out how the stage's first upstream works; `None` if it has none.

    A proxy may change the path, rightly or wrongly. The backend is asked for the path that the
    proxy makes, and if it has no WebSocket there, for paths that may have been intended.
    """
    upstream = stage.served.upstreams[0] if stage.served.upstreams else None
    if upstream is None:
        return None
    targets = [with_query(path, stage.asked) for path in _paths(stage)]
    candidates = [_directly(stage, upstream, target, options) for target in targets]
    working = next((each for each in candidates if _opens(each.probe, access)), None)
    if working is not None:
        return replace(
            working,
            is_proxy_line_wrong=stage.served.sends_proxy_line,
            is_other_path=working.probe.target != targets[0],
        )
    with_line = [_with_proxy_line(each) for each in candidates]
    working = next((each for each in with_line if _opens(each.probe, access)), None)
    if working is not None:
        return replace(working, is_proxy_line_wrong=not stage.served.sends_proxy_line)
    other = replace(upstream, tls=not upstream.tls)
    other_scheme = replace(_directly(stage, other, targets[0], options), is_other_scheme=True)
    return other_scheme if _opens(other_scheme.probe, access) else candidates[0]


def h2c_to_backend(stage: Stage, backend: Backend, options: HandshakeOptions) -> HttpProbe:
    """Return the h2c probe directly to the backend: a proxy may have its own cleartext HTTP/2."""
    target = backend.probe.target
    probe = at_endpoint(h2c(stage.asked.at(target), options), backend.probe.endpoint, "backend")
    return replace(probe, uri=f"http://{backend.probe.endpoint}{target}")


def at_endpoint(probe: _AnyProbe, endpoint: Endpoint, hop: Hop) -> _AnyProbe:
    """Return `probe` sent to a different endpoint."""
    return replace(probe, endpoint=endpoint, hop=hop)


# --- explanations ---------------------------------------------------------------------------------


def with_mismatch_explained(result: CheckResult, stage: Stage, backend: Backend) -> CheckResult:
    """Return a failed result of the stage with what the backend shows about its cause."""
    finding = result.finding
    if finding is None or result.ok or result.hop != "proxy":
        return result
    if backend.is_other_scheme and finding.code in _SCHEME_SYMPTOMS:
        finding = replace(finding, code="upstream-scheme")
    if backend.is_other_path and finding.code in _PATH_SYMPTOMS:
        finding = replace(finding, code="page-instead", cause=_OTHER_PATH, alternatives=())
    result = replace(result, finding=finding)
    return (
        _with_proxy_line_explained(result, stage, backend)
        if backend.is_proxy_line_wrong
        else result
    )


def _with_proxy_line_explained(result: CheckResult, stage: Stage, backend: Backend) -> CheckResult:
    """Explain a PROXY line that the backend does not expect, or misses."""
    finding, to = result.finding, backend.probe.endpoint
    if finding is None:
        return result
    who, where = PROXIES[stage.state.proxy].title, stage.served.server_where or stage.served.where
    sends = stage.served.sends_proxy_line
    send = PROXIES[stage.state.proxy].words.send_proxy_line
    cause = (
        f"{who} starts each connection to {to} with a PROXY line, but the server there does not"
        " expect one and treats it as an invalid request."
        if sends
        else f"The server on {to} expects each connection to start with a PROXY line, but {who}"
        " sends none."
    )
    fix = (
        "Remove send-proxy from the server line, or make the service accept the PROXY protocol"
        f" ({in_each(lambda words: words.proxy_line)})."
        if sends
        else f"{f'Add {send}, or remove' if send else f'{who} cannot send it over HTTP: remove'}"
        " proxy_protocol or accept-proxy from the server's configuration."
    )
    explained = replace(
        finding,
        code="bad-gateway",
        hop="proxy",
        cause=cause,
        fix=fix,
        directive="",
        file=where,
        alternatives=(),
    )
    return replace(result, finding=explained)


# --- probes ---------------------------------------------------------------------------------------


def _paths(stage: Stage) -> list[str]:
    """Return the path that the proxy makes, the client's own, and paths with corrected slashes."""
    asked, made = stage.asked.path, stage.served.path_at_service
    if made == asked:
        return [made]
    inside = stage.served.match == "prefix" and asked.startswith(stage.served.path)
    rest = asked[len(stage.served.path) :] if inside else asked
    return list(dict.fromkeys((made, asked, re.sub("/{2,}", "/", made), f"/{rest.lstrip('/')}")))


def _with_proxy_line(backend: Backend) -> Backend:
    endpoint = replace(backend.probe.endpoint, proxy_line=True)
    return replace(
        backend,
        probe=replace(backend.probe, endpoint=endpoint),
        plain=replace(backend.plain, endpoint=endpoint),
    )


def _opens(probe: UpgradeProbe, access: Access) -> bool:
    attempt: Attempt = attempt_upgrade(probe, access)
    return attempt.status_code == 101


def _directly(stage: Stage, upstream: Upstream, target: str, options: HandshakeOptions) -> Backend:
    endpoint = Endpoint(
        host=upstream.host, port=upstream.port, socket=upstream.socket, tls=upstream.tls
    )
    asked = stage.asked.at(target)
    forwarded = _forwarded(stage.asked)
    probe = at_endpoint(handshake(asked, options), endpoint, "backend")
    page = at_endpoint(plain(asked, options), endpoint, "backend")
    scheme = "wss" if endpoint.tls else "ws"
    return Backend(
        probe=replace(
            probe, uri=f"{scheme}://{endpoint}{target}", headers=(*probe.headers, *forwarded)
        ),
        plain=replace(page, headers=(*page.headers, *forwarded)),
    )


def _forwarded(asked: Address) -> tuple[tuple[str, str], ...]:
    """Return the headers that a proxy should add; without them, some apps redirect to HTTPS."""
    return (
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https" if asked.is_secure else "http"),
        ("X-Forwarded-Host", asked.host),
    )
