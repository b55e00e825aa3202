"""How proxies verify the certificates of services, and which settings one of them cannot have."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from deployer.errors import SourceError
from deployer.proxies.apache import site as apache
from deployer.proxies.haproxy import site as haproxy
from deployer.sites.model import Route, Site, Upstream
from deployer.sites.served_file import served_part
from deployer.sites.upstream_tls import SYSTEM_CAS, tls_view
from deployer.sites.values import View

SECURE = Upstream(host="127.0.0.1", port=8443, tls=True)


def _site(*upstreams: Upstream) -> Site:
    return Site(domain="a.example.com", routes=(Route(path="/", upstreams=upstreams),))


def _routes(view: View) -> list[View]:
    return cast("list[View]", view["routes"])


@pytest.mark.parametrize(
    ("upstream", "name"),
    [
        (replace(SECURE, host="app.internal"), ""),
        (replace(SECURE, host="app.internal", verify="system"), "app.internal"),
        (replace(SECURE, verify="system"), ""),
        (replace(SECURE, host="::1", verify="system"), ""),
        (replace(SECURE, verify="system", sni="b.internal"), "b.internal"),
        (replace(SECURE, sni="b.internal"), "b.internal"),
    ],
)
def test_the_name_of_an_upstream(upstream: Upstream, name: str) -> None:
    assert upstream.tls_name == name


def test_upstreams_that_differ_are_refused() -> None:
    given = (SECURE, replace(SECURE, port=8444, verify="system"))
    with pytest.raises(SourceError, match="differ in how their certificates are verified"):
        tls_view(_site(*given).routes[0], "/x.pem")


def test_apache_refuses_names_that_it_does_not_send() -> None:
    for refused in (
        replace(SECURE, sni="app.internal"),
        replace(SECURE, host="app.internal", verify="system"),
    ):
        with pytest.raises(SourceError, match="Apache cannot ask https://"):
            apache.view(_site(refused))
    named = _site(replace(SECURE, verify="system", sni="a.example.com"))
    assert _routes(apache.view(named))[0]["ca_file"] == SYSTEM_CAS
    with pytest.raises(SourceError, match="Apache cannot ask"):
        apache.view(replace(named, aliases=("b.example.com",)))


def test_the_site_of_another_playbook_keeps_its_verification() -> None:
    own = _site(replace(SECURE, verify="file", ca="PEM", sni="app.internal"))
    mine, theirs = (_routes(haproxy.view(each))[0] for each in (own, served_part(own)))
    assert mine == {**theirs, "ca": "PEM"}
    assert theirs["ca"] is None
    assert theirs["ca_file"] == "/etc/haproxy/deployer/cas/a.example.com.root.pem"
