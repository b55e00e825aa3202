"""A site as a file on its host: what comes back is what the proxy serves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.proxies import PROXIES
from deployer.sites.document import sites_from_json, sites_to_json
from deployer.sites.model import AuthRequest, Clients, Cors, Headers, Rate, Redirect, Site
from deployer.sites.served_file import served_part, site_of, sites_in, text_of
from tests.support.sites import haproxy_case
from tests.support.sites.site_case import site

WS = {"path": "/ws", "websocket": ["http://127.0.0.1:3000", "unix:/run/x.sock"], "root": None}


def without_places(part: Site) -> Site:
    return site_of(text_of(part))


@pytest.mark.parametrize("path", haproxy_case.CASES, ids=lambda path: path.stem)
def test_every_proxy_serves_the_same_from_the_file(path: Path) -> None:
    for each in haproxy_case.load(path)[0]:
        for server in PROXIES.values():
            assert server.views.view(served_part(each)) == server.views.view(each)


def test_every_value_that_a_proxy_serves_is_in_the_file() -> None:
    full = site(
        domain="a.example.com",
        aliases=["b.example.com"],
        proxy="haproxy",
        tls={
            "issuer": "letsencrypt",
            "hsts_s": 600,
            "challenge": "dns-01",
            "email": "me@x.example",
        },
        drain_s=None,
        max_body_bytes=None,
        underscores_in_headers=True,
        echo="/ws",
        routes=[
            {
                **WS,
                "origins": ["any"],
                "require_origin": True,
                "idle_timeout_s": 2.5,
                "login": True,
            },
            {"path": "/x", "match": "exact", "root": "/srv", "strip_prefix": True},
        ],
    )
    found = site_of(text_of(full))
    for name in (
        "domain",
        "aliases",
        "proxy",
        "drain_s",
        "max_body_bytes",
        "underscores_in_headers",
    ):
        assert getattr(found, name) == getattr(full, name)
    assert (found.tls.issuer, found.tls.hsts_s, found.tls.challenge) == (
        "letsencrypt",
        600,
        "dns-01",
    )
    assert [route.upstreams for route in found.routes] == [each.upstreams for each in full.routes]
    assert (found.routes[0].origins, found.routes[0].require_origin) == (("any",), True)
    assert (found.routes[1].match, found.routes[1].root) == ("exact", "/srv")
    assert "me@x.example" not in text_of(full)


def test_the_text_is_the_same_from_the_playbook_and_from_the_host() -> None:
    one = site(domain="a.example.com", proxy="haproxy", routes=[WS])
    assert text_of(site_of(text_of(one))) == text_of(one)


_GOOD = json.loads(text_of(site(domain="a.example.com", proxy="haproxy", routes=[WS])))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "the key 'colour' is unknown"),
        ({"proxy": "caddy"}, "'proxy' cannot be 'caddy'"),
        ({"drain_s": "1h"}, "'drain_s' cannot be '1h'"),
        ({"drain_s": True}, "'drain_s' cannot be 'True'"),
        ({"aliases": [1]}, "'aliases' cannot be"),
        ({"aliases": "x"}, "'aliases' cannot be"),
        ({"tls": None}, "'tls' cannot be"),
        ({"tls": {"issuer": 1}}, "'issuer' cannot be '1'"),
        ({"routes": {}}, "'routes' cannot be"),
        ({"routes": [1]}, "a mapping is missing"),
        ({"routes": [{}]}, "path"),
        ({"routes": [{"path": "/", "match": "some"}]}, "'match' cannot be 'some'"),
        ({"routes": [{"path": "/", "upstreams": [{"port": "1"}]}]}, "'port' cannot be '1'"),
        ({"domain": 5}, "'domain' cannot be '5'"),
    ],
)
def test_what_this_version_does_not_know_is_refused(changes: dict[str, object], words: str) -> None:
    text = json.dumps({**_GOOD, "site": {**_GOOD["site"], **changes}})
    with pytest.raises(ValueError, match=words):
        site_of(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "null", '{"site": 1}', "[" * 100_000])
def test_another_file_is_no_site(text: str) -> None:
    path = "/etc/haproxy/deployer/sites/x.json"
    with pytest.raises(UsageError, match=f"{path} is not a site"):
        sites_in({path: text})


def test_settings_of_routes_are_the_same_from_the_playbook_and_from_the_host() -> None:
    headers = Headers(set=(("X-A", "b"),), remove=("X-B",))
    routes = [
        {**WS, "request_headers": headers, "response_headers": headers, "allow": ("10.0.0.0/8",)},
        {"path": "/old", "redirect": Redirect(to="/new", code=301)},
        {"path": "/app", "root": "/srv", "spa": True, "index": "main.html", "deny": ("10.0.0.1",)},
        {
            "path": "/api",
            "upstream": "http://127.0.0.1:1",
            "buffering": True,
            "timeout_s": 5.0,
            "max_body_bytes": 0,
            "users": (("alice", "$6$salt$hash"),),
            "request_rate": Rate(count=1, seconds=1),
            "handshake_rate": Rate(count=2, seconds=60),
            "auth": AuthRequest(host="127.0.0.1", port=9091, path="/a", headers=("X-User",)),
            "cors": Cors(origins=("https://a.example",), methods=("PUT",), credentials=True),
        },
    ]
    full = site(
        domain="a.example.com",
        aliases=["b.example.com"],
        redirects=(("b.example.com", "a.example.com"),),
        tls={"issuer": "internal", "clients": Clients(ca="x", verify="optional", key="/k")},
        trusted_proxies=("10.0.0.0/8",),
        gzip=True,
        routes=routes,
    )
    found = site_of(text_of(full))
    assert [replace(each, source=None) for each in full.routes] == list(found.routes)
    assert (found.redirects, found.trusted_proxies) == (full.redirects, full.trusted_proxies)
    assert found.gzip
    assert found.tls.clients == Clients(verify="optional")
    (stored,) = sites_from_json(json.loads(json.dumps(sites_to_json([full]))))
    assert stored.routes[1].redirect == full.routes[1].redirect
    assert stored.tls.clients == full.tls.clients
    assert stored.routes[3].auth == full.routes[3].auth
    assert stored.routes[0].allow == full.routes[0].allow
    assert "$6$" not in json.dumps(sites_to_json([full]))
