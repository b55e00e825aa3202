"""The names that nginx serves, from configurations as people write them."""

from __future__ import annotations

import pytest

from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import ServedName
from deployer.proxies.nginx.names import served_names

_MAIN = """\
events {}
http {
    include /etc/nginx/conf.d/*.conf;
    include sites-enabled/*;
}
"""


def nginx(**files: str) -> ProxyState:
    """An nginx with the usual main file, and the given ones in sites-enabled."""
    config = [ConfigFile(path="/etc/nginx/nginx.conf", text=_MAIN)]
    config += [
        ConfigFile(path=f"/etc/nginx/sites-enabled/{name}", text=text)
        for name, text in files.items()
    ]
    return ProxyState(proxy="nginx", config=tuple(config))


def shown(state: ProxyState) -> list[str]:
    return sorted({f"{each.url} at {each.address}" for each in served_names(state)})


def one(state: ProxyState, name: str, port: int) -> ServedName:
    return next(each for each in served_names(state) if (each.name, each.port) == (name, port))


def test_names_in_several_files_and_their_default_server() -> None:
    state = nginx(
        default="server { listen 80 default_server; listen [::]:80 default_server; }",
        a="server { listen 80; server_name a.example.com www.a.example.com; }",
        b="server { listen 8080; server_name B.Example.com; }",
    )
    assert shown(state) == [
        "http://127.0.0.1 at 127.0.0.1",
        "http://127.0.0.1:8080 at 127.0.0.1",
        "http://[::1] at ::1",
        "http://a.example.com at 127.0.0.1",
        "http://b.example.com:8080 at 127.0.0.1",
        "http://www.a.example.com at 127.0.0.1",
    ]
    default = one(state, "", 80)
    assert default.of_site == ()
    assert one(state, "", 8080).of_site == ("b.example.com",)


def test_a_file_as_certbot_edits_it() -> None:
    state = nginx(
        shop="""
server {
    server_name shop.example.com;
    location / { proxy_pass http://127.0.0.1:3000; }
    listen [::]:443 ssl ipv6only=on; # managed by Certbot
    listen 443 ssl; # managed by Certbot
    ssl_certificate /etc/letsencrypt/live/shop.example.com/fullchain.pem; # managed by Certbot
    include /etc/letsencrypt/options-ssl-nginx.conf; # managed by Certbot
}
server {
    if ($host = shop.example.com) {
        return 301 https://$host$request_uri;
    } # managed by Certbot
    listen 80;
    listen [::]:80;
    server_name shop.example.com;
    return 404; # managed by Certbot
}
"""
    )
    urls = {each.url for each in served_names(state) if each.name}
    assert urls == {"https://shop.example.com", "http://shop.example.com"}
    assert {each.address for each in served_names(state)} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("server_name", "asked"),
    [
        ("*.example.com", ["any-name.example.com"]),
        (".example.com", ["example.com", "any-name.example.com"]),
        ("www.example.*", ["www.example.test"]),
        (r"~^(?<user>[a-z]+)\.example\.(com|net)$", ["a.example.com"]),
        (r"~^www\d+\.example\.com$", ["www1.example.com"]),
        (r'"~^(www\.)?(?<d>.+)\.org$"', ["www.x.org"]),
        ("_", []),
        ('""', []),
        ("192.0.2.7", ["192.0.2.7"]),
    ],
)
def test_wildcard_and_regex_names(server_name: str, asked: list[str]) -> None:
    state = nginx(a=f"server {{ listen 80; server_name {server_name}; }}")
    assert [each.asked for each in served_names(state) if each.name] == asked


@pytest.mark.parametrize(
    ("listen", "url", "address"),
    [
        ("80", "http://a.example.com", "127.0.0.1"),
        ("*:8080", "http://a.example.com:8080", "127.0.0.1"),
        ("10.0.0.5:80", "http://a.example.com", "10.0.0.5"),
        ("10.0.0.5", "http://a.example.com", "10.0.0.5"),
        ("localhost:8000", "http://a.example.com:8000", "127.0.0.1"),
        ("[::]:80", "http://a.example.com", "::1"),
        ("[2001:db8::5]:443 ssl http2", "https://a.example.com", "2001:db8::5"),
        ("443 ssl", "https://a.example.com", "127.0.0.1"),
        ("unix:/run/nginx.sock", "http://a.example.com", ""),
    ],
)
def test_forms_of_listen(listen: str, url: str, address: str) -> None:
    state = nginx(a=f"server {{ listen {listen}; server_name a.example.com; }}")
    found = one(state, "a.example.com", served_names(state)[0].port)
    assert (found.url, found.address) == (url, address)


def test_udp_and_quic_are_not_requested() -> None:
    state = nginx(a="server { listen 443 quic reuseport; listen 443 ssl; server_name a.com; }")
    assert len([each for each in served_names(state) if each.name]) == 1


def test_a_server_without_listen_and_the_directive_ssl() -> None:
    assert one(nginx(a="server { server_name a.com; }"), "a.com", 80).tls is False
    assert one(nginx(a="server { listen 443; ssl on; server_name a.com; }"), "a.com", 443).tls


def test_tls_belongs_to_the_socket_and_not_to_one_server() -> None:
    state = nginx(
        a="server { listen 8443 ssl; server_name a.com; }",
        b="server { listen 8443; server_name b.com; }",
    )
    assert one(state, "b.com", 8443).tls


def test_a_server_for_loopback_hides_those_for_all_addresses() -> None:
    state = nginx(
        a="server { listen 80; server_name a.com; }",
        status="server { listen 127.0.0.1:80; server_name status; }",
    )
    assert one(state, "a.com", 80).address == "127.0.0.2"
    assert one(state, "status", 80).address == "127.0.0.1"


def test_the_first_server_with_a_name_answers() -> None:
    state = nginx(
        a="server { listen 80; server_name a.com; }",
        b="server { listen 80; server_name b.com a.com; }",
    )
    assert one(state, "a.com", 80).file.endswith("/a")


def test_websocket_locations() -> None:
    state = nginx(
        a="""
map $http_upgrade $connection_upgrade { default upgrade; "" close; }
server {
    listen 80;
    server_name a.com;
    location / { try_files $uri @app; }
    location @app {
        proxy_set_header Upgrade $http_upgrade;
        proxy_pass http://127.0.0.1:3000;
    }
    location /ws { proxy_set_header upgrade $http_upgrade; proxy_pass http://127.0.0.1:1; }
    location ~* ^/socket\\.io/ {
        proxy_set_header Upgrade $http_upgrade;
        proxy_pass http://127.0.0.1:2;
    }
    location /api {
        proxy_pass http://127.0.0.1:3;
        location /api/live {
            proxy_set_header Upgrade $http_upgrade;
            proxy_pass http://127.0.0.1:4;
        }
    }
}
"""
    )
    assert one(state, "a.com", 80).websockets == ("/", "/ws", "/socket.io/", "/api/live")


def test_headers_of_the_server_are_inherited_by_locations_without_their_own() -> None:
    state = nginx(
        a="""
server {
    listen 80;
    server_name a.com;
    proxy_set_header Upgrade $http_upgrade;
    location /a { proxy_pass http://127.0.0.1:1; }
    location /b { proxy_set_header Host $host; proxy_pass http://127.0.0.1:1; }
}
"""
    )
    assert one(state, "a.com", 80).websockets == ("/a",)


def test_streams_by_the_name_of_the_handshake_and_by_port() -> None:
    main = ConfigFile(
        path="/etc/nginx/nginx.conf",
        text="""
stream {
    map $ssl_preread_server_name $to { db.example.com one; *.apps.example.com two; default two; }
    server { listen 443; ssl_preread on; proxy_pass $to; }
    server { listen 5432; proxy_pass 10.0.0.9:5432; }
    server { listen 53 udp; proxy_pass 10.0.0.9:53; }
}
""",
    )
    found = served_names(ProxyState(proxy="nginx", config=(main,)))
    assert {each.url for each in found} == {
        "https://127.0.0.1",
        "https://db.example.com",
        "https://any-name.apps.example.com",
        "tcp://127.0.0.1:5432",
    }


@pytest.mark.parametrize("text", ["", "server {", "server { listen; }", "}{", "server_name a;"])
def test_damaged_files_have_no_names_but_no_error_either(text: str) -> None:
    served_names(nginx(a=text))


def test_names_in_a_map_of_the_requested_name() -> None:
    state = nginx(
        default="""
map $host $to {
    hostnames;
    default 127.0.0.1:1;
    m.example.com 127.0.0.1:2;
    *.apps.example.com 127.0.0.1:3;
    ~:(?<port>[0-9]+)$ 127.0.0.1:5;
    localhost 127.0.0.1:6;
    ~^v\\d+\\.example\\.com$ 127.0.0.1:4;
}
server { listen 80 default_server; location / { proxy_pass http://$to; } }
""",
        own="server { listen 80; server_name m.example.com a.com; }",
    )
    assert {each.asked for each in served_names(state) if each.name} == {
        "m.example.com",
        "a.com",
        "any-name.apps.example.com",
        "v1.example.com",
    }
    assert one(state, "m.example.com", 80).file.endswith("/own"), "a server_name takes precedence"


def test_a_default_server_that_forwards_some_paths() -> None:
    text = "server {{ listen 80; {} location / {{ return 404; }} }}"
    for more, expected in (
        ("location /api { proxy_pass http://127.0.0.1:1; }", True),
        ("location /php { location ~ x { fastcgi_pass unix:/s; } }", True),
        ("", False),
    ):
        default = next(each for each in served_names(nginx(a=text.format(more))) if each.is_default)
        assert default.forwards is expected
