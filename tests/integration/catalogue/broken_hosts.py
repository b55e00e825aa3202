"""A host for each proxy, installed by hand, with the configurations of all cases side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from deployer.lab.host import LabHost
from deployer.model import Proxy
from deployer.proxies import PROXIES
from tests.integration.catalogue.broken_cases import DOMAIN, Twin, of_proxy
from tests.integration.catalogue.scripted_services import PORTS
from tests.support.certificates.pki import authority, issued
from tests.support.waiting import PATIENCE_S

HERE = Path(__file__).parent
_TLS = "/etc/tls"


_ROOT = authority("Catalogue root")
_ISSUER = issued("Catalogue intermediate", by=_ROOT, is_ca=True)
#: The root that all certificates here lead to.
ROOT_PEM = _ROOT.pem


def serve(proxy: Proxy, host: LabHost, twins: Sequence[Twin]) -> None:
    """Install `proxy` from Debian's package, and let it and the services serve `twins`."""
    write_certificates(host)
    start_services(host)
    package = PROXIES[proxy].unit
    host.sh(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "
        f"{package} >/dev/null 2>&1",
        timeout_s=PATIENCE_S,
    )
    for path, text in CONFIGURATIONS[proxy](twins).items():
        write(host, path, text)
    host.sh(_START[proxy])


def write(host: LabHost, path: str, text: str) -> None:
    """A file on the host."""
    target = host.root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def write_certificates(host: LabHost) -> None:
    """``full.pem`` with key, leaf and intermediate; ``leaf.pem``, ``key.pem`` and the like."""
    leaf = issued(f"*.{DOMAIN}", by=_ISSUER)
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    alone, chain = leaf.pem.decode(), leaf.pem.decode() + _ISSUER.pem.decode()
    for name, text in {
        "full.pem": key + chain,
        "leaf.pem": alone,
        "leaf-and-key.pem": key + alone,
        "chain.pem": chain,
        "key.pem": key,
    }.items():
        write(host, f"{_TLS}/{name}", text)


def start_services(host: LabHost) -> None:
    """The scripted services, in one unit."""
    write(host, "/opt/scripted_services.py", (HERE / "scripted_services.py").read_text())
    write(host, "/srv/app/index.html", "<!doctype html><title>An app</title>\n")
    run = "systemd-run --quiet --unit=services -p LimitNOFILE=65536"
    host.sh(f"{run} python3 /opt/scripted_services.py {_TLS}")


# --- the configurations ---------------------------------------------------------------------------

#: What is served without TLS to clients that wait idle: how long each may be idle, by its name
#: (``short-nginx.cat.test``). `front` is reached through something that cuts sooner.
SILENCES = {"short": 5, "long": 3600, "front": 3600}

_NGINX = """\
user www-data;
worker_processes 1;
worker_shutdown_timeout 1h;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events { worker_connections 768; }
http {
    server_tokens off;
    access_log off;
    ssl_certificate /etc/tls/chain.pem;
    ssl_certificate_key /etc/tls/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    server_names_hash_bucket_size 128;
    map $http_upgrade $websocket {
        default "";
        "~*^websocket$" websocket;
    }
    map $http_upgrade $websocket_connection {
        default "";
        "~*^websocket$" upgrade;
    }
    map $http_origin $foreign {
        default 1;
        "" 0;
        "~^https://[a-z0-9.-]+\\.cat\\.test(:[0-9]+)?$" 0;
    }
    include /etc/nginx/conf.d/*.conf;
    server {
        listen 80 default_server;
        return 308 https://$host$request_uri;
    }
    server {
        listen 443 ssl default_server;
        return 404;
    }
}
"""
_NGINX_UPGRADE = """\
proxy_http_version 1.1;
proxy_set_header Host $host;
proxy_set_header Upgrade $websocket;
proxy_set_header Connection $websocket_connection;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_read_timeout 1h;
"""


_NGINX_SILENCE = f"""\
server {{
    listen 80;
    server_name %s-nginx.{DOMAIN};
    location /ws {{
        proxy_pass http://127.0.0.1:{PORTS["silent"]};
        include upgrade_quickly.conf;
        proxy_read_timeout %ss;
    }}
}}
"""


def _nginx(twins: Sequence[Twin]) -> dict[str, str]:
    files = {
        "/etc/nginx/nginx.conf": _NGINX,
        "/etc/nginx/upgrade.conf": _NGINX_UPGRADE,
        "/etc/nginx/upgrade_quickly.conf": _NGINX_UPGRADE.replace("proxy_read_timeout 1h;\n", ""),
    }
    for twin in twins:
        body = textwrap.indent(twin.config, "    ")
        port = 443 if twin.port == 80 else twin.port
        head = f"server {{\n    listen {port} ssl;\n    server_name {twin.name}.{DOMAIN};\n"
        files[_file(twin)] = f"{twin.http}{head}{body}}}\n"
    for name, seconds in SILENCES.items():
        files[f"/etc/nginx/conf.d/silence-{name}.conf"] = _NGINX_SILENCE % (name, seconds)
    return files


_APACHE_PORTS = """\
ServerName catalogue
ServerTokens Prod
ServerSignature Off
Listen 80
Listen 443
"""
_APACHE_UPGRADE = """\
RequestHeader unset X-Forwarded-For early
RequestHeader unset Forwarded early
RequestHeader set X-Forwarded-Proto "https"
"""
_APACHE_TO_HTTPS = """\
<VirtualHost *:80>
    Redirect permanent "/" "https://%s/"
    ServerName %s
</VirtualHost>
"""


_APACHE_SILENCE = f"""\
<VirtualHost *:80>
    ServerName %s-apache.{DOMAIN}
    Timeout %s
    ProxyPreserveHost On
    Include upgrade.conf
    ProxyPass "/ws" "http://127.0.0.1:{PORTS["silent"]}/ws" upgrade=websocket timeout=%s
</VirtualHost>
"""


def _apache(twins: Sequence[Twin]) -> dict[str, str]:
    files = {
        "/etc/apache2/ports.conf": _APACHE_PORTS,
        "/etc/apache2/conf-enabled/security.conf": "",
        "/etc/apache2/sites-enabled/000-default.conf": "",
        "/etc/apache2/upgrade.conf": _APACHE_UPGRADE,
    }
    for twin in twins:
        name = f"{twin.name}.{DOMAIN}"
        certificate = [
            "SSLEngine on",
            *(
                ["SSLCertificateFile /etc/tls/chain.pem"]
                if "SSLCertificateFile" not in twin.config
                else []
            ),
            "SSLCertificateKeyFile /etc/tls/key.pem",
            "SSLProtocol -all +TLSv1.2 +TLSv1.3",
        ]
        body = textwrap.indent("\n".join([f"ServerName {name}", *certificate, twin.config]), "    ")
        to_https = _APACHE_TO_HTTPS % (name, name)
        files[_file(twin)] = f"<VirtualHost *:443>\n{body}</VirtualHost>\n{to_https}"
    for name, seconds in SILENCES.items():
        path = f"/etc/apache2/sites-enabled/silence-{name}.conf"
        files[path] = _APACHE_SILENCE % (name, seconds, seconds)
    return files


_HAPROXY = """\
global
    user haproxy
    group haproxy
    log /dev/log local0
    stats socket /run/haproxy/admin.sock mode 660 level admin
    hard-stop-after 1h
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout tunnel 1h
"""


def _haproxy(twins: Sequence[Twin]) -> dict[str, str]:
    text = _HAPROXY
    for twin in twins:
        front, _, back = twin.config.partition("---\n")
        pem = {"full": "full.pem", "leaf": "leaf-and-key.pem"}[twin.certificate]
        alpn = f" alpn {twin.alpn}" if twin.alpn else ""
        bind = f"bind :{twin.port} ssl crt /etc/tls/{pem}{alpn}\n"
        front = f"{bind}{front}default_backend {twin.name}\n"
        text += f"frontend {twin.name}_https\n" + textwrap.indent(front, "    ")
        text += f"backend {twin.name}\n" + textwrap.indent(back, "    ")
    text += "frontend silence\n    bind :80\n"
    for name in SILENCES:
        text += f"    use_backend silence-{name} if {{ hdr(Host) {name}-haproxy.{DOMAIN} }}\n"
    for name, seconds in SILENCES.items():
        text += f"backend silence-{name}\n    timeout tunnel {seconds}s\n"
        text += f"    server app 127.0.0.1:{PORTS['silent']}\n"
    return {"/etc/haproxy/haproxy.cfg": text}


def _file(twin: Twin) -> str:
    if twin.proxy == "nginx":
        return f"/etc/nginx/conf.d/{twin.name}.conf"
    if twin.proxy == "apache":
        return f"/etc/apache2/sites-enabled/{twin.name}.conf"
    return "/etc/haproxy/haproxy.cfg"


CONFIGURATIONS: Mapping[Proxy, Callable[[Sequence[Twin]], dict[str, str]]] = {
    "nginx": _nginx,
    "apache": _apache,
    "haproxy": _haproxy,
}
_START: Mapping[Proxy, str] = {
    "nginx": "rm -f /etc/nginx/sites-enabled/default; nginx -t && systemctl restart nginx",
    "apache": (
        "a2enmod -q ssl proxy proxy_http proxy_balancer lbmethod_byrequests headers rewrite && "
        "apachectl -t && "
        "systemctl restart apache2"
    ),
    "haproxy": "haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl restart haproxy",
}


def places(twin: Twin) -> tuple[str, ...]:
    """``file:line`` of every line that a finding about `twin` may point at."""
    assert twin.expected is not None
    path = _file(twin)
    text = CONFIGURATIONS[twin.proxy](of_proxy(twin.proxy))[path]
    begin = text.index(f"{twin.name}_https\n") if twin.proxy == "haproxy" else 0
    first = text[:begin].count("\n") + 1
    return tuple(
        f"{path}:{number}"
        for number, line in enumerate(text[begin:].splitlines(), first)
        if line.strip() in twin.expected.at
    )
