"""What the proxies' configurations are understood to listen on, and their limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.agent.proxies.apache.config import ApacheConfig
from deployer.agent.proxies.configs import Address, address_of
from deployer.agent.proxies.haproxy.config import addresses as haproxy_addresses
from deployer.agent.proxies.haproxy.config import number as haproxy_number
from deployer.agent.proxies.nginx.config import addresses as nginx_addresses
from deployer.agent.proxies.nginx.config import numbers as nginx_numbers


def texts(addresses: list[Address]) -> list[str]:
    return [f"{address} {address.where.rpartition('/')[2]}" for address in addresses]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("80", ("", 80)),
        ("*:81", ("", 81)),
        (":81", ("", 81)),
        ("0.0.0.0:81", ("", 81)),
        ("127.0.0.1", ("127.0.0.1", 80)),
        ("127.0.0.1:81", ("127.0.0.1", 81)),
        ("[::]:81", ("::", 81)),
        ("[0:0:0:0:0:0:0:1]:81", ("::1", 81)),
        ("[::1]", ("::1", 80)),
        ("localhost:81", None),
        ("unix:/run/x.sock", None),
        ("8000-8010", None),
        ("999.0.0.1:81", None),
        ("99999", None),
        ("", None),
    ],
)
def test_an_address(text: str, key: tuple[str, int] | None) -> None:
    address = address_of(text, where="x", default_port=80, only_v6=True)
    assert (address and address.key) == key


NGINX = """\
# configuration file /etc/nginx/nginx.conf:
worker_rlimit_nofile 4096;  # listen 1;
events { worker_connections 768; }
http {
    log_format x '{ "listen 2;" \\' $status }';
    include /etc/nginx/conf.d/*.conf;
}

# configuration file /etc/nginx/conf.d/a.conf:
map $http_upgrade $x { default ""; "~*^web{1}socket$" listen; }
upstream u { server 127.0.0.1:3000; }
server {
    listen 8081;
    listen [::]:8081 ipv6only=off;
    listen 127.0.0.1:8081;
    listen 127.0.0.1:8082 default_server;
    listen unix:/run/x.sock;
    listen 8443 quic reuseport;
    location / { if ($x) { return 403; } proxy_pass http://u; }
}
server { location / { return 200 "listen 3;
server {"; } }
server
{
    listen 8083 ssl
        http2;
}
"""


def test_what_nginx_listens_on() -> None:
    """One socket for a port where one is for all addresses; a server that says nothing is on 80."""
    assert texts(nginx_addresses(NGINX)) == [
        "*:8081 a.conf:4",
        "[::]:8081 a.conf:5",
        "127.0.0.1:8082 a.conf:7",
        "*:80 a.conf:13",
        "*:8083 a.conf:17",
    ]
    by_key = {address.key: address for address in nginx_addresses(NGINX)}
    assert not by_key["::", 8081].only_v6


def test_the_numbers_of_nginx() -> None:
    assert nginx_numbers(NGINX) == {"worker_connections": 768, "worker_rlimit_nofile": 4096}
    assert nginx_numbers("# configuration file /x:\nhttp { }\n") == {}


def apache(folder: Path, text: str) -> ApacheConfig:
    path = folder / "ports.conf"
    path.write_text(text)
    return ApacheConfig(
        "Included configuration files:\n"
        f"  (*) {path}\n"
        f"    (146) {folder}/gone.conf\n"
        "Define: DUMP_INCLUDES\nDefine: SHOP\n"
        "Loaded Modules:\n core_module (static)\n ssl_module (shared)\n mpm_event_module (shared)\n"
    )


def test_what_apache_listens_on(tmp_path: Path) -> None:
    """Sections count that apply; comments, and what is not known yet, do not."""
    config = apache(
        tmp_path,
        """\
# Listen 1
Listen 80
LISTEN 127.0.0.1:8081 https
<IfModule ssl_module>
    Listen 443
    <IfModule !mod_ssl.c>
        Listen 2
    </IfModule>
</IfModule>
<IfModule mod_gnutls.c>
    Listen 3
</IfModule>
<IfDefine SHOP>
Listen \\
    [::1]:8082
</IfDefine>
<IfDefine !SHOP>
Listen 4
</IfDefine>
Listen ${PORT}
<VirtualHost *:9999>
    Timeout 5
</VirtualHost>
""",
    )
    shown = [text.replace("[::]", "*") for text in texts(config.addresses())]
    assert shown == [
        "*:80 ports.conf:2",
        "127.0.0.1:8081 ports.conf:3",
        "*:443 ports.conf:5",
        "[::1]:8082 ports.conf:14",
    ]


def test_a_number_of_apache(tmp_path: Path) -> None:
    """The last one counts, of the module that is there."""
    config = apache(
        tmp_path,
        "ServerLimit 8\n<IfModule mpm_prefork_module>\nServerLimit 256\n</IfModule>\n"
        "<IfModule event.c>\n  serverlimit 32\n</IfModule>\n",
    )
    assert config.number("ServerLimit") == (32, str(tmp_path / "ports.conf"))
    assert config.number("ThreadsPerChild") is None


HAPROXY = """\
global
    maxconn 20000  # not 7
    stats socket ipv4@127.0.0.1:9999 level admin
defaults
    maxconn 5
frontend web
    bind :80
    bind 127.0.0.1:8081,[::1]:8081 ssl crt x.pem
    bind ipv6@:8082 v6only
    bind :::8083
    bind quic4@:443
    bind /run/x.sock
    bind "${ADDRESS}:1"
    # bind :1
backend app
    server a 127.0.0.1:3000
listen other
    bind *:8084
"""


def test_what_haproxy_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(HAPROXY)
    assert texts(haproxy_addresses(str(path))) == [
        "*:80 haproxy.cfg:7",
        "127.0.0.1:8081 haproxy.cfg:8",
        "[::1]:8081 haproxy.cfg:8",
        "[::]:8082 haproxy.cfg:9",
        "[::]:8083 haproxy.cfg:10",
        "*:8084 haproxy.cfg:18",
    ]
    assert haproxy_number(str(path), "maxconn") == 20000
    assert haproxy_number(str(path), "ulimit-n") is None
