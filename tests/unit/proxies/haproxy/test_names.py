"""The names that HAProxy serves, from configurations as people write them."""

from __future__ import annotations

import pytest

from deployer.proxies.haproxy.names import served_names
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import ServedName
from tests.support.certificates.pki import issued
from tests.support.proxies.recorded import haproxy

_DEFAULTS = "defaults\n    mode http\n    timeout client 1m\n"


def of(text: str, **more: ConfigFile) -> tuple[ServedName, ...]:
    state = haproxy(_DEFAULTS + text)
    return served_names(ProxyState(proxy="haproxy", config=(*state.config, *more.values())))


def names(found: tuple[ServedName, ...]) -> set[str]:
    return {each.name for each in found if each.name}


@pytest.mark.parametrize(
    ("test", "name", "asked"),
    [
        ("hdr(host) -i a.example.com", "a.example.com", "a.example.com"),
        ("req.hdr(Host) -m str a.example.com", "a.example.com", "a.example.com"),
        ("hdr(host),lower a.example.com:8080", "a.example.com", "a.example.com"),
        ("hdr_dom(host) -i a.example.com", "a.example.com", "a.example.com"),
        ("hdr_end(host) -i .example.com", "*.example.com", "any-name.example.com"),
        ("hdr_beg(host) www.", "www.*", "www.example.test"),
        (r"hdr_reg(host) ^api\d\.example\.com$", r"~^api\d\.example\.com$", "api1.example.com"),
        ("hdr(host) -m end example.com", "*example.com", "example.com"),
        ("ssl_fc_sni a.example.com", "a.example.com", "a.example.com"),
        ("base_beg a.example.com/app", "a.example.com", "a.example.com"),
    ],
)
def test_tests_of_the_name(test: str, name: str, asked: str) -> None:
    found = of(f"frontend web\n bind :80\n acl a {test}\n use_backend b if a\nbackend b\n")
    assert [(each.name, each.asked) for each in found if each.name] == [(name, asked)]


def test_names_in_conditions_lists_and_maps() -> None:
    hosts = ConfigFile(path="/etc/haproxy/hosts.map", text="# name backend\nm1.com b1\nm2.com b2\n")
    listed = ConfigFile(path="/etc/haproxy/list", text="l1.com\n\nl2.com\n")
    found = of(
        """
frontend web
    bind :80,[::]:80
    acl listed hdr(host) -f /etc/haproxy/list
    http-request redirect scheme https code 301 if { hdr(host) -i r.com } !{ ssl_fc }
    use_backend b if { req.hdr(host) -i i.com }
    use_backend b if listed
    use_backend %[req.hdr(host),lower,map(/etc/haproxy/hosts.map,b)]
    default_backend b
backend b
""",
        hosts=hosts,
        listed=listed,
    )
    assert names(found) == {"r.com", "i.com", "l1.com", "l2.com", "m1.com", "m2.com"}
    assert {each.address for each in found} == {"127.0.0.1", "::1"}
    assert sum(each.is_default for each in found) == 2


def test_a_name_that_a_variable_holds() -> None:
    found = of(
        """
frontend http
    bind :80
    http-request set-var(txn.host) req.hdr(Host),field(1,:),rtrim(.),lower
    acl chat  var(txn.host) -m str chat.example.com www.chat.example.com
    acl chat  var(txn.host) -m end .chat.example.com
    acl other var(txn.path) -m str /chat
    use_backend b if chat other
    default_backend nowhere
backend b
backend nowhere
"""
    )
    assert names(found) == {"chat.example.com", "www.chat.example.com", "*.chat.example.com"}


def test_binds_with_addresses_ports_and_sockets() -> None:
    found = of(
        """
frontend web
    bind *:80
    bind 10.0.0.5:443 ssl crt /etc/haproxy/certs
    bind :8000-8002
    bind ipv6@:81
    bind :::82 v4v6
    bind /run/haproxy.sock accept-proxy
    bind abns@hidden
    bind quic4@:443 ssl
"""
    )
    assert {(each.address, each.port, each.tls, each.socket) for each in found} == {
        ("127.0.0.1", 80, False, ""),
        ("10.0.0.5", 443, True, ""),
        ("127.0.0.1", 8000, False, ""),
        ("127.0.0.1", 8001, False, ""),
        ("127.0.0.1", 8002, False, ""),
        ("::1", 81, False, ""),
        ("::1", 82, False, ""),
        ("127.0.0.1", 82, False, ""),
        ("", 0, False, "/run/haproxy.sock"),
    }
    assert [each.wants_proxy_line for each in found if each.socket] == [True]


def test_forwarded_tls_is_requested_by_name_and_other_tcp_only_connected() -> None:
    found = served_names(
        haproxy(
            """
frontend tls
    mode tcp
    bind :443
    tcp-request inspect-delay 5s
    use_backend a if { req_ssl_sni -i a.com }
    use_backend b if { req.ssl_sni -m end .b.com }
listen db
    bind 127.0.0.1:3306
    server one 10.0.0.9:3306
"""
        )
    )
    assert {each.url for each in found} == {
        "https://127.0.0.1",
        "https://a.com",
        "https://any-name.b.com",
        "tcp://127.0.0.1:3306",
    }


def test_websocket_paths_belong_to_the_names_of_their_rule() -> None:
    found = of(
        """
frontend web
    bind :80
    acl a hdr(host) a.com
    acl b hdr(host) b.com
    acl ws path_beg /ws /socket
    acl upgrade hdr(Upgrade) -i websocket
    use_backend live if a ws
    use_backend other if b upgrade
    use_backend page if b
backend live
    timeout tunnel 1h
backend other
backend page
"""
    )
    by_name = {each.name: each.websockets for each in found if each.name}
    assert by_name == {"a.com": ("/ws", "/socket"), "b.com": ("/",)}


def test_counts_of_the_header_are_no_names() -> None:
    found = of(
        """
frontend web
    bind :80
    http-request set-var(txn.host) req.fhdr(Host),field(1,:),rtrim(.),lower
    http-request deny if !{ req.fhdr(Host) -m reg -i ^[a-z.]+$ } or { req.fhdr_cnt(Host) gt 1 }
    acl a var(txn.host) -m str a.com
    use_backend b if a !{ hdr_ip(host) 10.0.0.1 }
backend b
"""
    )
    assert names(found) == {"a.com"}


def test_a_negated_test_of_a_name_shows_the_name_too() -> None:
    found = of("frontend web\n bind :80\n http-request deny if !{ hdr(host) a.com }\n")
    assert names(found) == {"a.com"}


def test_thousands_of_names_are_read_in_one_pass() -> None:
    rules = "".join(
        f" acl h{n} hdr(host) n{n}.com\n use_backend b{n} if h{n}\n" for n in range(4000)
    )
    backends = "".join(f"backend b{n}\n" for n in range(4000))
    assert len(names(of(f"frontend web\n bind :80\n{rules}{backends}"))) == 4000


def test_backends_that_the_name_selects() -> None:
    found = of(
        """
frontend web
    bind :80
    use_backend site_%[req.hdr(host),lower] if { req.hdr(host) -m found }
    default_backend other
backend site_a.com
backend site_b.com
backend other
"""
    )
    assert names(found) == {"a.com", "b.com"}


def test_names_that_only_certificates_show() -> None:
    files = {
        path: ConfigFile(path=path, text=text)
        for path, text in {
            "/etc/haproxy/certs/b.pem": issued("b.com", by=None).pem.decode(),
            "one.pem": issued("*.c.com", by=None).pem.decode(),
            "/etc/haproxy/list": "one.pem [alpn h2] d.com !x.d.com *.d.com\none.pem # all of it\n",
        }.items()
    }
    found = of(
        """
frontend folder
    bind :443 ssl crt /etc/haproxy/certs/ alpn h2
    use_backend b if { hdr(host) b.com }
    default_backend b
frontend list
    bind :8443 ssl crt-list /etc/haproxy/list
frontend plain
    bind :80
backend b
""",
        **files,
    )
    by_port = {port: {each.name for each in found if each.port == port} for port in (443, 8443, 80)}
    assert by_port[443] == {"", "b.com"}
    assert by_port[8443] == {"", "d.com", "*.d.com", "*.c.com"}
    assert by_port[80] == {""}
    assert all(each.tls for each in found if each.port != 80)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ('acl a hdr(host) "$NAME"\n use_backend b if a', {"env.example.com"}),
        ("use_backend %[base,map_beg(base.map)]", {"p.com"}),
        ("acl known hdr(host),map(/hosts.map) -m found\n default_backend b", {"m.com"}),
        ("use_backend at_%[hdr(host),word(1,'.')] if { hdr_end(host) .x.com }", {"y.x.com"}),
        ("use_backend at_%[hdr(host),field(1,.)]", {"y.*"}),
        ("default_backend by_server", {"s.com"}),
        ("default_backend own_rules", {"r.com"}),
        ("http-request deny if !{ hdr(host) -i n.com }", {"n.com"}),
    ],
)
def test_names_in_less_usual_places(rules: str, expected: set[str]) -> None:
    text = f"""
global
    presetenv NAME env.example.com
frontend web
    bind :80
    {rules}
backend b
backend at_y
backend by_server
    use-server one if {{ hdr(host) s.com }}
    server one 127.0.0.1:1
backend own_rules
    http-request redirect location / if {{ hdr(host) r.com }}
"""
    base = ConfigFile(path="base.map", text="p.com/app b\np.com/two b\n")
    hosts = ConfigFile(path="/hosts.map", text="m.com b\n")
    assert expected <= names(of(text, base=base, hosts=hosts))


def test_a_frontend_that_only_haproxy_itself_reaches() -> None:
    (default, outer, inner) = served_names(
        haproxy(
            """
frontend tls
    mode tcp
    bind :443
    use_backend ends if { req.ssl_sni a.com }
    default_backend ends
backend ends
    mode tcp
    server self abns@inner send-proxy-v2
frontend inner
    mode http
    bind abns@inner accept-proxy ssl crt /x.pem
    use_backend b if { hdr(host) hidden.com }
backend b
"""
        )
    )
    assert (outer.name, inner.name) == ("a.com", "hidden.com")
    assert {(each.port, each.tls) for each in (default, outer, inner)} == {(443, True)}


def test_a_default_that_forwards_some_requests() -> None:
    def forwards(rules: str) -> bool:
        text = (
            f"frontend web\n bind :80\n {rules}\nbackend b\n server s 127.0.0.1:1\nbackend none\n"
        )
        return next(each for each in of(text) if each.is_default).forwards

    assert forwards("default_backend b")
    assert forwards("use_backend b if { path_beg /api }")
    assert not forwards("use_backend b if { hdr(host) a.com } { path_beg /api }")
    assert not forwards("default_backend none")
