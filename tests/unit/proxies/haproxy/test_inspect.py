"""Reading HAProxy's configuration, compared with what a real HAProxy did with each request."""

from __future__ import annotations

import pytest

from deployer.proxies.haproxy import inspect as reader
from deployer.proxies.haproxy.config import words_of
from deployer.proxies.inspect.model import Fault, ProxyState
from tests.support.proxies.recorded import Measured, haproxy, measured, recorded

_ROUTES = "haproxy-routes"


def _faults(state: ProxyState, name: str, path: str, *, port: int = 80) -> tuple[Fault, ...]:
    return reader.faults(state, name=name, port=port, path=path, tls=port == 443)


def _of(faults: tuple[Fault, ...], symptom: str) -> list[Fault]:
    return [fault for fault in faults if symptom in fault.explains]


@pytest.mark.parametrize("case", measured(_ROUTES), ids=str)
def test_it_goes_the_way_that_haproxy_went(case: Measured) -> None:
    way = reader.served(recorded(_ROUTES), name=case.name, port=80, path=case.path, tls=False)

    assert way is not None
    if case.seen:
        assert way.path_at_service == case.seen
        assert way.upstreams
    elif case.status != 503:
        assert way.upstreams == ()


@pytest.mark.parametrize("case", measured(_ROUTES), ids=str)
def test_a_lost_upgrade_is_explained_where_it_was_lost_and_only_there(case: Measured) -> None:
    found = _of(_faults(recorded(_ROUTES), case.name, case.path), "upgrade-not-forwarded")

    if case.status == 426:
        assert [fault.code for fault in found] == ["upgrade-not-forwarded"]
        assert "del-header Upgrade" in found[0].cause
    if case.status == 101:
        # HAProxy passes Upgrade on without a Connection that a rule has taken; this service opens
        # all the same, and then nothing of it is reported.
        reported = [fault for fault in found if "removes Connection from" not in fault.cause]
        assert {fault.code for fault in reported} <= {"slash-mismatch"}


@pytest.mark.parametrize(
    ("name", "symptom", "code"),
    [
        ("red.example", "redirected", "https-redirect"),
        ("origin.example", "origin-blocked", "origin-blocked"),
        ("unknown.example", "wrong-route", "wrong-route"),
        ("renamed.example", "origin-blocked", "host-rewritten"),
        ("h2.example", "bad-gateway", "h2-websocket"),
        ("map.example", "forwarded-for-appended", "forwarded-for-appended"),
        ("map.example", "h2c-tunnel", "h2c-tunnel"),
        ("list.example", "idle-cut", "tunnel-timeout-ignored"),
        ("map.example", "idle-cut", "idle-cut"),
    ],
)
def test_each_symptom_is_explained_first_by(name: str, symptom: str, code: str) -> None:
    first = _of(_faults(recorded(_ROUTES), name, "/x"), symptom)[0]

    assert first.code == code
    assert first.file == "/etc/haproxy/haproxy.cfg"
    assert first.line > 0


def test_the_idle_limit_is_the_backends_or_the_shorter_of_two() -> None:
    state = recorded(_ROUTES)

    tunnel = reader.served(state, name="map.example", port=80, path="/x", tls=False)
    none = reader.served(state, name="list.example", port=80, path="/x", tls=False)

    assert tunnel is not None
    assert none is not None
    assert tunnel.idle_timeout_s == 3600
    assert none.idle_timeout_s == 50
    assert none.idle_directive.startswith("timeout client 50000, /etc/haproxy/haproxy.cfg:")


_STRICT = " if !{ req.hdr(Upgrade) -i websocket } or { req.hdr_cnt(Upgrade) gt 1 }"
_SITE = """\
global
    hard-stop-after 1h

defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h

frontend https
    bind :443 ssl crt /etc/haproxy/site.pem alpn h2,http/1.1
    http-request del-header Upgrade STRICT
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https
    use_backend app if { hdr(host) -i chat.example } { path_beg /ws }

backend app
    server app 127.0.0.1:3000
""".replace(" STRICT", _STRICT)


def test_a_sound_site_shows_no_fault_but_where_one_would_look() -> None:
    found = _faults(haproxy(_SITE), "chat.example", "/ws", port=443)

    assert not any(fault.stands_alone for fault in found)
    for symptom in (
        *("upgrade-not-forwarded", "wrong-route", "page-instead", "bad-gateway", "origin-blocked"),
        *("h2c-tunnel", "forwarded-for-appended", "redirect-loop", "drain-cut", "host-rewritten"),
    ):
        assert not _of(found, symptom), symptom


@pytest.mark.parametrize(
    ("change", "to", "symptom", "line"),
    [
        ("hard-stop-after 1h", "hard-stop-after 4s", "drain-cut", 2),
        (_STRICT, "", "upgrade-not-forwarded", 12),
        ("Forwarded-For %[src]", "Other %[src]", "forwarded-for-appended", 15),
        ("Forwarded-Proto https", "Forwarded-Proto http", "redirect-loop", 14),
        ("{ path_beg /ws }", "{ path_beg /other }", "bad-gateway", 10),
        ("127.0.0.1:3000", "127.0.0.1:3000 alpn h2 ssl", "bad-gateway", 18),
        (_STRICT, " unless { hdr(Upgrade) -m found }", "h2c-tunnel", 15),
        (" or { req.hdr_cnt(Upgrade) gt 1 }", "", "h2c-tunnel", 15),  # websocket, h2c
    ],
)
def test_one_change_is_one_fault(change: str, to: str, symptom: str, line: int) -> None:
    assert change in _SITE

    state = haproxy(_SITE.replace(change, to, 1))

    found = _of(_faults(state, "chat.example", "/ws", port=443), symptom)
    assert [fault.line for fault in found] == [line]


def test_what_depends_on_the_client_is_not_decided() -> None:
    text = _SITE.replace(
        "    use_backend app", "    use_backend other if { src 10.0.0.0/8 }\n    use_backend app"
    )

    assert reader.served(haproxy(text), name="chat.example", port=443, path="/ws", tls=True) is None


def test_servers_that_a_wrong_health_check_has_taken_out() -> None:
    state = recorded("haproxy-full")
    file = state.config[0]
    text = file.text.replace("default_backend app", "default_backend down")
    broken = haproxy(text, dump=state.dump, log=state.log)

    found = _of(_faults(broken, "chat.example", "/ws"), "bad-gateway")

    assert found[0].line == text[: text.index("option httpchk")].count("\n") + 1
    assert "Layer7 wrong status" in found[0].cause


def test_a_port_that_no_frontend_has() -> None:
    (found,) = _faults(haproxy(_SITE), "chat.example", "/ws", port=8443)

    assert found.code == "proxy-down"
    assert "8443" in found.cause


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('  bind :80 # all "of" them', ("bind", ":80")),
        (r"replace-path /live(/)?(.*) /\2", ("replace-path", "/live(/)?(.*)", r"/\2")),
        (r'acl a hdr(x) "two words" \#3', ("acl", "a", "hdr(x)", "two words", "#3")),
        ("log-format '%[src] \\n'", ("log-format", "%[src] \\n")),
    ],
)
def test_lines_are_taken_apart_as_haproxy_does(line: str, words: tuple[str, ...]) -> None:
    assert words_of(line) == words


def test_named_defaults_hold_for_those_who_name_them() -> None:
    text = (
        "defaults one\n timeout tunnel 1s\n\ndefaults two\n timeout tunnel 2s\n\n"
        "frontend f from one\n bind :80\n default_backend b\n\nbackend b from one\n server s :1\n"
    )

    way = reader.served(haproxy(text), name="a", port=80, path="/", tls=False)

    assert way is not None
    assert way.idle_timeout_s == 1


def test_websockets_that_are_offered_over_http2_and_refused() -> None:
    rule = "    http-request deny if { ssl_fc_alpn h2 } { hdr(Upgrade) -i websocket }\n"
    text = _SITE.replace("    http-request del-header", f"{rule}    http-request del-header")

    (found,) = (
        fault
        for fault in _faults(haproxy(text), "chat.example", "/ws", port=443)
        if fault.stands_alone
    )

    assert (found.code, found.line) == ("h2-websocket", 12)
