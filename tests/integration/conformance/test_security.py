"""What strangers try on a site, as every verification does: these proxies let none of it pass."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from deployer.model import CheckResult
from deployer.sites.model import Route, Site, Tls, Upstream
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.options import ProxyAddress
from deployer.verify.planned.checks import planned_checks
from deployer.verify.run import run_checks
from tests.integration.conformance.test_http2 import has_rfc8441
from tests.integration.conformance.world import DOMAIN, World
from tests.support.waiting import PATIENCE_S, stretched

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

_KINDS = frozenset({"certificate", "old-tls", "banner", "h2c", "plain-get", "http2", "forged"})


def results_of(world: World) -> tuple[CheckResult, ...]:
    """Those checks alone, and straight to the host's address: they need nothing of the inside."""
    service = (Upstream(host="127.0.0.1", port=9101),)
    routes = (
        Route(path="/ws", websocket=True, upstreams=service),
        Route(path="/open", websocket=True, upstreams=service, origins=("any",)),
        Route(path="/plain", upstreams=service),
    )
    site = Site(
        domain=DOMAIN,
        proxy=world.front.proxy,
        tls=Tls(issuer="internal"),
        routes=routes,
        echo="/plain/headers",
    )
    checks = tuple(
        replace(check, prerequisite=None, peer=None, plain=None)
        for check in planned_checks(site, ProxyAddress(host=world.host.address))
        if check.kind in _KINDS
    )
    assert {check.kind for check in checks} >= _KINDS - {"banner"}

    def dial(*, host: str, port: int, timeout_s: float) -> socket.socket:
        return socket.create_connection((host, port), timeout=timeout_s)

    access = Access(
        dial=dial,
        timeout_s=stretched(10.0),
        until=Deadline(PATIENCE_S),
        roots_pem=world.root_pem.read_bytes(),
    )
    return run_checks(site, checks, access, patience_s=0.0, age_s=0.0, on_result=None)


def test_nothing_is_found(world: World) -> None:
    results = results_of(world)
    assert [result for result in results if not result.ok or result.finding] == []
    (forged,) = [result for result in results if result.name == "forged addresses dropped"]
    assert (forged.skipped, forged.detail) == (
        False,
        "the forged addresses do not reach the service",
    )
    over_http2 = [result.detail for result in results if result.name == "WebSocket over HTTP/2"]
    opened = "200 to CONNECT" if has_rfc8441(world.front) else "HTTP/2 without WebSockets"
    assert [detail.startswith(opened) for detail in over_http2] == [True, True], over_http2
    assert over_http2[0].endswith("403 to a foreign Origin") == has_rfc8441(world.front)
