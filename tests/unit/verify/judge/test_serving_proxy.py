"""`verify` names the proxy that serves, and fails if it is not the playbook's."""

from __future__ import annotations

from deployer.plan.ports import Listener
from deployer.verify.judge.serving_proxy import proxy_checks
from tests.support.sites import site_case as cases

ROUTES = [{"path": "/ws", "websocket": "http://127.0.0.1:1"}]
SITE = cases.site(domain="example.com", proxy="nginx", routes=ROUTES)


def listener(port: int, name: str, unit: str | None = None) -> Listener:
    return Listener(port=port, pid=812, process=name, unit=name if unit is None else unit)


def test_the_playbooks_proxy_serves() -> None:
    (check,) = proxy_checks([SITE], [listener(80, "nginx"), listener(443, "nginx")])
    assert check.ok
    assert check.detail == "nginx (process 812 of nginx.service) serves ports 80 and 443"


def test_a_different_proxy_serves() -> None:
    (check,) = proxy_checks([SITE], [listener(80, "haproxy"), listener(443, "haproxy")])
    assert not check.ok
    assert check.finding is not None
    assert check.finding.code == "other-proxy"
    assert check.finding.symptom == (
        "ports 80 and 443 of example.com: HAProxy (process 812 of haproxy.service) serves,"
        " not nginx"
    )


def test_a_different_proxy_on_one_of_two_ports() -> None:
    (check,) = proxy_checks([SITE], [listener(80, "nginx"), listener(443, "apache2")])
    assert check.detail == "Apache (process 812 of apache2.service) serves port 443, not nginx"


def test_a_program_that_is_no_proxy_and_one_without_a_unit() -> None:
    (check,) = proxy_checks([SITE], [listener(443, "caddy"), listener(80, "nginx", "")])
    assert "caddy (process 812 of caddy.service) serves port 443" in check.detail
    (check,) = proxy_checks([SITE], [listener(80, "nginx", ""), listener(443, "nginx", "")])
    assert check.ok


def test_the_proxy_in_a_unit_of_a_different_name() -> None:
    assert all(c.ok for c in proxy_checks([SITE], [listener(443, "nginx", "web")]))


def test_two_proxies_on_one_port_are_both_named() -> None:
    (check,) = proxy_checks([SITE], [listener(443, "nginx"), listener(443, "haproxy")])
    assert check.ok
    assert "next to it HAProxy" in check.detail


def test_nothing_listens() -> None:
    assert proxy_checks([SITE], []) == ()
