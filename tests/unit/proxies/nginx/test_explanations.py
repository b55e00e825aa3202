"""The nginx configuration as the cause of failed checks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.model import CheckResult, Finding, HandshakeResult
from deployer.proxies.inspect import Inspection, ProxyState, explained, noticed
from deployer.sites.model import Route, Site, Tls
from tests.unit.proxies.nginx.test_inspect import APP, LOST, NAME, PASS, site, state_of

SITE = Site(
    domain=NAME,
    tls=Tls(issuer="internal"),
    routes=(Route(path="/ws", websocket=True, upstreams=(APP,)),),
)


def failed(code: str, *, hop: str = "proxy") -> CheckResult:
    finding = Finding(code=code, hop=hop, symptom="s", cause="c", fix="f")  # type: ignore[arg-type]
    return CheckResult(
        site=NAME,
        name="handshake",
        target="/ws",
        hop="proxy",
        ok=False,
        handshake=HandshakeResult(uri=f"wss://{NAME}/ws?token=x", hop="proxy"),
        finding=finding,
    )


def the_finding(state: ProxyState, result: CheckResult, site: Site = SITE) -> Finding:
    (explained_result,) = explained([result], Inspection(proxies=(state,)), site=site)
    assert explained_result.finding is not None
    return explained_result.finding


def test_a_symptom_gets_its_cause_and_its_line() -> None:
    state = state_of(site("location /ws {\nproxy_pass http://127.0.0.1:3000; }"))
    found = the_finding(state, failed("wrong-route"))
    assert (found.code, found.hop, found.symptom) == (LOST, "proxy", "s")
    assert found.file == "/etc/nginx/nginx.conf:9"
    assert "proxy_set_header Upgrade" in found.directive
    assert found.alternatives == ()


@pytest.mark.parametrize(("status", "code"), [(401, "login-required"), (404, "wrong-route")])
def test_a_login_explains_its_own_status_alone(status: int, code: str) -> None:
    state = state_of(site(f'location /ws {{ auth_basic "x"; {PASS} }}'))
    result = failed("wrong-route")
    assert result.handshake is not None
    answered = replace(result, handshake=replace(result.handshake, status_code=status))
    assert the_finding(state, answered).code == code


def test_the_other_scheme_at_the_same_address() -> None:
    turned = PASS.replace("http://127", "https://127")
    found = the_finding(state_of(site(f"location /ws {{ {turned} }}")), failed("bad-gateway"))
    assert found.code == "upstream-scheme"


def test_what_the_service_does_by_itself_stays_its() -> None:
    state = state_of(site("location /ws { proxy_pass http://127.0.0.1:3000; }"))
    result = failed("backend-not-websocket", hop="backend")
    assert the_finding(state, result) == result.finding


def test_where_nothing_explains_it_the_general_name_stays() -> None:
    state = state_of(site(f"location /ws {{ {PASS} }}"))
    found = the_finding(state, failed("wrong-route"))
    assert (found.code, found.cause, found.file) == ("wrong-route", "c", "")
    assert "shows no reason" in found.evidence


def test_another_address_than_the_playbook_says() -> None:
    elsewhere = PASS.replace(":3000", ":4000")
    found = the_finding(state_of(site(f"location /ws {{ {elsewhere} }}")), failed("bad-gateway"))
    assert found.code == "bad-gateway"
    assert "http://127.0.0.1:4000" in found.cause
    assert "http://127.0.0.1:3000" in found.cause
    assert found.file.startswith("/etc/nginx/nginx.conf:")


def test_a_proxy_that_is_not_there_explains_nothing() -> None:
    result = failed("wrong-route")
    assert explained([result], Inspection(), site=SITE) == (result,)


def test_what_no_check_has_seen_is_noticed() -> None:
    broken = state_of(site(""), test_ok=False, test_output="nginx: [emerg] x in /etc/a:1")
    (found,) = noticed(Inspection(proxies=(broken,)), site=SITE)
    assert (found.ok, found.hop) == (False, "proxy")
    assert found.finding is not None
    assert (found.finding.code, found.finding.file) == ("config-invalid", "/etc/a:1")
    good = state_of(site(f"location /ws {{ {PASS} }}"))
    assert noticed(Inspection(proxies=(good,)), site=SITE) == ()


def test_a_port_that_expects_the_header_of_a_balancer() -> None:
    text = site(f"location /ws {{ {PASS} }}")
    state = state_of(text.replace("listen 443 ssl;", "listen 443 ssl proxy_protocol;"))
    found = the_finding(state, failed("tls-failed"))
    assert (found.code, found.hop, found.directive) == (
        "connection-dropped",
        "proxy",
        "listen 443;",
    )
    behind = replace(SITE, trusted_proxies=("10.0.0.1",), proxy_protocol=True)
    assert the_finding(state, failed("tls-failed"), behind).code == "tls-failed"


def test_a_certificate_of_the_service_that_is_verified() -> None:
    secure = PASS.replace("http://127", "https://127") + "proxy_ssl_verify on; "
    secure += "proxy_ssl_trusted_certificate /etc/ca.pem; proxy_ssl_name app.internal;"
    state = state_of(site(f"location /ws {{ {secure} }}"))
    upstreams = (replace(APP, tls=True),)
    intended = replace(SITE, routes=(replace(SITE.routes[0], upstreams=upstreams),))
    found = the_finding(state, failed("bad-gateway"), intended)
    assert found.code == "upstream-certificate"
    assert "/etc/ca.pem signed it and it is for app.internal" in found.cause
    known = the_finding(state, failed("upstream-certificate", hop="backend"), intended)
    assert (known.cause, known.hop) == ("c", "backend")
    assert known.file
