"""What nginx gets for a site: golden files, and the values that the template prints."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from deployer.errors import SourceError
from deployer.proxies.nginx import site as nginx_site
from deployer.sites.model import Route, Upstream
from tests.support.sites import site_case as cases


@pytest.mark.parametrize("path", cases.CASES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    site, variables = cases.load(path)
    rendered = cases.render(site, variables)
    expected = path.with_suffix(".conf")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()


@pytest.mark.parametrize("path", cases.CASES, ids=lambda path: path.stem)
def test_no_litter(path: Path) -> None:
    text = path.with_suffix(".conf").read_text()
    assert "\n\n\n" not in text
    assert "{\n\n" not in text
    assert "\n\n}" not in text
    assert "\n\n    }" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert text.endswith("}\n")


def test_routes_come_longest_first_and_exact_before_prefix() -> None:
    site = cases.site(
        domain="example.com",
        routes=[
            {"path": "/", "root": "/srv"},
            {"path": "/ws", "websocket": "http://127.0.0.1:1"},
            {"path": "/ws/chat/", "websocket": "http://127.0.0.1:2"},
            {"path": "/ws", "websocket": "http://127.0.0.1:3", "match": "exact"},
        ],
    )
    routes = nginx_site.view(site)["routes"]
    assert isinstance(routes, list)
    order = [(route["path"], route["exact"]) for route in routes]
    assert order == [("/ws/chat", False), ("/ws", True), ("/ws", False), ("/", False)]


def test_domains_never_share_a_prefix() -> None:
    domains = [
        "a.b.example",
        "a-b.example",
        "a--b.example",
        "ab.example",
        "1a.example",
        "x1a.example",
        "a-rather-long-name.of-a-department.example.com",
        "a-rather-long-name.of-a-department.example.org",
    ]
    for one, other in combinations(domains, 2):
        assert nginx_site.name_prefix(one) != nginx_site.name_prefix(other)


@pytest.mark.parametrize("domain", ["example.com", "-".join(["long"] * 12) + ".example.com"])
def test_names_of_variables_fit_into_the_hash_of_nginx(domain: str) -> None:
    site = cases.site(
        domain=domain,
        routes=[
            {"path": f"/long/path/number/{n}", "websocket": "http://127.0.0.1:1", "origins": [o]}
            for n, o in enumerate(["https://a.example", "https://b.example"] * 6)
        ],
    )
    rules = nginx_site.view(site)["origin_rules"]
    assert isinstance(rules, list)
    names = [rule["variable"] for rule in rules]
    assert len(names) == len(set(names)) == 2
    assert max(map(len, names)) <= 46


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(3600, "1h"), (86400, "24h"), (90, "90s"), (120, "2m"), (1.5, "1500ms"), (0.0001, "1ms")],
)
def test_duration(seconds: float, written: str) -> None:
    assert nginx_site.duration(seconds) == written


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "/ws; return 200"},
        {"path": "/ws{"},
        {"path": "/w s"},
        {"path": "/ws\n"},
        {"path": "/$host"},
        {"path": '/"'},
        {"path": "ws"},
        {"path": "/ws", "origins": ('https://a"b.example',)},
        {"path": "/ws", "origins": ("https://a.example; x",)},
        {"path": "/ws", "origins": ("https://a.example\n",)},
    ],
)
def test_values_that_would_change_the_meaning_are_refused(fields: dict[str, object]) -> None:
    route = Route(
        **{"websocket": True, "upstreams": (Upstream(host="127.0.0.1", port=1),), **fields}
    )
    site = cases.site(domain="example.com")
    with pytest.raises(SourceError, match="is not allowed there"):
        nginx_site.view(type(site)(domain="example.com", routes=(route,)))


@pytest.mark.parametrize(
    "upstreams",
    [
        (Upstream(host="127.0.0.1;", port=1),),
        (Upstream(socket="/run/a b.sock"),),
        (Upstream(socket="/run/a:b.sock"),),
    ],
)
def test_upstreams_that_would_change_the_meaning_are_refused(
    upstreams: tuple[Upstream, ...],
) -> None:
    site = cases.site(domain="example.com")
    routes = (Route(path="/", upstreams=upstreams),)
    with pytest.raises(SourceError, match="is not allowed there"):
        nginx_site.view(type(site)(domain="example.com", routes=routes))


def test_one_route_has_one_scheme() -> None:
    site = cases.site(
        domain="example.com",
        routes=[{"path": "/", "upstream": ["http://127.0.0.1:1", "https://127.0.0.1:2"]}],
    )
    with pytest.raises(SourceError, match="mix http and https"):
        nginx_site.view(site)


def test_two_addresses_on_one_host() -> None:
    sites = [cases.site(domain=f"192.0.2.{number}") for number in (1, 2)]
    with pytest.raises(SourceError, match="are both addresses"):
        nginx_site.more_vars(sites)
    assert nginx_site.more_vars(sites[:1])


def test_more_names_than_a_parameter_holds_are_in_a_map() -> None:
    aliases = [f"name-{number:03}.long-enough.example.com" for number in range(100)]
    text = cases.render(cases.site(domain="a.example.com", aliases=aliases), cases.HOST)
    lines = [line.strip() for line in text.splitlines()]
    assert r'"~*^(name-099\.long-enough\.example\.com) \1\.?(:[0-9]*)?$"  1;' in lines
    assert lines.count("if ($a_example_com_named = 0) {") == 2
    assert max(map(len, lines)) < 4096


def test_answers_are_collected_on_request() -> None:
    route = {"path": "/", "upstream": "http://127.0.0.1:1"}
    for buffering, times in ((False, 0), (True, 1)):
        site = cases.site(domain="example.com", routes=[{**route, "buffering": buffering}])
        text = cases.render(site, cases.HOST)
        assert text.count("proxy_buffering            off;") == 1
        assert text.count("proxy_buffering     on;") == times


def test_a_backup_needs_a_method_that_has_some() -> None:
    urls = [f"http://127.0.0.1:{number}" for number in (1, 2, 3)]
    for balance, method in (("source", None), ("round_robin", "round_robin")):
        site = cases.site(
            domain="example.com", routes=[{"path": "/", "upstream": urls, "balance": balance}]
        )
        first, second, third = site.routes[0].upstreams
        upstreams = (first, replace(second, max_conns=9), replace(third, backup=True))
        site = replace(site, routes=(replace(site.routes[0], upstreams=upstreams),))
        if method is None:
            with pytest.raises(SourceError, match="nginx has no backups"):
                nginx_site.view(site)
        else:
            text = cases.render(site, cases.HOST)
            assert "server     127.0.0.1:2 fail_timeout=1s max_conns=9;" in text
            assert "server     127.0.0.1:3 fail_timeout=1s backup;" in text
