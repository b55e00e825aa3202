"""Redirects of services that are rewritten, as the patterns that all proxies get."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deployer.errors import SourceError
from deployer.sites.locations import location_view
from deployer.sites.model import Route, Site, Tls, Upstream

SERVICE = Upstream(host="127.0.0.1", port=3000)


def rewritten(location: str, *, upstream: Upstream = SERVICE, **site: Any) -> str:
    route = Route(path="/app", upstreams=(upstream,), rewrite_location=True)
    settings = {"domain": "a.example", "tls": Tls(issuer="internal"), **site}
    view: Any = location_view(Site(routes=(route,), **settings), route)["location"]
    found = re.search(view["pattern"], location)
    return location if found is None else view["to"] + found[1]


@pytest.mark.parametrize(
    ("location", "about", "expected"),
    [
        ("https://a.example/x", {}, "/x"),
        ("http://a.example/x", {}, "/x"),
        ("https://a.example:8443/x", {}, "https://a.example:8443/x"),
        ("https://a.example:8443/x", {"port": 8443}, "/x"),
        ("https://a.example/x", {"tls": Tls()}, "https://a.example/x"),
        ("https://a.example/x", {"aliases": ("b.example",)}, "https://a.example/x"),
        (
            "https://a.example/x",
            {"aliases": ("b.example",), "redirects": (("b.example", "a.example"),)},
            "/x",
        ),
        ("http://[::1]:3000/x", {"upstream": Upstream(host="::1", port=3000)}, "/x"),
        ("http://localhost/x", {"upstream": Upstream(socket="/run/a.sock")}, "/x"),
        ("https://app.lan/x", {"upstream": Upstream(host="app.lan", port=443, tls=True)}, "/x"),
        ("http://127.0.0.1:30001/x", {}, "http://127.0.0.1:30001/x"),
    ],
)
def test_addresses_of_the_site_itself(location: str, about: dict[str, Any], expected: str) -> None:
    assert rewritten(location, **about) == expected


def test_a_prefix_that_is_different_for_each_request() -> None:
    route = Route(
        path="/{room}/app", upstreams=(SERVICE,), rewrite_location=True, strip_prefix=True
    )
    with pytest.raises(SourceError, match="different for each request"):
        location_view(Site(domain="a.example", routes=(route,)), route)
