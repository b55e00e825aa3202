"""Processes that occupy the ports of sites."""

from __future__ import annotations

import pytest

from deployer.model import Resource
from deployer.plan.ports import Listener, port_conflicts
from tests.support.sites import site_case as cases

ROUTES = [{"path": "/ws", "websocket": "http://127.0.0.1:1"}]
SECURE = cases.site(domain="example.com", proxy="haproxy", routes=ROUTES)
PLAIN = cases.site(domain="example.com", proxy="haproxy", tls={"issuer": "none"}, routes=ROUTES)
CADDY = Listener(port=443, pid=612, process="caddy", unit="caddy")
NGINX = Listener(port=80, pid=700, process="nginx", unit="nginx")


def words(*listeners: Listener, sites: object = (SECURE,), **given: object) -> str:
    fields = {"served_by": (), "resources": (), **given}
    return port_conflicts(sites, listeners=listeners, **fields)  # type: ignore[arg-type]


def stopping(unit: str) -> Resource:
    return Resource(kind="service", name=unit, attributes={"active": False, "enabled": False})


def test_an_unknown_process_is_named_with_its_unit() -> None:
    found = words(CADDY)
    assert found.startswith("port 443 is held by caddy (process 612 of caddy.service)\n")
    assert "Nothing was changed." in found
    assert "service: {name: caddy, state: stopped, enabled: false}" in found


def test_a_process_without_a_unit() -> None:
    found = words(Listener(port=80, pid=9, process="python3", unit=""))
    assert "port 80 is held by python3 (process 9)" in found
    assert "Stop it" in found


def test_a_proxy_in_a_different_unit() -> None:
    assert "of mine.service" in words(Listener(port=80, pid=9, process="haproxy", unit="mine"))


def test_a_site_with_its_own_port_needs_no_other() -> None:
    about = {"domain": "example.com", "proxy": "haproxy", "routes": ROUTES, "port": 8443}
    assert words(CADDY, NGINX, sites=(cases.site(**about),)) == ""
    held = Listener(port=8443, pid=9, process="java", unit="tomcat")
    assert "port 8443 is held by java" in words(held, sites=(cases.site(**about),))
    acme = cases.site(**about, tls={"issuer": "letsencrypt"})
    assert "port 80 is held by nginx" in words(NGINX, sites=(acme,))


def test_all_ports_are_named() -> None:
    found = words(NGINX, CADDY)
    assert "port 80 is held by nginx" in found
    assert "port 443 is held by caddy" in found


def test_a_proxy_that_deployer_did_not_set_up_is_left_alone() -> None:
    assert "It was not set up by deployer" in words(NGINX)


@pytest.mark.parametrize(
    ("listener", "given"),
    [
        (NGINX, {"served_by": ("nginx",)}),
        (NGINX, {"resources": (stopping("nginx"),)}),
        (NGINX, {"resources": (stopping("nginx.service"),)}),
        (CADDY, {"resources": (Resource(kind="package", name="caddy", attributes=None),)}),
        (CADDY, {"sites": (PLAIN,)}),
        (CADDY, {"sites": ()}),
        (Listener(port=443, pid=1, process="haproxy", unit="haproxy"), {}),
        (Listener(port=443, pid=1, process="haproxy", unit=""), {}),
    ],
)
def test_no_conflict(listener: Listener, given: dict[str, object]) -> None:
    assert words(listener, **given) == ""


def test_a_unit_that_the_plan_starts_is_a_conflict() -> None:
    running = Resource(kind="service", name="caddy", attributes={"active": True})
    assert words(CADDY, resources=(running,)) != ""
