"""nginx's directives and hints."""

from __future__ import annotations

from deployer.proxies.words import Words

WORDS = Words(
    access="Check allow, deny, limit_req, limit_conn and return in force here.",
    backend="proxy_pass or the upstream's server lines",
    chain="ssl_certificate",
    drain="worker_shutdown_timeout",
    idle="proxy_read_timeout",
    login="Check auth_basic, auth_request and auth_jwt in force here (`auth_basic off`).",
    origins="the map of $http_origin",
    tls_port="listen 443 ssl",
    idle_default="60 s",
    host="proxy_set_header Host $http_host (or $host, without a port) in this location",
    original_host="proxy_set_header Host $http_host (or $host:$server_port)",
    upgrade=(
        "In this location, set proxy_http_version 1.1, and proxy_set_header Upgrade and Connection"
        " from a map of $http_upgrade. One proxy_set_header in a location drops all inherited ones"
    ),
    http_1_0="proxy_http_version 1.1 in this location, with the Upgrade and Connection headers",
    slash="an exact location next to the one with a slash",
    strip="proxy_pass without a path (not even /) after the address",
    banner_off="server_tokens off;",
    drain_line="worker_shutdown_timeout 1h;",
    forwarded_for='proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Forwarded "";',
    h2_off="",
    https_redirect="return 308 https://$host$request_uri",
    idle_line="proxy_read_timeout {seconds:g}s;",
    ipv6_listen="listen [::]:443",
    listen_line="listen {address};",
    old_tls_off="ssl_protocols TLSv1.2 TLSv1.3;",
    open_files="worker_rlimit_nofile 65536;",
    proxy_line="listen … proxy_protocol",
    send_proxy_line="",
    strict_upgrade='map $http_upgrade $site_upgrade { default ""; websocket websocket; }',
    tls_listen="listen {port} ssl",
    tls_upstream="proxy_pass https://…",
    signs={
        "connections-exhausted": "worker_connections are not enough",
        "default-connection": ("1.29.7 or newer, and nothing in the location sets Connection"),
        "http-1.0-upstream": "before 1.29.7 without proxy_http_version 1.1",
        "port-lost": "$host drops it, $http_host does not",
        "reload-not-taken": "[emerg]",
    },
)
