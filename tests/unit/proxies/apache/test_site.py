"""What Apache gets for sites: golden files, and the values that the templates print."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.errors import SourceError
from deployer.proxies.apache import site as apache_site
from deployer.sites.model import Rate, Route, Site, Upstream
from tests.support.sites import apache_case
from tests.support.sites.site_case import site

WS = {"path": "/ws", "websocket": "http://127.0.0.1:3000"}


def text(*routes: dict[str, object], **options: object) -> str:
    fields = {"domain": "example.com", **options}
    return apache_case.render(site(**fields, routes=list(routes)))


def section(config: str, head: str) -> str:
    """The lines of one section, without those that begin and end it."""
    found = re.search(rf"^    <{re.escape(head)}>\n(.*?)^    </", config, re.DOTALL | re.MULTILINE)
    assert found, head
    return found[1]


@pytest.mark.parametrize("path", apache_case.CASES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    rendered = apache_case.render(*apache_case.load(path))
    expected = apache_case.golden(path)
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()


@pytest.mark.parametrize("path", apache_case.CASES, ids=lambda path: path.stem)
def test_no_litter(path: Path) -> None:
    config = apache_case.golden(path).read_text()
    assert "\n\n\n" not in config
    assert not re.search(r"\n\n *</", config)
    assert not any(line != line.rstrip() for line in config.splitlines())
    assert config.endswith("</VirtualHost>\n")


@pytest.mark.parametrize("path", apache_case.CASES, ids=lambda path: path.stem)
def test_every_section_ends_and_every_pool_is_there_once(path: Path) -> None:
    config = apache_case.golden(path).read_text()
    opened: list[str] = []
    for end, word in re.findall(r"^ *<(/?)(\w+)", config, re.MULTILINE):
        if end:
            assert opened.pop() == word
        else:
            opened.append(word)
    assert opened == []
    pools = re.findall(r'<Proxy "balancer://([^"]+)"', config)
    assert len(pools) == len(set(pools))
    used = re.findall(r'ProxyPass\w*  "balancer://([a-z0-9]+)', config)
    assert {pool.partition("-")[0] for pool in pools} == set(used)


@pytest.mark.parametrize("path", apache_case.CASES, ids=lambda path: path.stem)
def test_every_rule_that_a_location_asks_for_is_there(path: Path) -> None:
    config = apache_case.golden(path).read_text()
    asked = set(re.findall(r"Require +env (\w+)", config))
    assert asked == set(re.findall(r'#i" +(\w+)$', config, re.MULTILINE))


def test_locations_come_shortest_first_and_exact_after_prefix() -> None:
    config = text(
        {**WS, "path": "/ws/chat/"},
        {**WS, "match": "exact"},
        WS,
        {**WS, "path": "/"},
    )
    locations = re.findall(r'<Location(?:Match)? "([^"]+)"', config)
    assert locations == ["/", "/ws", "^/ws$", "/ws/chat"]


def test_routes_that_reach_a_service_alike_share_its_worker() -> None:
    config = text(WS, {**WS, "path": "/cable"}, {**WS, "path": "/other", "strip_prefix": True})
    assert "balancer" not in config


def test_a_route_with_other_options_has_a_pool_of_its_own() -> None:
    plain = {"path": "/", "upstream": "http://127.0.0.1:3000"}
    config = text(plain, WS, {**WS, "path": "/cable"})
    assert "upgrade=" not in section(config, 'Proxy "balancer://root"')
    assert '"balancer://root/"' in section(config, 'Location "/"')
    assert "upgrade=websocket" in section(config, 'Location "/ws"')


def test_sockets_are_distinguished() -> None:
    routes = [{"path": f"/{name}", "websocket": f"unix:/run/{name}.sock"} for name in "ab"]
    hosts = re.findall(r"\|http://([^/]+)/", text(*routes))
    assert len(hosts) == len(set(hosts)) == 2


@pytest.mark.parametrize("count", [2, 3, 5, 16])
def test_every_client_has_one_service_and_all_others_behind_it(count: int) -> None:
    urls = [f"http://127.0.0.1:{4000 + number}" for number in range(count)]
    config = text({"path": "/", "websocket": urls})
    classes = re.findall(r'/\^\[(\w+)\]/"  service_of_\d+=(\d+)', config)
    assert "".join(digits for digits, _ in classes) == "0123456789abcdef"
    assert [int(number) for _, number in classes] == list(range(1, count + 1))
    assert max(len(digits) for digits, _ in classes) - min(len(d) for d, _ in classes) <= 1
    for number in range(count):
        pool = section(config, f'Proxy "balancer://root-{number + 1}"')
        assert re.findall(r'Member  "([^"]+)"', pool) == urls[number:] + urls[:number]
        assert re.findall(r"lbset=(\d+)", pool) == [str(turn) for turn in range(1, count)]


def test_a_location_within_one_that_has_a_rule_is_ruled_by_its_own() -> None:
    config = text(
        {**WS, "path": "/"},
        {**WS, "path": "/open", "origins": ["any"]},
        {"path": "/plain", "upstream": "http://127.0.0.1:3001"},
        {"path": "/files", "root": "/srv"},
    )
    assert "Require    env may_connect" in section(config, 'Location "/"')
    for path in ("/open", "/plain"):
        assert "Require    all granted" in section(config, f'Location "{path}"')
    # Granting all would show .htpasswd.
    assert r"%{REQUEST_URI} !~ m#/\.ht#" in section(config, 'Location "/files"')


def test_nothing_is_granted_where_nothing_was_refused() -> None:
    assert "Require" not in section(text({**WS, "origins": ["any"]}), 'Location "/ws"')
    config = text({"path": "/", "root": "/srv/www"}, WS)
    assert 'Location "/"' not in config
    assert '    Alias  "/"  "/srv/www/"\n' in config


@pytest.mark.parametrize(
    ("timeouts", "expected"), [([3600.0], 60), ([3600.0, 2.5], 3), ([0.2], 1), ([30.0, 20.0], 20)]
)
def test_the_timeout_of_the_site_is_no_longer_than_that_of_a_route(
    timeouts: list[float], expected: int
) -> None:
    routes = [
        {"path": f"/{number}", "websocket": "http://127.0.0.1:1", "idle_timeout_s": timeout}
        for number, timeout in enumerate(timeouts)
    ]
    assert re.findall(r"^    Timeout +(\d+)$", text(*routes), re.MULTILINE) == [str(expected)]


def test_a_site_of_an_address_comes_first_and_wildcards_last() -> None:
    sites = [
        site(domain="192.0.2.1", routes=[WS]),
        site(domain="example.com", routes=[WS]),
        site(domain="zz9.example", routes=[WS]),
        site(domain="*.a.example.com", routes=[WS]),
        site(domain="a.example.org", aliases=["*.example.org"], routes=[WS]),
    ]
    links = [str(apache_site.view(each)["link"]) for each in sites]
    assert links[1] == "example.com"
    assert [f"{link}.conf" for link in links] == sorted([f"{link}.conf" for link in links])
    assert links[0] < "000-default"


def test_bodies_without_a_limit() -> None:
    assert "Content-Length" in text(WS)
    config = text(WS, max_body_bytes=None)
    assert "LimitRequestBody     0\n" in config
    assert "Content-Length" not in config


def test_websockets_over_http2_only_where_asked_for() -> None:
    of_a_site = site(domain="example.com", routes=[WS])
    assert "H2WebSockets" not in apache_case.render(of_a_site)
    asked: dict[str, object] = {"apache_http2_websockets": True}
    assert "    H2WebSockets            on\n" in apache_case.render(of_a_site, asked)
    assert "H2WebSockets" not in apache_case.render(
        of_a_site, {**asked, "apache_version": "2.4.59"}
    )


def test_modules_are_those_that_are_needed() -> None:
    def modules(*sites: Site) -> set[str]:
        found = apache_site.more_vars(sites)["apache_modules"]
        assert isinstance(found, list)
        return set(found)

    bare = site(domain="a.example", tls={"issuer": "none"}, routes=[WS])
    assert not {"ssl.load", "http2.load", "proxy_balancer.load"} & modules(bare)
    secure = site(domain="b.example", routes=[{**WS, "websocket": ["http://h:1", "http://h:2"]}])
    assert {"ssl.load", "http2.load", "slotmem_shm.load"} <= modules(bare, secure)


@pytest.mark.parametrize(("connections", "processes"), [(1024, 16), (1, 1), (65, 2)])
def test_there_are_places_for_processes_of_before(connections: int, processes: int) -> None:
    config = apache_case.template("shared.conf.j2", apache_max_connections=connections)
    assert f"    ServerLimit        {processes * 8}\n" in config
    assert f"    MaxRequestWorkers  {processes * 64}\n" in config


@pytest.mark.parametrize(
    "fields",
    [
        {"path": '/ws" x'},
        {"path": "/ws>"},
        {"path": "/w s"},
        {"path": "/ws\n"},
        {"path": "/${HOME}"},
        {"path": "/%{HTTP_HOST}"},
        {"path": "ws"},
        {"path": "/ws", "origins": ('https://a"b.example',)},
        {"path": "/ws", "origins": ("https://a#b.example",)},
        {"path": "/ws", "origins": ("https://a.example\n",)},
        {"path": "/", "upstreams": (Upstream(host='127.0.0.1"', port=1),)},
        {"path": "/", "upstreams": (Upstream(socket="/run/a b.sock"),)},
        {"path": "/", "upstreams": (Upstream(socket="/run/a|b.sock"),)},
        {"path": "/", "upstreams": (), "websocket": False, "root": '/srv"'},
    ],
)
def test_values_that_would_change_the_meaning_are_refused(fields: dict[str, object]) -> None:
    upstreams = (Upstream(host="127.0.0.1", port=1),)
    route = Route(**{"websocket": True, "upstreams": upstreams, **fields})  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="is not allowed there"):
        apache_site.view(Site(domain="example.com", routes=(route,)))


def test_what_apache_cannot_do() -> None:
    urls = [f"http://127.0.0.1:{number}" for number in range(1, 18)]
    with pytest.raises(SourceError, match="has 17 upstreams, and Apache can choose from 16"):
        text({"path": "/", "upstream": urls})
    with pytest.raises(SourceError, match="has a star"):
        text({"path": "/a*", "upstream": "http://127.0.0.1:1"})
    with pytest.raises(SourceError, match="does not collect the answers of /"):
        text({"path": "/", "upstream": "http://127.0.0.1:1", "buffering": True})
    with pytest.raises(SourceError, match="cannot limit the rate of requests to /"):
        text(
            {
                "path": "/",
                "upstream": "http://127.0.0.1:1",
                "request_rate": Rate(count=1, seconds=1),
            }
        )
    mine = site(domain="a.example.com", routes=[{"path": "/", "upstream": "http://127.0.0.1:1"}])
    limited = replace(mine.routes[0].upstreams[0], max_conns=5)
    mine = replace(mine, routes=(replace(mine.routes[0], upstreams=(limited,)),))
    with pytest.raises(SourceError, match="cannot limit the connections to http"):
        apache_site.view(mine)
    with pytest.raises(SourceError, match="mix http and https"):
        text({"path": "/", "upstream": ["http://127.0.0.1:1", "https://127.0.0.1:2"]})


@pytest.fixture
def drain(tmp_path: Path) -> Path:
    """The program, and a systemd-run before all others that records its arguments."""
    recorder = tmp_path / "systemd-run"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    recorder.chmod(0o755)
    return apache_case.ROLE / "files/apache-drain"


def test_drain_names_the_children_and_ends_only_those(drain: Path, tmp_path: Path) -> None:
    sleep = ["sleep", "60"]
    with subprocess.Popen(sleep) as old, subprocess.Popen(sleep) as other:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MAINPID": str(os.getpid())}
        asked = subprocess.run(
            ["sh", drain, "after", "60"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
        assert asked[asked.index("end") - 1] == str(drain)
        named = {pair.split(":")[0]: pair for pair in asked if re.fullmatch(r"\d+:\d+", pair)}
        assert {str(old.pid), str(other.pid)} <= set(named)
        # Its pid, but started at another time: it is another process by now.
        mistaken = f"{other.pid}:1"
        subprocess.run(["sh", drain, "end", named[str(old.pid)], mistaken, "4194305:7"], check=True)
        assert old.wait(10) == -9
        assert other.poll() is None
        other.kill()


def test_a_name_that_the_wildcard_of_an_earlier_site_would_take() -> None:
    first = site(domain="b.com", aliases=["*.b.com"], proxy="apache", tls={"issuer": "none"})
    second = site(
        domain="z.com", aliases=["www.b.com", "*.a.com"], proxy="apache", tls={"issuer": "none"}
    )
    with pytest.raises(SourceError, match=r"a name of z\.com from the wildcard of b\.com"):
        apache_site.more_vars([first, second])
    assert apache_site.more_vars([first])
