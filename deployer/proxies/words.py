"""What each proxy calls the thing that has to be mended: directive names, for people to look up."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.model import Proxy

UPGRADE: Mapping[Proxy, str] = {
    "nginx": (
        "In this very location: proxy_http_version 1.1, and proxy_set_header Upgrade and Connection"
        " from a map of $http_upgrade. One proxy_set_header in a location drops all inherited ones"
    ),
    "apache": (
        "Put upgrade=websocket on this path's ProxyPass, and that line before those of shorter"
        " paths"
    ),
    "haproxy": "Let `Upgrade: websocket` through (del-header), without force-proxy-request-1.0",
}

IDLE: Mapping[Proxy, str] = {
    "nginx": "proxy_read_timeout",
    "apache": "Timeout and the worker's timeout= (the larger one counts)",
    "haproxy": "timeout tunnel, in the backend or in defaults",
}

CHAIN: Mapping[Proxy, str] = {
    "nginx": "ssl_certificate",
    "apache": "SSLCertificateFile",
    "haproxy": "the file after crt",
}

TLS_PORT: Mapping[Proxy, str] = {
    "nginx": "listen 443 ssl",
    "apache": "SSLEngine on, in a VirtualHost for port 443",
    "haproxy": "bind :443 ssl crt …",
}

ORIGINS: Mapping[Proxy, str] = {
    "nginx": "the map of $http_origin",
    "apache": "the <If> on Origin",
    "haproxy": "the deny rule on Origin",
}

HOST: Mapping[Proxy, str] = {
    "nginx": "proxy_set_header Host $http_host (or $host, without a port) in this very location",
    "apache": "ProxyPreserveHost On, in this VirtualHost",
    "haproxy": "Remove the http-request set-header Host or replace-header Host rule",
}

LOGIN: Mapping[Proxy, str] = {
    "nginx": "Look for auth_basic, auth_request and auth_jwt in force here (`auth_basic off`).",
    "apache": "Look for AuthType and Require in force here, in .htaccess files as well.",
    "haproxy": "Look for http-request auth.",
}

ACCESS: Mapping[Proxy, str] = {
    "nginx": "Look for allow, deny, limit_req, limit_conn and return in force here.",
    "apache": "Look for Require, Deny, RewriteRule [F] and mod_security in force here.",
    "haproxy": "Look for http-request deny, tarpit and reject.",
}

BACKEND: Mapping[Proxy, str] = {
    "nginx": "proxy_pass or the upstream's server lines",
    "apache": "ProxyPass",
    "haproxy": "the server lines",
}
