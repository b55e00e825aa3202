"""HAProxy's directives and hints."""

from __future__ import annotations

from deployer.proxies.words import GatewayPage, Words

WORDS = Words(
    access="Check http-request deny, tarpit and reject.",
    backend="the server lines",
    chain="the file after crt",
    drain="hard-stop-after",
    idle="timeout tunnel, in the backend or in defaults",
    login="Check http-request auth.",
    origins="the deny rule on Origin",
    tls_port="bind :443 ssl crt …",
    idle_default="50 s",
    host="Remove the http-request set-header Host or replace-header Host rule",
    original_host="no http-request set-header Host",
    upgrade="Let `Upgrade: websocket` through: check http-request del-header and set-header",
    http_1_0="",
    slash="",
    strip="",
    banner_off="http-response del-header Server",
    drain_line="hard-stop-after 1h",
    forwarded_for="http-request set-header X-Forwarded-For %[src]",
    h2_off="h2-workaround-bogus-websocket-clients",
    https_redirect="",
    idle_line="timeout tunnel {seconds:g}s",
    ipv6_listen="",
    listen_line="bind {address}",
    old_tls_off="ssl-default-bind-options ssl-min-ver TLSv1.2",
    open_files="LimitNOFILE=65536 (systemctl edit haproxy)",
    proxy_line="",
    send_proxy_line="send-proxy to the server line",
    strict_upgrade=(
        "http-request del-header Upgrade if !{ req.hdr(Upgrade) -i websocket }"
        " or { req.hdr_cnt(Upgrade) gt 1 }"
    ),
    tls_listen="",
    tls_upstream="server … ssl",
    signs={"connections-exhausted": "maxconn", "reload-not-taken": "ALERT"},
    gateway_pages={
        502: GatewayPage(
            cause="connected to the service and got no valid answer: the service closed the"
            " connection, or only one of the two speaks TLS",
            alternatives=("upstream-scheme",),
        ),
        503: GatewayPage(
            cause="has no server for this request: none is up, none had a free place in time"
            " (maxconn), or no backend is chosen for this name and path",
            alternatives=(
                *("service-down", "upstream-scheme", "wrong-route", "connections-exhausted"),
            ),
            signs={
                "wrong-route": "no use_backend matches this request, and there is no"
                " default_backend",
            },
        ),
    },
)
