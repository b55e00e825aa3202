"""nginx's configuration, read as nginx reads it: who serves a request, and what is wrong."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import pytest

from deployer.proxies.inspect import ConfigFile, ProxyState
from deployer.proxies.nginx.inspect import faults, served
from deployer.proxies.nginx.variables import seconds_of
from deployer.sites.model import Upstream

NAME = "chat.example.com"
MAPS = """
map $http_upgrade $up { default ""; "~*^websocket$" websocket; }
map $http_upgrade $conn { default ""; "~*^websocket$" upgrade; }
"""
HEADERS = """
proxy_http_version 1.1;
proxy_set_header Host $host;
proxy_set_header Upgrade $up;
proxy_set_header Connection $conn;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
"""
PASS = f"proxy_pass http://127.0.0.1:3000; {HEADERS}"
APP = Upstream(host="127.0.0.1", port=3000)


def state_of(http: str, **about: object) -> ProxyState:
    text = f"events {{}}\nhttp {{\n{MAPS}\n{dedent(http)}\n}}\n"
    state = ProxyState(
        proxy="nginx",
        version="1.22.1",
        is_running=True,
        test_ok=True,
        config=(ConfigFile(path="/etc/nginx/nginx.conf", text=text),),
    )
    return replace(state, **about)  # type: ignore[arg-type]


def site(locations: str, *, listen: str = "443 ssl") -> str:
    return f"server {{ listen {listen}; server_name {NAME};\n{locations}\n}}"


def told_of(
    state: ProxyState, symptom: str, *, path: str = "/ws", port: int = 443, name: str = NAME
) -> list[str]:
    """The codes that explain a symptom, the most certain first."""
    found = faults(state, name=name, port=port, path=path, tls=port != 80)
    return [fault.code for fault in found if symptom in fault.explains]


# --- who serves a request -------------------------------------------------------------------------

NAMES = """
server { listen 443 ssl default_server; server_name first.test; location / { return 404; } }
server { listen 443 ssl; server_name ~^chat\\d\\.; location / { proxy_pass http://regex; } }
server { listen 443 ssl; server_name chat.*; location / { proxy_pass http://prefix; } }
server { listen 443 ssl; server_name *.example.com; location / { proxy_pass http://suffix; } }
server { listen 443 ssl; server_name *.chat.example.com; location / { proxy_pass http://longer; } }
server { listen 443 ssl; server_name chat.example.com; location / { proxy_pass http://exact; } }
server { listen 8080; server_name chat.example.com; location / { proxy_pass http://port; } }
"""


def test_an_unknown_name_is_missing_and_not_a_certificate_problem() -> None:
    other = "server { listen 443 ssl; server_name other.test; ssl_certificate /other.pem;"
    state = state_of(f"{other} location / {{ {PASS} }} }}")
    found = [
        fault
        for fault in faults(state, name=NAME, port=443, path="/ws", tls=True)
        if "tls-wrong-name" in fault.explains
    ]
    first = found[0]
    assert (first.code, first.directive) == ("tls-wrong-name", f"server_name {NAME};")
    assert first.is_certain
    assert told_of(state, "origin-blocked")[0] == "wrong-route"
    own = state_of(site(f"ssl_certificate /old.pem; location / {{ {PASS} }}"))
    assert told_of(own, "tls-wrong-name") == ["tls-wrong-name"]
    assert "wrong-route" not in told_of(own, "origin-blocked")


@pytest.mark.parametrize(
    ("name", "port", "host"),
    [
        ("chat.example.com", 443, "exact"),
        ("CHAT.example.com", 443, "exact"),
        ("a.example.com", 443, "suffix"),
        ("a.chat.example.com", 443, "longer"),
        ("chat.example.org", 443, "prefix"),
        ("chat7.example.org", 443, "regex"),
        ("chat.example.com", 8080, "port"),
        ("else.test", 8080, "port"),
    ],
)
def test_a_server_is_chosen_by_name_and_port(name: str, port: int, host: str) -> None:
    found = served(state_of(NAMES), name=name, port=port, path="/", tls=True)
    assert found is not None
    assert [upstream.host for upstream in found.upstreams] == [host]


def test_the_default_server_answers_for_unknown_names() -> None:
    found = served(state_of(NAMES), name="else.test", port=443, path="/", tls=True)
    assert found is not None
    assert found.names == ("first.test",)
    assert told_of(state_of(NAMES), "wrong-route", name="else.test", path="/")[0] == "wrong-route"


def test_nothing_listens_on_a_different_port() -> None:
    assert served(state_of(NAMES), name=NAME, port=81, path="/", tls=False) is None
    assert told_of(state_of(NAMES), "proxy-down", port=81) == ["proxy-down"]


LOCATIONS = """
location / { proxy_pass http://root; }
location = /exact { proxy_pass http://exact; }
location /app { proxy_pass http://app; location /app/in { proxy_pass http://nested; } }
location ^~ /files { proxy_pass http://stopped; }
location ~ \\.(png|gif)$ { proxy_pass http://regex; }
location ~* ^/CASE { proxy_pass http://caseless; }
location @named { proxy_pass http://named; }
"""


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/", "root"),
        ("/exact", "exact"),
        ("/exact/more", "root"),
        ("/app/x", "app"),
        ("/app/in/x", "nested"),
        ("/app/x.png", "regex"),
        ("/files/x.png", "stopped"),
        ("/case/x", "caseless"),
        ("//app//in", "nested"),
    ],
)
def test_a_location_is_chosen_as_nginx_chooses_it(path: str, host: str) -> None:
    found = served(state_of(site(LOCATIONS)), name=NAME, port=443, path=path, tls=True)
    assert found is not None
    assert [upstream.host for upstream in found.upstreams] == [host]


@pytest.mark.parametrize(
    ("locations", "path", "upstream", "there"),
    [
        ("location /ws { proxy_pass http://127.0.0.1:3000; }", "/ws/a", APP, "/ws/a"),
        ("location /ws/ { proxy_pass http://127.0.0.1:3000/; }", "/ws/a", APP, "/a"),
        ("location /ws { proxy_pass http://127.0.0.1:3000/; }", "/ws/a", APP, "//a"),
        ("location /ws/ { proxy_pass http://127.0.0.1:3000/x; }", "/ws/a", APP, "/xa"),
        ("location = /ws { proxy_pass http://127.0.0.1:3000/sock; }", "/ws", APP, "/sock"),
        ("location ~ ^/w { proxy_pass http://127.0.0.1:3000; }", "/ws", APP, "/ws"),
        (
            "location /ws { rewrite ^/ws(.*)$ /v1$1 break; proxy_pass http://127.0.0.1:3000; }",
            "/ws/a",
            APP,
            "/v1/a",
        ),
        (
            "set $app 127.0.0.1:3000; location / { proxy_pass http://$app$request_uri; }",
            "/ws",
            APP,
            "/ws",
        ),
        (
            "location / { proxy_pass http://unix:/run/app.sock:/in/; }",
            "/ws",
            Upstream(socket="/run/app.sock"),
            "/in/ws",
        ),
        (
            "location / { proxy_pass https://[::1]; }",
            "/",
            Upstream(host="::1", port=443, tls=True),
            "/",
        ),
        (
            (
                "location / { proxy_pass http://127.0.0.1:1;"
                " if ($http_upgrade = websocket) { proxy_pass http://127.0.0.1:3000; } }"
            ),
            "/ws",
            APP,
            "/ws",
        ),
    ],
)
def test_where_a_request_goes(locations: str, path: str, upstream: Upstream, there: str) -> None:
    found = served(state_of(site(locations)), name=NAME, port=443, path=path, tls=True)
    assert found is not None
    assert found.upstreams == (upstream,)
    assert found.path_at_service == there


def test_an_upstream_of_several_and_its_timeout() -> None:
    to_app = "proxy_pass http://app;"
    http = f"""
    proxy_read_timeout 90;
    upstream app {{
        server 10.0.0.9 backup; server unix:/run/a; server 10.0.0.1:81; server x down;
    }}
    {site(f"location / {{ {to_app} }} location /ws {{ {to_app} proxy_read_timeout 1h 30m; }}")}
    """
    found = served(state_of(http), name=NAME, port=443, path="/ws", tls=True)
    assert found is not None
    assert found.upstreams == (
        Upstream(socket="/run/a"),
        Upstream(host="10.0.0.1", port=81),
        Upstream(host="10.0.0.9", port=80),
    )
    assert found.idle_timeout_s == 5400
    assert found.idle_directive.startswith("proxy_read_timeout 1h 30m, /etc/nginx/nginx.conf:")
    other = served(state_of(http), name=NAME, port=443, path="/", tls=True)
    assert other is not None
    assert other.idle_timeout_s == 90


def test_what_cannot_be_known_is_reported() -> None:
    found = served(
        state_of(site("location / { proxy_pass http://$cookie_shard; }")),
        name=NAME,
        port=443,
        path="/ws",
        tls=True,
    )
    assert found is not None
    assert found.upstreams == ()
    assert "variables" in found.note


def test_included_files_keep_their_lines() -> None:
    main = "http {\n include /etc/nginx/conf.d/*.conf;\n}\n"
    snippet = "\n\nproxy_set_header Upgrade $http_upgrade;\n"
    server = (
        f"server {{ listen 80; server_name {NAME};\n"
        " location / {\n include snip;\n proxy_pass http://127.0.0.1:3000;\n} }\n"
    )
    state = replace(
        state_of(""),
        config=(
            ConfigFile(path="/etc/nginx/nginx.conf", text=main),
            ConfigFile(path="/etc/nginx/conf.d/a.conf", text=server),
            ConfigFile(path="/etc/nginx/snip", text=snippet),
        ),
    )
    found = served(state, name=NAME, port=80, path="/ws", tls=False)
    assert found is not None
    assert found.where == "/etc/nginx/conf.d/a.conf:2"
    lost = [
        fault
        for fault in faults(state, name=NAME, port=80, path="/ws", tls=False)
        if fault.code == "upgrade-not-forwarded"
    ]
    assert [fault.where for fault in lost] == ["/etc/nginx/conf.d/a.conf:4"]


@pytest.mark.parametrize("damage", ["}\n}\n}", "location /b {", 'add_header X "no end;'])
def test_a_damaged_file_is_read_up_to_the_damage(damage: str) -> None:
    text = f"http {{\n{site(f'location /ws {{ {PASS} }}')}\n{damage}\n"
    state = replace(state_of(""), config=(ConfigFile(path="/etc/nginx/nginx.conf", text=text),))
    assert served(state, name=NAME, port=443, path="/ws", tls=True) is not None


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("1h 30m", 5400), ("250ms", 0.25), ("1d", 86400), ("x", None)]
)
def test_times(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


# --- what is wrong --------------------------------------------------------------------------------

LOST = "upgrade-not-forwarded"
CASES = {
    "nothing is set": ("location /ws { proxy_pass http://127.0.0.1:3000; }", LOST, LOST),
    "only Upgrade": (
        "location /ws { proxy_pass http://a; proxy_set_header Upgrade $http_upgrade; }",
        LOST,
        LOST,
    ),
    "another level": (
        f"{HEADERS} location /ws {{ proxy_pass http://a; proxy_set_header X-A b; }}",
        LOST,
        "headers-not-inherited",
    ),
    "keep-alive": (
        (
            "location /ws { proxy_pass http://a; proxy_http_version 1.1; proxy_set_header Upgrade"
            ' $up; proxy_set_header Connection ""; }'
        ),
        LOST,
        "connection-cleared",
    ),
    "HTTP/1.0": (
        f"location /ws {{ {PASS.replace('proxy_http_version 1.1;', '')} }}",
        LOST,
        "http-1.0-upstream",
    ),
    "FastCGI": ("location /ws { fastcgi_pass 127.0.0.1:9000; }", LOST, LOST),
    "slash": (f"location /ws/ {{ {PASS} }}", "slash-redirect", "slash-redirect"),
    "prefix stripped": (
        f"location /ws {{ {PASS.replace(':3000', ':3000/')} }}",
        "page-instead",
        "page-instead",
    ),
    "files": (
        "root /srv; location / { try_files $uri /index.html; }",
        "page-instead",
        "page-instead",
    ),
    "a fixed answer": ("location /ws { return 404; }", "wrong-route", "wrong-route"),
    "Host of the upstream": (
        f"location /ws {{ {PASS.replace('proxy_set_header Host $host;', '')} }}",
        "host-rewritten",
        "host-rewritten",
    ),
    "a fixed Host": (
        f"location /ws {{ {PASS.replace('Host $host', 'Host localhost')} }}",
        "host-rewritten",
        "host-rewritten",
    ),
    "no scheme": (
        f"location /ws {{ {PASS.replace('proxy_set_header X-Forwarded-Proto $scheme;', '')} }}",
        "redirect-loop",
        "redirect-loop",
    ),
    "any upgrade": (
        f"location /ws {{ {PASS.replace('$up;', '$http_upgrade;').replace('$conn', 'upgrade')} }}",
        "h2c-tunnel",
        "h2c-tunnel",
    ),
    "appended address": (
        f"location /ws {{ {PASS.replace('$remote_addr', '$proxy_add_x_forwarded_for')} }}",
        "forwarded-for-appended",
        "forwarded-for-appended",
    ),
    "password": (f'location /ws {{ auth_basic "x"; {PASS} }}', "login-required", "login-required"),
    "a rewrite": (
        f"location /ws {{ rewrite ^/ws /sock break; {PASS} }}",
        "page-instead",
        "wrong-route",
    ),
    "a condition": (
        f"location /ws {{ if ($http_upgrade) {{ return 400; }} {PASS} }}",
        "upgrade-not-forwarded",
        "handshake-refused",
    ),
    "a condition on Origin": (
        f"if ($http_origin !~ other) {{ return 403; }} location /ws {{ {PASS} }}",
        "wrong-route",
        "origin-blocked",
    ),
    "an access list": (
        f"location /ws {{ deny all; {PASS} }}",
        "origin-blocked",
        "handshake-refused",
    ),
    "a limit": (
        f"location /ws {{ limit_req zone=z; {PASS} }}",
        "bad-gateway",
        "connections-exhausted",
    ),
    "subprotocol": (
        f'location /ws {{ {PASS} proxy_set_header Sec-WebSocket-Protocol ""; }}',
        "subprotocol-missing",
        "subprotocol-missing",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named(case: str) -> None:
    locations, symptom, code = CASES[case]
    assert told_of(state_of(site(locations)), symptom)[:1] == [code]


def test_two_lines_of_one_header_are_both_sent() -> None:
    """`Connection ""` next to `Connection upgrade` is a common sample, and works."""
    both = PASS + 'proxy_set_header Connection "";'
    assert told_of(state_of(site(f"location /ws {{ {both} }}")), LOST) == []


def test_a_good_configuration_explains_no_failure() -> None:
    state = state_of(site(f"location /ws {{ {PASS} proxy_read_timeout 1h; }}"))
    symptoms = {
        LOST,
        "wrong-route",
        "page-instead",
        "slash-redirect",
        "host-rewritten",
        "bad-gateway",
    }
    symptoms |= {"redirect-loop", "h2c-tunnel", "forwarded-for-appended", "login-required"}
    assert {code for symptom in symptoms for code in told_of(state, symptom)} == set()
    assert not any(
        fault.stands_alone for fault in faults(state, name=NAME, port=443, path="/ws", tls=True)
    )


def test_a_port_that_the_host_header_loses() -> None:
    state = state_of(site(f"location /ws {{ {PASS} }}", listen="8443 ssl"))
    assert told_of(state, "port-lost", port=8443) == ["port-lost"]
    kept = state_of(
        site(f"location /ws {{ {PASS.replace('$host;', '$http_host;')} }}", listen="8443 ssl")
    )
    assert told_of(kept, "port-lost", port=8443) == []


def test_a_newer_nginx_needs_both_headers_said() -> None:
    bare = site("location /ws { proxy_pass http://127.0.0.1:3000; }")
    assert told_of(state_of(bare, version="1.31.4"), LOST)[0] == "default-connection"
    without_version = PASS.replace("proxy_http_version 1.1;", "")
    state = state_of(site(f"location /ws {{ {without_version} }}"), version="1.31.4")
    assert told_of(state, LOST) == []


def test_the_last_of_two_maps_counts() -> None:
    second = "map $http_upgrade $conn { default close; }\n"
    lost = state_of(second + site(f"location /ws {{ {PASS} }}"))
    assert told_of(lost, LOST)[0] == "map-twice"
    apart = state_of(
        "map $http_upgrade $other { default close; }\n" + site(f"location /ws {{ {PASS} }}")
    )
    assert told_of(apart, LOST) == []
    unused = site(f"location /ws {{ {PASS.replace('$conn', 'upgrade')} }}")
    assert "map-twice" not in {
        fault.code
        for fault in faults(state_of(second + unused), name=NAME, port=443, path="/ws", tls=True)
    }


@pytest.mark.parametrize(
    ("words", "code", "where"),
    [
        ('nginx: [emerg] unknown "conn" variable', "map-missing", ""),
        ('2026/11/21 15:34:36 [emerg] 4#4: unknown "conn" variable', "map-missing", ""),
        (
            'nginx: [emerg] unexpected "}" in /etc/nginx/conf.d/x.conf:7',
            "config-invalid",
            "/etc/nginx/conf.d/x.conf:7",
        ),
    ],
)
def test_what_the_check_refuses_comes_first(words: str, code: str, where: str) -> None:
    """Then the files are not what nginx runs with."""
    state = state_of(site("location / { root /srv; }"), test_ok=False, test_output=words)
    first = faults(state, name=NAME, port=443, path="/ws", tls=True)[0]
    assert (first.code, first.where, first.stands_alone) == (code, where, True)
    assert "keeps running with the configuration it loaded before" in first.cause


# --- findings -------------------------------------------------------------------------------------


def test_a_name_that_is_looked_up_for_each_request() -> None:
    locations = """
    location / {
        resolver 10.0.0.53 valid=10s;
        proxy_pass http://app.test:3000$request_uri;
    }
    """
    state = state_of(site(locations))
    found = served(state, name=NAME, port=443, path="/ws", tls=True)
    assert found is not None
    assert [str(each) for each in found.upstreams] == ["http://app.test:3000"]
    assert found.path_at_service == "/ws"
