"""Secrets that stand in a proxy's configuration: no finding quotes them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deployer.model import CheckResult, Finding, HandshakeResult, Hop
from deployer.proxies.inspect import explained, faults, noticed, served
from deployer.proxies.inspect.model import ConfigFile, Inspection, ProxyState
from deployer.proxies.inspect.shown import without_credentials
from deployer.sites.model import Route, Site, Tls, Upstream
from tests.support.proxies.recorded import apache, haproxy

_SECRET = "zZsecretQ9"


def _nginx(body: str, *, refused: str = "") -> ProxyState:
    text = f"events {{}}\nhttp {{ server {{ listen 80; server_name a.example;\n{body}\n}} }}\n"
    return ProxyState(
        proxy="nginx",
        version="1.22.1",
        is_running=True,
        config=(ConfigFile(path="/etc/nginx/nginx.conf", text=text),),
        test_ok=not refused,
        test_output=refused,
    )


def _apache(body: str) -> ProxyState:
    text = f"<VirtualHost *:80>\nServerName a.example\n{body}\n</VirtualHost>\n"
    return apache(text, is_running=True)


def _haproxy(frontend: str, server: str = "server s1 127.0.0.1:3000") -> ProxyState:
    text = "defaults\n mode http\n timeout client 50s\n timeout server 50s\n"
    text += f"frontend web\n bind :80\n{frontend}\n default_backend b\nbackend b\n {server}\n"
    return haproxy(text, is_running=True)


_S = _SECRET
_STATES = [
    _nginx(f"location /ws {{ proxy_pass http://user:{_S}@127.0.0.1:3000/; }}"),
    _nginx(f"location /ws {{ proxy_pass http://127.0.0.1:3000/ws?token={_S}; }}"),
    _nginx(f"location /ws {{ return 301 https://b.example/ws?token={_S}; }}"),
    _nginx(f"location /ws {{ rewrite ^ /x?apikey={_S} break; proxy_pass http://127.0.0.1:3000; }}"),
    _nginx(
        f'location /ws {{ if ($http_x_gate != "{_S}") {{ return 403; }}'
        " proxy_pass http://127.0.0.1:3000; }"
    ),
    _nginx(
        f'location /ws {{ proxy_set_header Authorization "Basic {_S}";'
        f" proxy_set_header X-Key {_S}; proxy_pass http://127.0.0.1:3000; }}"
    ),
    _nginx(f'location /ws {{ return 200 "token={_S}"; }}'),
    _nginx(
        "",
        refused=f'nginx: [emerg] invalid condition "$http_x_key" "{_S}" in /etc/nginx/x:3\n',
    ),
    _nginx(
        "",
        refused=f'nginx: [emerg] host not found in upstream "u:{_S}@x" in /etc/nginx/x:3\n',
    ),
    _apache(f'RequestHeader set X-Key "{_S}"\nProxyPass /ws http://127.0.0.1:3000/ws secret={_S}'),
    _apache(f"ProxyPass /ws http://127.0.0.1:3000/ws?token={_S}"),
    _apache(
        f"RewriteEngine On\nRewriteCond %{{HTTP:X-Gate}} !={_S}\n"
        f"RewriteRule ^/ws https://b.example/ws?token={_S} [R,L]"
    ),
    _apache(f"RewriteEngine On\nRewriteRule ^/ws http://127.0.0.1:3000/ws?token={_S} [P,L]"),
    _apache(
        "ProxyPass / http://127.0.0.1:3000/\n"
        f"ProxyPass /ws http://127.0.0.1:3000/ws secret={_S} upgrade=websocket"
    ),
    _apache(f"Redirect /ws https://b.example/ws?token={_S}"),
    _haproxy(f" http-request deny unless {{ req.hdr(X-Gate) {_S} }}"),
    _haproxy(f" http-request deny unless {{ req.hdr(X-Gate) -m str {_S} other{_S} }}"),
    _haproxy(f" acl ok req.hdr(X-Gate),lower -i {_S}\n http-request deny unless ok"),
    _haproxy(f" http-request redirect location https://b.example/?token={_S}"),
    _haproxy(f" http-request set-path /x?token={_S}"),
    _haproxy(f" http-request deny if {{ hdr(Origin) -m found }} !{{ url_param(t) {_S} }}"),
    _haproxy(f" http-request del-header Upgrade unless {{ url_param(token) {_S} }}"),
    _haproxy("", f"server s1 127.0.0.1:3000 ssl verify none cookie {_S}"),
]
_SYMPTOMS = (
    *("upgrade-not-forwarded", "wrong-route", "page-instead", "redirected", "bad-gateway"),
    *("origin-blocked", "upstream-scheme", "service-down", "login-required", "handshake-refused"),
)


@pytest.mark.parametrize("state", _STATES, ids=range(len(_STATES)))
def test_no_finding_quotes_a_secret(state: ProxyState) -> None:
    assert any(_SECRET in each.text for each in state.config) or _SECRET in state.test_output
    found = faults(state, name="a.example", port=80, path="/ws", tls=False)
    assert found
    assert _SECRET not in repr([dataclasses.asdict(each) for each in found])
    way = served(state, name="a.example", port=80, path="/ws", tls=False)
    assert way is None or _SECRET not in way.note + way.idle_directive

    route = Route(path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=3999),))
    site = Site(domain="a.example", proxy=state.proxy, tls=Tls(issuer="none"), routes=(route,))
    inspection = Inspection(proxies=(state,))
    results = [
        CheckResult(
            site="a.example",
            name="handshake",
            target="/ws",
            hop="proxy",
            ok=False,
            detail="",
            handshake=HandshakeResult(uri="ws://a.example/ws", hop="proxy", status_code=status),
            finding=Finding(code=code, hop="proxy", symptom="s", cause="c", fix="f"),
        )
        for code in _SYMPTOMS
        for status in (301, 400, 403, 502)
    ]
    said = [*explained(results, inspection, site=site), *noticed(inspection, site=site)]
    assert _SECRET not in json.dumps([dataclasses.asdict(each) for each in said], default=repr)


@pytest.mark.parametrize(
    "text",
    [
        'proxy_set_header Connection "upgrade";',
        "proxy_set_header Host $host:$server_port;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        'proxy_set_header X-Key "$arg_key";',
        'if ($http_origin !~ "^https://a\\.example$")',
        "if ($http_upgrade = websocket)",
        'map $http_upgrade $upgrade { default ""; "~*^websocket$" upgrade; }',
        "`http-request deny unless { req.hdr(Origin) https://a.example }`",
        "`http-request deny if { req.hdr(X-Gate) -m found }`",
        "http-request del-header Upgrade if !{ req.hdr(Upgrade) -i websocket }",
        "`http-request set-header Host app.internal` gives the service another Host",
        "RewriteCond %{HTTP:Upgrade} =websocket [NC]",
        'RequestHeader set X-Forwarded-Proto "https"',
        "RequestHeader unset X-Forwarded-For early\nRequestHeader unset Forwarded",
        'ProxyPass "/ws" "http://127.0.0.1:3000/ws" upgrade=websocket timeout=3600',
        "nginx itself asks for a login here (auth_basic), which not every WebSocket client has.",
        "Use HTTP Basic authentication, or a Bearer token, or a cookie of a session.",
        "The service is asked for /ws?v=$arg_v, not for /ws: proxy_pass http://app/ws?v=$arg_v.",
        "journalctl -u haproxy says: server b/s1 is DOWN, reason: Layer4 connection problem",
        "add_header Strict-Transport-Security max-age=31536000;",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_credentials(text) == text


def _result(hop: Hop, *, code: str = "") -> CheckResult:
    return CheckResult(
        site="a.example",
        name="handshake",
        target="/ws" if hop == "proxy" else "/ws at 203.0.113.9:80",
        hop=hop,
        ok=not code,
        detail="",
        handshake=HandshakeResult(uri="ws://a.example/ws", hop=hop, status_code=400),
        finding=Finding(code=code, hop=hop, symptom="s", cause="c", fix="f") if code else None,
    )


def test_what_the_proxy_does_right_is_not_blamed_on_it() -> None:
    """A load balancer in front drops Upgrade; the proxy behind has a line that could have done it,
    for another version, say."""
    state = _nginx("location /ws { proxy_pass http://127.0.0.1:3000; }")
    route = Route(path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=3000),))
    site = Site(domain="a.example", proxy="nginx", tls=Tls(issuer="none"), routes=(route,))
    inspection = Inspection(proxies=(state,))
    outside = _result("public", code="upgrade-not-forwarded")

    right = explained([_result("proxy"), outside], inspection, site=site)
    assert [each.finding for each in right] == [None, outside.finding]

    failing = _result("proxy", code="upgrade-not-forwarded")
    for results in ([failing, outside], [outside]):
        wrong = explained(results, inspection, site=site)
        assert wrong[0].finding is not None
        assert wrong[0].finding.file == "/etc/nginx/nginx.conf:3"


_HANDED_ON = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
    ' proxy_set_header Connection "upgrade"; proxy_set_header Host $http_host;'
)


@pytest.mark.parametrize(
    "state",
    [
        _nginx(f"location = /ws {{ {_HANDED_ON} proxy_pass http://127.0.0.1:3000/; }}"),
        _apache("ProxyPreserveHost On\nProxyPass /ws http://127.0.0.1:3000 upgrade=websocket"),
        _haproxy(r" http-request replace-path ^/ws(/)?(.*) /\2"),
    ],
    ids=lambda state: state.proxy,
)
def test_a_prefix_that_the_site_takes_away_is_no_reason(state: ProxyState) -> None:
    for strip_prefix in (True, False):
        upstream = Upstream(host="127.0.0.1", port=3000)
        route = Route(path="/ws", websocket=True, strip_prefix=strip_prefix, upstreams=(upstream,))
        site = Site(domain="a.example", proxy=state.proxy, tls=Tls(issuer="none"), routes=(route,))
        seen = _result("proxy", code="page-instead")
        (shown,) = explained([seen], Inspection(proxies=(state,)), site=site)
        assert shown.finding is not None
        assert (shown.finding.cause == "c") is strip_prefix
