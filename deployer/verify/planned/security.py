"""Turn plain requests into probes for security holes, as an attacker might send them. Pure.

Each is harmless. Source: RFC 7540, section 3.2 (h2c); RFC 8441; RFC 7239 (Forwarded); RFC 8996 (old
TLS).
"""

from __future__ import annotations

from dataclasses import replace

from deployer.verify.probe.spec import (
    Http2Probe,
    HttpProbe,
    OldTlsProbe,
    UpgradeProbe,
    VariantsProbe,
)

#: How long a request without an upgrade may take on a WebSocket's path.
PLAIN_S = 2.0
#: How long a tunnel may take to open; Node.js services hang on what they do not serve.
_TUNNEL_S = 4.0
#: Documentation addresses (RFC 5737): one for each forged header.
FORGED = {
    "X-Forwarded-For": "203.0.113.61",
    "Forwarded": "203.0.113.62",
    "X-Real-IP": "203.0.113.63",
}
#: A working echo path repeats every request header; this one shows whether it does.
ECHOED = ("X-Deployer-Echo", "deployer-echo-5f1c")
_ECHO_BYTES = 64 * 1024

# RFC 7540, section 3.2.1: the settings that accompany an upgrade to h2c, in base64url.
_SETTINGS = ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
_H2C: tuple[tuple[tuple[str, str], ...], ...] = (
    (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), _SETTINGS),
    # Variants that proxies let through if they check only part of the request: settings not listed
    # as hop-by-hop; upper case; together with websocket, in one header line and in two.
    (("Connection", "Upgrade"), ("Upgrade", "h2c"), _SETTINGS),
    (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "H2C"), _SETTINGS),
    (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c, websocket"), _SETTINGS),
    (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "websocket, h2c"), _SETTINGS),
    (
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "websocket"),
        ("Upgrade", "h2c"),
        _SETTINGS,
    ),
)


def h2c(get: HttpProbe) -> VariantsProbe:
    """Return requests for a cleartext HTTP/2 tunnel; `get` has the other headers."""
    first, *others = ((*get.headers, *each) for each in _H2C)
    return VariantsProbe(
        uri=get.uri,
        hop=get.hop,
        endpoint=get.endpoint,
        server_name=get.server_name,
        target=get.target,
        headers=first,
        others=tuple(others),
        limit_s=_TUNNEL_S,
    )


def plain(get: HttpProbe) -> HttpProbe:
    """Return a request without an upgrade for a WebSocket's path."""
    return replace(get, headers=(*get.headers, ("Connection", "close")), limit_s=PLAIN_S)


def forged(get: HttpProbe) -> HttpProbe:
    """Return a request with forged client addresses, for a path that echoes the headers."""
    headers = (
        *get.headers,
        ("Connection", "close"),
        ECHOED,
        ("X-Forwarded-For", FORGED["X-Forwarded-For"]),
        ("Forwarded", f"for={FORGED['Forwarded']}"),
        ("X-Real-IP", FORGED["X-Real-IP"]),
    )
    return replace(get, headers=headers, body_bytes=_ECHO_BYTES)


def old_tls(get: HttpProbe) -> OldTlsProbe:
    """Return a probe that offers TLS 1.1 and 1.0 for the site's name."""
    uri = f"https://{get.server_name}"
    return OldTlsProbe(
        uri=uri, hop=get.hop, endpoint=get.endpoint, server_name=get.server_name, issuer=""
    )


def over_http2(upgrade: UpgradeProbe, *, foreign_origin: str | None) -> Http2Probe:
    """Return a probe for the WebSocket of `upgrade` over HTTP/2."""
    host = dict(upgrade.headers)["Host"]
    offered = ", ".join(upgrade.subprotocols)
    subprotocols = (("Sec-WebSocket-Protocol", offered),) if offered else ()
    return Http2Probe(
        uri=upgrade.uri,
        hop=upgrade.hop,
        endpoint=upgrade.endpoint,
        server_name=upgrade.server_name,
        target=upgrade.target,
        headers=(*(field for field in upgrade.headers if field[0] != "Host"), *subprotocols),
        hidden=upgrade.hidden,
        send=upgrade.send,
        expect=upgrade.expect,
        expect_is_regex=upgrade.expect_is_regex,
        authority=host,
        foreign_origin=foreign_origin,
    )
