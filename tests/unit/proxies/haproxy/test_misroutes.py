"""HAProxy's rules as people write them: the line that sends a WebSocket elsewhere, or refuses it.

Every text was tried on a host, with HAProxy 2.6.12 and a service on each of these ports.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.model import CheckResult, Finding, HandshakeResult, Hop, Proxy
from deployer.proxies.haproxy.inspect import faults, served
from deployer.proxies.inspect import Inspection, explained, refused_by_address
from deployer.proxies.inspect.model import Fault
from deployer.sites.model import Route, Site
from tests.support.proxies.recorded import Case, apache, first_for, haproxy

_HEAD = """\
global
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend f
    bind *:80
"""
_BACKENDS = """\
backend ws
    server ws1 127.0.0.1:9101
backend web
    server web1 127.0.0.1:9104
"""
_TWO = "    use_backend ws if is_ws\n    default_backend web\n" + _BACKENDS
_ONE = "    default_backend b\nbackend b\n"
_TO_WS = f"    default_backend ws\n{_BACKENDS}"


def _elsewhere(name: str, text: str, line: str, code: str = "wrong-route") -> Case:
    return Case(name=name, text=text, symptom="page-instead", code=code, line=line)


_CASES = (
    _elsewhere(
        "capitals",
        f"    acl is_ws hdr(Upgrade) WebSocket\n{_TWO}",
        "acl is_ws hdr(Upgrade) WebSocket",
    ),
    _elsewhere(
        "another host",
        "    acl is_ws hdr(Upgrade) -i websocket\n    acl is_host hdr_beg(Host) -i ws.\n"
        f"    use_backend ws if is_ws is_host\n    default_backend web\n{_BACKENDS}",
        "acl is_host hdr_beg(Host) -i ws.",
    ),
    _elsewhere(
        "no slash",
        f"    acl is_ws path_beg ws\n{_TWO}",
        "acl is_ws path_beg ws",
        "slash-mismatch",
    ),
    _elsewhere(
        "a slash more",
        f"    acl is_ws path_beg /ws/\n{_TWO}",
        "acl is_ws path_beg /ws/",
        "slash-mismatch",
    ),
    _elsewhere(
        "order",
        "    use_backend web if { path_beg / }\n    use_backend ws if { path_beg /ws }\n"
        + _BACKENDS,
        "use_backend web if { path_beg / }",
    ),
    _elsewhere(
        "monitor",
        f"    monitor-uri /ws\n{_TO_WS}",
        "monitor-uri /ws",
        "page-instead",
    ),
    Case(
        name="two frontends",
        text=f"    default_backend web\nfrontend g\n    bind *:80\n{_TO_WS}",
        symptom="page-instead",
        code="wrong-route",
        line="bind *:80",
    ),
    Case(
        name="User-Agent",
        text="    http-request deny deny_status 400 unless { req.hdr(User-Agent) -m sub Mozilla }\n"
        f"    default_backend ws\n{_BACKENDS}",
        symptom="handshake-refused",
        code="wrong-route",
        line="http-request deny deny_status 400 unless { req.hdr(User-Agent) -m sub Mozilla }",
        status=400,
    ),
    Case(
        name="addresses",
        text="    acl lan src 192.168.0.0/16\n    http-request deny if !lan\n"
        f"    default_backend ws\n{_BACKENDS}",
        symptom="handshake-refused",
        code="wrong-route",
        line="http-request deny if !lan",
        status=403,
    ),
    Case(
        name="login",
        text=f"    http-request auth unless {{ http_auth(u) }}\n{_TO_WS}",
        symptom="login-required",
        code="login-required",
        line="http-request auth unless { http_auth(u) }",
        status=401,
    ),
    Case(
        name="rejected connections",
        text="    tcp-request connection reject if !{ src 192.0.2.1 }\n"
        f"    default_backend ws\n{_BACKENDS}",
        symptom="connection-dropped",
        code="connection-dropped",
        line="tcp-request connection reject if !{ src 192.0.2.1 }",
    ),
    Case(
        name="rejected requests",
        text=f"    http-request reject if {{ path_beg /ws }}\n{_TO_WS}",
        symptom="connection-dropped",
        code="connection-dropped",
        line="http-request reject if { path_beg /ws }",
    ),
    Case(
        name="Connection",
        text=f"    http-request del-header Connection\n{_TO_WS}",
        symptom="upgrade-not-forwarded",
        code="upgrade-not-forwarded",
        line="http-request del-header Connection",
    ),
    Case(
        name="key",
        text=f"    http-request del-header sec-websocket- -m beg\n{_TO_WS}",
        symptom="wrong-accept",
        code="upgrade-not-forwarded",
        line="http-request del-header sec-websocket- -m beg",
    ),
    Case(
        name="origin",
        text=f"    http-request del-header Origin\n{_TO_WS}",
        symptom="origin-blocked",
        code="origin-required",
        line="http-request del-header Origin",
    ),
    Case(
        name="answer",
        text=f"    http-response set-header Connection close\n{_TO_WS}",
        symptom="incomplete-upgrade",
        code="incomplete-upgrade",
        line="http-response set-header Connection close",
    ),
    Case(
        name="disabled",
        text=f"{_ONE}    server a 127.0.0.1:9101 disabled\n",
        symptom="bad-gateway",
        code="bad-gateway",
        line="server a 127.0.0.1:9101 disabled",
    ),
    Case(
        name="weight",
        text=f"{_ONE}    server a 127.0.0.1:9101 weight 0\n",
        symptom="bad-gateway",
        code="bad-gateway",
        line="server a 127.0.0.1:9101 weight 0",
    ),
    Case(
        name="another CA",
        text=f"{_ONE}    server a 127.0.0.1:9201 ssl verify required ca-file /root/fc.pem\n",
        symptom="bad-gateway",
        code="bad-gateway",
        line="server a 127.0.0.1:9201 ssl verify required ca-file /root/fc.pem",
    ),
    Case(
        name="milliseconds",
        text=f"{_ONE}    timeout server 20\n    server a 127.0.0.1:9111\n",
        symptom="service-hangs",
        code="service-hangs",
        line="timeout server 20",
        status=504,
    ),
)


def _first(text: str, symptom: str, *, status: int = 0) -> Fault | None:
    found = faults(haproxy(text), name="app.test", port=80, path="/ws", tls=False)
    return first_for(found, symptom, status=status)


@pytest.mark.parametrize("case", _CASES, ids=str)
def test_the_line_that_is_wrong_is_named(case: Case) -> None:
    text = _HEAD + case.text
    found = _first(text, case.symptom, status=case.status)

    assert found is not None
    assert (found.code, text.splitlines()[found.line - 1].strip()) == (case.code, case.line)


@pytest.mark.parametrize("word", ["accept-proxy", "proto h2"])
def test_a_port_that_is_for_others_is_named(word: str) -> None:
    text = _HEAD.replace("bind *:80", f"bind *:80 {word}") + f"    default_backend ws\n{_BACKENDS}"
    found = _first(text, "connection-dropped")
    assert found is not None
    assert word in found.cause


_SOUND = (
    f"    acl is_ws hdr(Upgrade) -i websocket\n{_TWO}",
    f"    acl is_ws path_reg ^/(ws|socket)(/|$)\n{_TWO}",
    "    use_backend ws if { path_beg /ws }\n    use_backend web if { path_beg / }\n" + _BACKENDS,
    (
        "    acl other hdr(host) -i www.other.test\n    acl is_ws path_beg /ws\n"
        f"    use_backend web if other is_ws\n{_TO_WS}"
    ),
    (
        f"    acl is_ws hdr(Upgrade) -i websocket\n    use_backend web if !is_ws\n"
        f"    default_backend ws\n{_BACKENDS}"
    ),
    f"    http-request deny if {{ src 192.0.2.0/24 }}\n{_TO_WS}",
    f"    monitor-uri /alive\n{_TO_WS}",
)


@pytest.mark.parametrize("text", _SOUND)
def test_their_twins_are_not_blamed(text: str) -> None:
    state = haproxy(_HEAD + text)
    blamed = {"page-instead", "connection-dropped", "incomplete-upgrade", "origin-blocked"}
    found = faults(state, name="app.test", port=80, path="/ws", tls=False)
    reported = [each for each in found if each.explains & blamed and not each.statuses]
    way = served(state, name="app.test", port=80, path="/ws", tls=False)

    assert [each.code for each in reported if each.code != "idle-cut"] == []
    assert way is not None
    assert [each.port for each in way.upstreams] == [9101]


# --- what only passes through, and what comes before HTTP ----------------------------------------

_TCP = """\
frontend f
    mode tcp
    bind *:443
    tcp-request inspect-delay 5s
    tcp-request content accept if { req_ssl_hello_type 1 }
    use_backend b if { req_ssl_sni -i NAME }
backend b
    mode tcp
    server a 127.0.0.1:8443
"""


def test_tls_goes_through_where_haproxy_passes_bytes_on() -> None:
    state = haproxy(_TCP.replace("NAME", "app.test"))
    way = served(state, name="app.test", port=443, path="/ws", tls=True)
    assert way is not None
    assert way.tls
    assert way.upstreams[0].tls
    reported = faults(state, name="app.test", port=443, path="/ws", tls=True)
    assert not [each for each in reported if each.explains & {"tls-not-spoken", "tls-failed"}]


def test_a_name_that_no_backend_takes_is_what_closes_the_connection() -> None:
    state = haproxy(_TCP.replace("NAME", "www.app.test"))
    reported = faults(state, name="app.test", port=443, path="/ws", tls=True)
    first = next(each for each in reported if "tls-failed" in each.explains)
    assert first.code == "wrong-route"
    assert "closes the connection" in first.cause


@pytest.mark.parametrize(
    ("word", "sends"), [("send-proxy", True), ("send-proxy-v2", True), ("", False)]
)
def test_who_begins_with_a_proxy_line(word: str, sends: bool) -> None:
    text = f"{_HEAD}{_ONE}    server a 127.0.0.1:9101 {word}\n"
    way = served(haproxy(text), name="app.test", port=80, path="/ws", tls=False)
    assert way is not None
    assert way.sends_proxy_line is sends
    assert way.server_where.endswith(str(len(text.splitlines())))


# --- with the checks' results ---------------------------------------------------------------------


def _site(proxy: Proxy) -> Site:
    return Site(domain="app.test", proxy=proxy, routes=(Route(path="/ws", websocket=True),))


def _result(code: str, hop: Hop, *, status: int | None) -> CheckResult:
    return CheckResult(
        site="app.test",
        name="handshake",
        target="/ws",
        hop="proxy",
        ok=False,
        handshake=HandshakeResult(uri="ws://app.test/ws", hop="proxy", status_code=status),
        finding=Finding(code=code, hop=hop, symptom="s", cause="c", fix="f"),
    )


def _reported(text: str, result: CheckResult) -> Finding:
    inspection = Inspection(proxies=(haproxy(_HEAD + text),))
    (reported,) = explained([result], inspection, site=_site("haproxy"))
    assert reported.finding is not None
    return reported.finding


def test_what_another_service_answers_is_the_doing_of_the_rule_that_led_there() -> None:
    page = _result("page-instead", "backend", status=200)
    astray = _reported(f"    acl is_ws hdr(Upgrade) WebSocket\n{_TWO}", page)
    assert (astray.code, astray.hop) == ("wrong-route", "proxy")

    own = _reported(f"    default_backend web\n{_BACKENDS}", page)
    assert (own.code, own.hop, own.file) == ("page-instead", "backend", "")


def test_the_service_is_not_excused_by_the_patience_of_the_proxy() -> None:
    hang = _result("service-hangs", "backend", status=504)
    reported = _reported(f"{_ONE}    timeout server 2s\n    server a 127.0.0.1:9107\n", hang)
    assert (reported.hop, reported.cause) == ("backend", "c")


@pytest.mark.parametrize("status", [None, 101])
def test_what_was_dropped_is_not_said_to_be_cut_for_its_silence(status: int | None) -> None:
    site = "<VirtualHost *:80>\nProxyPass /ws ws://127.0.0.1:9101/ws\n</VirtualHost>"
    inspection = Inspection(proxies=(apache(f"Timeout 30\n{site}"),))
    dropped = _result("connection-dropped", "proxy", status=status)
    (reported,) = explained([dropped], inspection, site=_site("apache"))
    assert reported.finding is not None
    assert reported.finding.code == "connection-dropped"


def test_clients_elsewhere_learn_only_of_rules_for_addresses() -> None:
    rule = "    http-request deny if !{ src 127.0.0.0/8 }\n"
    text = f"{_HEAD}{rule}    http-request del-header Upgrade\n{_TO_WS}"
    inspection = Inspection(proxies=(haproxy(text),))
    refused = _result("handshake-refused", "proxy", status=403)
    reported = refused_by_address(refused, inspection, site=_site("haproxy")).finding
    assert reported is not None
    assert reported.file.endswith(":10")

    other = _result("upgrade-not-forwarded", "proxy", status=426)
    assert refused_by_address(other, inspection, site=_site("haproxy")) == other
    assert refused_by_address(replace(refused, finding=None), inspection, site=_site("haproxy"))
