"""Apache's directives and hints."""

from __future__ import annotations

from deployer.proxies.words import GatewayPage, Words

WORDS = Words(
    access="Check Require, Deny, RewriteRule [F] and mod_security in force here.",
    backend="ProxyPass",
    chain="SSLCertificateFile",
    drain="",
    idle="Timeout and the worker's timeout= (the larger one applies)",
    login="Check AuthType and Require in force here, also in .htaccess files.",
    origins="the <If> on Origin",
    tls_port="SSLEngine on, in a VirtualHost for port 443",
    idle_default="300 s",
    host="ProxyPreserveHost On, in this VirtualHost",
    original_host="ProxyPreserveHost On",
    upgrade=(
        "Put upgrade=websocket on this path's ProxyPass, and that line before those of shorter"
        " paths"
    ),
    http_1_0="no force-proxy-request-1.0",
    slash="",
    strip="the same path on both sides of ProxyPass",
    banner_off="ServerTokens Prod",
    drain_line="",
    forwarded_for="RequestHeader unset X-Forwarded-For early",
    h2_off="H2WebSockets off",
    https_redirect="",
    idle_line="ProxyPass … upgrade=websocket timeout={seconds:g}",
    ipv6_listen="",
    listen_line="Listen {address}",
    old_tls_off="SSLProtocol -all +TLSv1.2 +TLSv1.3",
    open_files="LimitNOFILE=65536 (systemctl edit apache2)",
    proxy_line="",
    send_proxy_line="",
    strict_upgrade="upgrade=websocket",
    tls_listen="",
    tls_upstream="ProxyPass … https://… and SSLProxyEngine On",
    signs={
        "apache-gone": "on the host, `systemctl status apache2` shows failed since its last reload",
        "http-1.0-upstream": "force-proxy-request-1.0",
        "proxypass-order": "a ProxyPass of a shorter path comes before this path's",
        "scoreboard-full": (
            "it began after reloads: old child processes wait for their WebSockets to close"
        ),
        "threads-exhausted": "the error log says that MaxRequestWorkers was reached",
    },
    gateway_pages={
        500: GatewayPage(
            alternatives=("upstream-scheme", "slash-mismatch"),
            signs={"upstream-scheme": "ProxyPass names https:// and SSLProxyEngine is not on"},
        ),
        502: GatewayPage(
            cause="connected to the service and got no valid answer: the service closed the"
            " connection or did not answer in time, or only one of the two speaks TLS",
            alternatives=("upstream-scheme", "service-hangs"),
        ),
        503: GatewayPage(
            cause="could not connect to the service, or still waits after an earlier failure"
            " (60 s, unless retry=0)",
            alternatives=("service-down",),
        ),
    },
    gone="apache-gone",
)
