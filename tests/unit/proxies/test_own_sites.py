"""Sites as they are made here, read as those of strangers: each route leads where it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployer.proxies.apache.inspect import faults as apache_faults
from deployer.proxies.apache.inspect import served as apache_served
from deployer.proxies.haproxy.inspect import faults as haproxy_faults
from deployer.proxies.haproxy.inspect import served as haproxy_served
from deployer.proxies.inspect.model import Fault, ProxyState, Served
from deployer.sites.model import Route, Site
from tests.support.proxies.recorded import apache, haproxy
from tests.support.sites import apache_case, haproxy_case

_READERS = {
    "apache": (apache_served, apache_faults),
    "haproxy": (haproxy_served, haproxy_faults),
}
#: Codes that would be wrong for any fault of our own sites.
_NEVER = frozenset(
    {
        *("upgrade-not-forwarded", "wrong-route", "page-instead", "bad-gateway", "redirected"),
        *("host-rewritten", "h2c-tunnel", "forwarded-for-appended", "redirect-loop"),
        *("tls-old-version", "drain-cut"),
    }
)


def _asked(state: ProxyState, site: Site, route: Route) -> tuple[Served | None, tuple[Fault, ...]]:
    served, faults = _READERS[state.proxy]
    name = site.domain.replace("*.", "any.", 1)
    port = 443 if site.has_tls else 80
    way = served(state, name=name, port=port, path=route.path, tls=site.has_tls)
    return way, faults(state, name=name, port=port, path=route.path, tls=site.has_tls)


def _check(state: ProxyState, site: Site) -> None:
    for route in site.routes:
        if not route.websocket:
            continue
        way, found = _asked(state, site, route)
        assert way is not None, route.path
        assert set(way.upstreams) == set(route.upstreams), route.path
        assert way.path_at_service == ("/" if route.strip_prefix else route.path)
        assert way.idle_timeout_s is not None
        assert way.idle_timeout_s == pytest.approx(route.idle_timeout_s, abs=1)  # whole seconds
        never = _NEVER - {"page-instead"} if route.strip_prefix else _NEVER
        assert not [fault for fault in found if fault.explains & never], route.path
        assert not [fault for fault in found if fault.stands_alone], route.path


@pytest.mark.parametrize("path", apache_case.CASES, ids=lambda path: path.stem)
def test_apache(path: Path) -> None:
    site, variables = apache_case.load(path)
    if site.tls.issuer != "none" and "certificate" in variables.get("absent", ()):
        pytest.skip("challenges alone")

    text = "Define DOLLAR $\n" + apache_case.render(site, variables)  # that is in a shared file
    _check(apache(text), replace(site, proxy="apache"))


@pytest.mark.parametrize("path", haproxy_case.CASES, ids=lambda path: path.stem)
def test_haproxy(path: Path) -> None:
    sites, variables = haproxy_case.load(path)

    for site in sites:
        state = haproxy(haproxy_case.render(sites, variables))
        _check(state, replace(site, proxy="haproxy"))
