"""What HAProxy gets for sites: golden files, and the values that the templates print."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from deployer.cli import main
from deployer.errors import SourceError
from deployer.proxies.haproxy import site as haproxy_site
from deployer.sites.model import Route, Site, Upstream
from tests.support.sites import haproxy_case
from tests.support.sites.site_case import site

WS = {"path": "/ws", "websocket": "http://127.0.0.1:3000"}


@pytest.mark.parametrize("path", haproxy_case.CASES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    rendered = haproxy_case.render(*haproxy_case.load(path))
    expected = haproxy_case.golden(path)
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()


@pytest.mark.parametrize("path", haproxy_case.CASES, ids=lambda path: path.stem)
def test_no_litter(path: Path) -> None:
    text = haproxy_case.golden(path).read_text()
    assert "\n\n\n" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("path", haproxy_case.CASES, ids=lambda path: path.stem)
def test_every_section_and_condition_that_is_named_is_there(path: Path) -> None:
    lines = haproxy_case.golden(path).read_text().splitlines()
    words = [line.split() for line in lines if line.strip()]
    sections = [word[1] for word in words if word[0] in ("frontend", "backend")]
    assert len(sections) == len(set(sections))
    used = {word[1] for word in words if word[0] in ("use_backend", "default_backend")}
    assert used | {"http", "https"} >= set(sections)
    assert used <= set(sections)
    # HAProxy's tokenizer takes at most 64 words a line.
    assert max(map(len, words)) <= 64


def text(*sites: Site, **options: Any) -> str:
    return haproxy_case.render(sites, options)


def certificates(*sites: Site) -> list[str]:
    rendered = haproxy_case.render(sites, template="certificates.j2")
    return [line for line in rendered.splitlines() if not line.startswith("#")]


def test_an_address_comes_first_for_clients_that_name_no_server() -> None:
    named = site(domain="a.example.com", aliases=["www.a.example.com"], routes=[WS])
    wild = site(domain="*.example.net", tls={"issuer": "letsencrypt"}, routes=[WS])
    address = site(domain="192.0.2.7", routes=[WS])
    plain = site(domain="plain.example.com", tls={"issuer": "none"}, routes=[WS])
    assert certificates(named, plain, wild, address) == [
        "/etc/haproxy/deployer/192.0.2.7.pem 192.0.2.7",
        "/etc/haproxy/deployer/_.example.net.pem *.example.net",
        "/etc/haproxy/deployer/a.example.com.pem a.example.com www.a.example.com",
    ]


def test_a_name_of_its_own_is_not_the_wildcard_s_wherever_it_is_asked_for() -> None:
    wild = site(domain="*.example.com", aliases=["example.com"], routes=[WS])
    deeper = site(domain="*.x.example.com", routes=[WS])
    own = site(domain="own.x.example.com", tls={"issuer": "none"}, routes=[WS])
    lines = [line.strip() for line in text(wild, deeper, own).splitlines()]
    where = "https://%[var(txn.host)]%[pathq]"
    moved = f"http-request redirect code 308 location {where} if"
    assert f"{moved} _.example.com !own.x.example.com !_.x.example.com" in lines
    assert f"{moved} _.x.example.com !own.x.example.com" in lines
    # Port 443 knows nothing of a site without TLS, so there it is the wildcard's.
    at_443 = [line for line in lines if line.startswith("use_backend _.x.example.com:ws")]
    assert at_443 == [
        "use_backend _.x.example.com:ws if _.x.example.com { var(txn.path) -m reg ^/ws(/|$) }"
    ]


def test_two_sites_within_each_other_s_wildcards_are_refused() -> None:
    one = site(domain="*.a.example", aliases=["x.b.example"], routes=[WS])
    other = site(domain="*.b.example", aliases=["x.a.example"], routes=[WS])
    with pytest.raises(SourceError, match="that the other's wildcard matches"):
        haproxy_site.more_vars([one, other])
    assert haproxy_site.more_vars([one, site(domain="x.a.example", routes=[WS])])


def test_before_the_certificate_challenges_alone_are_answered() -> None:
    new = site(domain="new.example.com", tls={"issuer": "letsencrypt"}, routes=[WS])
    wild = site(domain="*.example.com", tls={"issuer": "letsencrypt", "challenge": "dns-01"})
    views = [haproxy_site.view(wild), haproxy_site.bootstrap(new)]
    lines = haproxy_case.render([wild], views=views).splitlines()
    rules = [line.strip() for line in lines if "new.example.com" in line]
    moved = "http-request redirect code 308 location https://%[var(txn.host)]%[pathq] if"
    assert rules == [
        "acl new.example.com  var(txn.host) -m str new.example.com",
        f"{moved} _.example.com !new.example.com",
        "http-request deny deny_status 503 if new.example.com !acme_challenge",
        "use_backend challenges if new.example.com acme_challenge",
    ]
    assert "    server issuer 127.0.0.1:920" in lines


@pytest.mark.parametrize(
    ("drain_s", "line"),
    [(3600, "hard-stop-after  1h"), (90, "hard-stop-after  90s"), (None, None)],
)
def test_how_long_earlier_connections_live(drain_s: int | None, line: str | None) -> None:
    found = [
        each.strip()
        for each in text(site(domain="a.example", routes=[WS]), haproxy_drain_s=drain_s).split("\n")
        if "hard-stop-after" in each
    ]
    assert found == ([line] if line else [])


def test_sockets_of_services_are_within_reach() -> None:
    with_socket = {"path": "/", "websocket": "unix:/run/app/app.sock"}
    assert "chroot" in text(site(domain="a.example", routes=[WS]))
    found = text(site(domain="a.example", routes=[WS, with_socket]))
    assert "    chroot" not in found
    assert "    group            www-data\n" in found
    assert "    server app unix@/run/app/app.sock\n" in found


@pytest.mark.parametrize(
    ("root", "name"),
    [("/var/www/stats/", "var:www:stats"), ("/", ":"), ("/srv/über", "77bf52511744f3fd")],
)
def test_the_name_of_a_folder(root: str, name: str) -> None:
    sites = [site(domain="a.example", routes=[{"path": "/", "root": root}])]
    assert haproxy_site.more_vars(sites)["haproxy_static_roots"] == [
        {"root": root.rstrip("/") or "/", "name": name}
    ]
    assert f"http-request replace-path (.*) /{name}\\1\n" in haproxy_case.render(sites)


def test_times_that_haproxy_cannot_count_are_refused() -> None:
    long = site(domain="a.example", routes=[{**WS, "idle_timeout_s": 30 * 86400.0}])
    with pytest.raises(SourceError, match="does not support idle_timeout of 30 days") as refused:
        haproxy_site.view(long)
    assert "site.yml:2:3" in str(refused.value)
    haproxy_site.view(site(domain="a.example", routes=[{**WS, "idle_timeout_s": 24 * 86400.0}]))
    with pytest.raises(SourceError, match="HAProxy does not support drain of 30 days"):
        haproxy_site.more_vars([site(domain="a.example", drain_s=30 * 86400.0, routes=[WS])])


def test_a_part_of_the_configuration_may_be_one_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = tmp_path / "roles/haproxy/templates"
    templates.mkdir(parents=True)
    (templates / "backend.cfg.j2").write_text("# my {{ route.backend }}\n")
    (tmp_path / "inventory.yml").write_text("all: {hosts: {web1: {ansible_host: 192.0.2.1}}}\n")
    route = "{path: /ws, websocket: 'http://127.0.0.1:9001'}"
    tls = "{issuer: internal}"
    one = f"{{domain: a.example.com, proxy: haproxy, tls: {tls}, routes: [{route}]}}"
    (tmp_path / "site.yml").write_text(f"- hosts: all\n  become: true\n  sites: [{one}]\n")
    monkeypatch.chdir(tmp_path)
    assert main.run(["check", "site.yml", "--render", "out"]) == 0
    written = (tmp_path / "out/web1/etc/haproxy/haproxy.cfg").read_text()
    assert "\n# my a.example.com:ws\n" in written
    assert "frontend https\n" in written


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "/ws { always_true }"},
        {"path": "/ws\n    server x 192.0.2.1:1"},
        {"path": "/%[env(HOME)]"},
        {"path": "/ws\\"},
        {"path": '/"'},
        {"path": "/'"},
        {"path": "/ws#"},
        {"path": "/$HOME"},
        {"path": "ws"},
        {"path": "/ws", "origins": ("https://a b.example",)},
        {"path": "/ws", "origins": ("https://a.example\n",)},
        {"path": "/ws", "upstreams": (Upstream(host="127.0.0.1 check", port=1),)},
        {"path": "/ws", "upstreams": (Upstream(socket="/run/a b.sock"),)},
        {"path": "/ws", "websocket": False, "upstreams": (), "root": "/srv/a b"},
    ],
)
def test_values_that_would_change_the_meaning_are_refused(fields: dict[str, Any]) -> None:
    upstreams = (Upstream(host="127.0.0.1", port=1),)
    route = Route(**{"websocket": True, "upstreams": upstreams, **fields})
    with pytest.raises(SourceError, match="is not allowed there"):
        haproxy_site.view(Site(domain="example.com", routes=(route,)))


@pytest.mark.parametrize(("version", "is_set"), [("2.2.9", 0), ("3.0.11", 0), ("3.2.9", 1)])
def test_newer_versions_get_the_setting_that_they_ask_for_with_lua(
    version: str, is_set: int
) -> None:
    mine = site(domain="a.example.com", underscores_in_headers=True, routes=[WS])
    text = haproxy_case.render([mine], {"haproxy_version": version})
    assert text.count("tune.lua.bool-sample-conversion  normal") == is_set
    assert text.count("underscores.lua") == 1


def test_what_haproxy_cannot_do() -> None:
    mine = site(domain="a.example.com", routes=[{**WS, "buffering": True}])
    with pytest.raises(SourceError, match="does not collect the answers of"):
        haproxy_site.view(mine)
    mine = site(domain="a.example.com", routes=[{**WS, "users": (("a", "$apr1$x$y"),)}])
    with pytest.raises(SourceError, match="cannot verify the hash"):
        haproxy_site.view(mine)


def test_lua_answers_bodies_that_are_too_large_where_it_can_read_them() -> None:
    mine = site(domain="a.example.com", routes=[WS])
    for version, service, denied in (("2.2.9", 0, 1), ("2.6.12", 1, 0)):
        text = haproxy_case.render([mine], {"haproxy_version": version})
        assert text.count("use-service lua.too_large") == text.count("too_large.lua") == service
        assert text.count("deny deny_status 413") == denied


def test_sites_with_different_logs_of_requests() -> None:
    routes = [{"path": "/", "upstream": "http://127.0.0.1:1"}]
    sites = [
        site(domain="a.example", proxy="haproxy", routes=routes, access_log="json"),
        site(domain="b.example", proxy="haproxy", routes=routes),
    ]
    with pytest.raises(SourceError, match=r"a\.example has access_log: json, and b\.example"):
        haproxy_site.more_vars(sites)
    assert haproxy_site.more_vars(sites[:1])
