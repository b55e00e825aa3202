"""Apache's rules as people write them: each line that breaks a WebSocket, and one that does not.

Every text was tried on a host, with Apache 2.4.71 and a service on each of these ports.
"""

from __future__ import annotations

import pytest

from deployer.proxies.apache.inspect import faults, served
from deployer.proxies.inspect.model import Fault
from tests.support.proxies.recorded import Case, apache, first_for

_SITE = """\
<VirtualHost *:80>
ServerName app.test
DocumentRoot /var/www/app
ProxyPreserveHost On
{}
</VirtualHost>
"""
_WS = "ProxyPass /ws ws://127.0.0.1:9101/ws"
_UP = "RewriteCond %{HTTP:Upgrade} websocket [NC]\n"


_CASES = (
    Case(
        name="forbidden",
        text=f"RewriteEngine On\n{_UP}RewriteRule ^ - [F]\n{_WS}",
        symptom="handshake-refused",
        code="wrong-route",
        line="RewriteRule ^ - [F]",
        status=403,
    ),
    Case(
        name="gone",
        text=f"RewriteEngine On\nRewriteRule ^/ws - [G]\n{_WS}",
        symptom="handshake-refused",
        code="wrong-route",
        line="RewriteRule ^/ws - [G]",
        status=410,
    ),
    Case(
        name="not found",
        text="RewriteEngine On\nRewriteCond %{REQUEST_URI} !^/(app|static)\n"
        f"RewriteRule .* - [R=404,L]\n{_WS}",
        symptom="wrong-route",
        code="wrong-route",
        line="RewriteRule .* - [R=404,L]",
        status=404,
    ),
    Case(
        name="no referer",
        text="RewriteEngine On\nRewriteCond %{HTTP_REFERER} !^http://app\\.test\n"
        f"RewriteRule ^/ws - [F]\n{_WS}",
        symptom="origin-blocked",
        code="wrong-route",
        line="RewriteRule ^/ws - [F]",
        status=403,
    ),
    Case(
        name="a single-page app",
        text=f"RewriteEngine On\nRewriteRule ^ /index.html [L]\n{_WS}",
        symptom="page-instead",
        code="page-instead",
        line="RewriteRule ^ /index.html [L]",
    ),
    Case(
        name="a single-page app, passed through",
        text=f"RewriteEngine On\nRewriteRule ^ /index.html [PT]\n{_WS}",
        symptom="page-instead",
        code="page-instead",
        line="RewriteRule ^ /index.html [PT]",
    ),
    Case(
        name="path lost",
        text=f"RewriteEngine On\n{_UP}RewriteRule /(.*) ws://127.0.0.1:9101/ [P,L]",
        symptom="page-instead",
        code="page-instead",
        line="RewriteRule /(.*) ws://127.0.0.1:9101/ [P,L]",
    ),
    Case(
        name="slash doubled",
        text=f"RewriteEngine On\n{_UP}RewriteRule ^(.*)$ ws://127.0.0.1:9101/$1 [P,L]",
        symptom="slash-mismatch",
        code="slash-mismatch",
        line="RewriteRule ^(.*)$ ws://127.0.0.1:9101/$1 [P,L]",
    ),
    Case(
        name="without P",
        text=f"RewriteEngine On\n{_UP}RewriteRule /(.*) ws://127.0.0.1:9101/$1 [L]",
        symptom="redirected",
        code="redirected",
        line="RewriteRule /(.*) ws://127.0.0.1:9101/$1 [L]",
    ),
    Case(
        name="engine off",
        text=f"{_UP}RewriteRule /(.*) ws://127.0.0.1:9101/$1 [P,L]\n"
        "ProxyPass / http://127.0.0.1:9101/",
        symptom="upgrade-not-forwarded",
        code="upgrade-not-forwarded",
        line="RewriteRule /(.*) ws://127.0.0.1:9101/$1 [P,L]",
    ),
    Case(
        name="a variable that is none",
        text="RewriteEngine On\nRewriteCond %{HTTP_UPGRADE} websocket [NC]\n"
        "RewriteRule /(.*) ws://127.0.0.1:9101/$1 [P,L]\nProxyPass / http://127.0.0.1:9101/",
        symptom="upgrade-not-forwarded",
        code="upgrade-not-forwarded",
        line="RewriteCond %{HTTP_UPGRADE} websocket [NC]",
    ),
    Case(
        name="a slash in a folder's rule",
        text="<Directory /var/www/app>\nRewriteEngine On\n"
        "RewriteRule ^/ws$ ws://127.0.0.1:9101/ws [P,L]\n</Directory>",
        symptom="wrong-route",
        code="wrong-route",
        line="RewriteRule ^/ws$ ws://127.0.0.1:9101/ws [P,L]",
    ),
    Case(
        name="some addresses",
        text=f"<Location /ws>\nRequire ip 192.0.2.0/24\n</Location>\n{_WS}",
        symptom="handshake-refused",
        code="wrong-route",
        line="Require ip 192.0.2.0/24",
        status=403,
    ),
    Case(
        name="Deny and Allow",
        text="<Proxy *>\nOrder deny,allow\nDeny from all\nAllow from 192.0.2\n</Proxy>\n" + _WS,
        symptom="handshake-refused",
        code="wrong-route",
        line="Deny from all",
        status=403,
    ),
    Case(
        name="denied to proxies",
        text=f"<Proxy *>\nRequire all denied\n</Proxy>\n{_WS}",
        symptom="handshake-refused",
        code="wrong-route",
        line="Require all denied",
        status=403,
    ),
    Case(
        name="GET denied",
        text=f"<Location /ws>\n<Limit GET>\nRequire all denied\n</Limit>\n</Location>\n{_WS}",
        symptom="handshake-refused",
        code="wrong-route",
        line="Require all denied",
        status=403,
    ),
    Case(
        name="all but POST denied",
        text="<Location /ws>\n<LimitExcept POST>\nRequire all denied\n</LimitExcept>\n</Location>\n"
        + _WS,
        symptom="handshake-refused",
        code="wrong-route",
        line="Require all denied",
        status=403,
    ),
    Case(
        name="upgrades denied",
        text="<If \"%{HTTP:Upgrade} == 'websocket'\">\nRequire all denied\n</If>\n" + _WS,
        symptom="handshake-refused",
        code="wrong-route",
        line="Require all denied",
        status=403,
    ),
    Case(
        name="few fields",
        text=f"LimitRequestFields 4\n{_WS}",
        symptom="handshake-refused",
        code="handshake-refused",
        line="LimitRequestFields 4",
        status=400,
    ),
    Case(
        name="no key",
        text=f"RequestHeader unset Sec-WebSocket-Key\n{_WS}",
        symptom="bad-gateway",
        code="upgrade-not-forwarded",
        line="RequestHeader unset Sec-WebSocket-Key",
    ),
    Case(
        name="no origin",
        text=f"RequestHeader unset Origin\n{_WS}",
        symptom="origin-blocked",
        code="origin-required",
        line="RequestHeader unset Origin",
    ),
    Case(
        name="no subprotocol",
        text=f"RequestHeader unset Sec-WebSocket-Protocol\n{_WS}",
        symptom="handshake-refused",
        code="subprotocol-missing",
        line="RequestHeader unset Sec-WebSocket-Protocol",
    ),
    Case(
        name="a balancer of another name",
        text="<Proxy balancer://wsc>\nBalancerMember ws://127.0.0.1:9101\n</Proxy>\n"
        "ProxyPass /ws balancer://ws-cluster/ws",
        symptom="bad-gateway",
        code="bad-gateway",
        line="ProxyPass /ws balancer://ws-cluster/ws",
    ),
    Case(
        name="a member out of use",
        text="<Proxy balancer://wsc>\nBalancerMember ws://127.0.0.1:9101 status=+D\n</Proxy>\n"
        "ProxyPass /ws balancer://wsc/ws",
        symptom="bad-gateway",
        code="bad-gateway",
        line="BalancerMember ws://127.0.0.1:9101 status=+D",
    ),
    Case(
        name="ProxyPass in LocationMatch",
        text='<LocationMatch "^/(api|ws)$">\nProxyPass http://127.0.0.1:9101\n</LocationMatch>',
        symptom="wrong-route",
        code="wrong-route",
        line="ProxyPass http://127.0.0.1:9101",
    ),
    Case(
        name="a certificate of another name",
        text="SSLProxyEngine on\nProxyPass /ws wss://127.0.0.1:9201/ws",
        symptom="bad-gateway",
        code="bad-gateway",
        line="ProxyPass /ws wss://127.0.0.1:9201/ws",
    ),
    Case(
        name="a PROXY line is wanted",
        text=f"RemoteIPProxyProtocol On\n{_WS}",
        symptom="connection-dropped",
        code="connection-dropped",
        line="RemoteIPProxyProtocol On",
    ),
)


def _first(text: str, symptom: str, *, status: int = 0) -> Fault | None:
    found = faults(apache(text), name="app.test", port=80, path="/ws", tls=False)
    return first_for(found, symptom, status=status)


@pytest.mark.parametrize("case", _CASES, ids=str)
def test_the_line_that_is_wrong_is_named(case: Case) -> None:
    text = _SITE.format(case.text)
    found = _first(text, case.symptom, status=case.status)

    assert found is not None
    assert (found.code, text.splitlines()[found.line - 1]) == (case.code, case.line)


_SOUND = (
    "RewriteEngine On\nRewriteCond %{HTTP_USER_AGENT} (wget|curl) [NC]\nRewriteRule ^ - [F]\n"
    + _WS,
    f"RewriteEngine On\n{_UP}RewriteRule /(.*) ws://127.0.0.1:9101/$1 [P,L]",
    f"RewriteEngine On\n{_UP}RewriteRule .* ws://127.0.0.1:9101%{{REQUEST_URI}} [P]",
    f"LimitRequestFields 100\nRequestHeader set X-Forwarded-Proto http\n{_WS}",
    (
        "<Proxy balancer://wsc>\nBalancerMember ws://127.0.0.1:9101\n</Proxy>\n"
        "ProxyPass /ws balancer://wsc/ws"
    ),
    '<LocationMatch "^/ws$">\nProxyPassMatch ws://127.0.0.1:9101\n</LocationMatch>',
)


@pytest.mark.parametrize("text", _SOUND)
def test_their_twins_are_not_blamed(text: str) -> None:
    state = apache(_SITE.format(text))
    found = faults(state, name="app.test", port=80, path="/ws", tls=False)
    blamed = {"upgrade-not-forwarded", "wrong-route", "page-instead", "connection-dropped"}
    reported = [each for each in found if each.explains & blamed and not each.statuses]
    way = served(state, name="app.test", port=80, path="/ws", tls=False)

    assert [each.code for each in reported if each.code != "idle-cut"] == []
    assert way is not None
    assert way.upstreams
    assert way.path_at_service == "/ws"


@pytest.mark.parametrize("more", ["AllowOverride All", "Options None\nAllowOverride FileInfo"])
def test_folders_that_may_have_rules_are_not_said_to_serve_files(more: str) -> None:
    folder = "<Directory /var/www/app>\n{}\n</Directory>"
    assert _first(_SITE.format(folder.format("AllowOverride None")), "wrong-route") is not None
    assert _first(_SITE.format(folder.format(more)), "wrong-route") is None


def test_a_site_for_one_address_is_asked_there() -> None:
    text = _SITE.format(_WS).replace("*:80", "192.0.2.7:80")
    way = served(apache(text), name="app.test", port=80, path="/ws", tls=False)
    assert way is not None
    assert way.own_address == "192.0.2.7"


def test_what_is_by_address_says_so() -> None:
    text = _SITE.format(f"<Location /ws>\nRequire ip 192.0.2.0/24\n</Location>\n{_WS}")
    found = _first(text, "origin-blocked", status=403)
    assert found is not None
    assert found.is_by_address
    assert _first(text, "origin-blocked", status=404) is not found
