"""The roles of sites, and the errors found before any host is contacted."""

from __future__ import annotations

import datetime

import pytest

from deployer.errors import SourceErrors, UsageError
from deployer.proxies.roles import Ordering, ProxyRole, ServingHost, proxy_roles
from deployer.sites.certificate_files import CertificateFiles
from deployer.sites.lint import lint, lint_of_hosts
from deployer.sites.model import Site
from tests.support.sites import site_case as cases

FILES = CertificateFiles(
    fullchain_pem=b"chain",
    key_pem=b"key",
    root_pem=None,
    issuer="CN=x",
    names=("example.com",),
    not_after=datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC),
)
FACTS = {"ansible_all_ipv6_addresses": ["fe80::1"]}
WS = {"path": "/ws", "websocket": "http://127.0.0.1:1"}


def one_role(*sites: Site, **options: object) -> ProxyRole:
    host = ServingHost(**{"facts": FACTS, "packages": {}, **options})  # type: ignore[arg-type]
    (role,) = proxy_roles(sites, host=host, certificates={}, ordering=Ordering())
    return role


def test_no_sites_need_no_role() -> None:
    host = ServingHost(facts={}, packages={})
    assert proxy_roles((), host=host, certificates={}, ordering=Ordering()) == ()


def test_all_sites_of_a_host_share_one_role() -> None:
    plain = cases.site(domain="plain.example.com", tls={"issuer": "none"}, routes=[WS])
    secure = cases.site(domain="example.com", routes=[WS])
    files, role = proxy_roles(
        (plain, secure),
        host=ServingHost(facts=FACTS, packages={}),
        certificates={"example.com": FILES},
        ordering=Ordering(),
    )
    assert role.role == "nginx"
    assert role.source == plain.source
    assert [site["domain"] for site in role.vars["nginx_sites"]] == [
        "plain.example.com",
        "example.com",
    ]
    assert files.role == "certificate_files"
    assert files.vars == {
        "certificate_reload": "reload nginx",
        "certificate_files": [
            {
                "domain": "example.com",
                "folder": "/etc/ssl/deployer/example.com",
                "fullchain": "chain",
                "privkey": "key",
            }
        ],
    }


@pytest.mark.parametrize(
    ("drains", "expected"),
    [((3600.0, 60.0), 3600), ((0.2,), 1), ((None, 60.0), None), ((None,), None)],
)
def test_the_longest_drain_of_a_host_counts(
    drains: tuple[float | None, ...], expected: int | None
) -> None:
    sites = [
        cases.site(domain=f"s{n}.example.com", tls={"issuer": "none"}, routes=[WS], drain_s=drain)
        for n, drain in enumerate(drains)
    ]
    assert one_role(*sites).vars["nginx_drain_s"] == expected


def test_a_previous_proxy_is_replaced() -> None:
    site = cases.site(domain="example.com", tls={"issuer": "none"}, routes=[WS])
    assert one_role(site, served_by=("nginx",)).vars["nginx_replaces"] == []
    role = one_role(site, served_by=("apache", "haproxy"))
    assert role.vars["nginx_replaces"] == ["apache2", "haproxy"]


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ({}, ("1.18.0", "1.1.1", False)),
        (
            {
                "nginx": {"installed": None, "candidate": "1.22.1-9+deb12u3"},
                "libssl3": {"installed": "3.0.15-1~deb12u1", "candidate": "3.0.17-1"},
                "libssl1.1": {"installed": None, "candidate": None},
            },
            ("1.22.1", "3.0.15", False),
        ),
        (
            {
                "nginx": {"installed": "1:1.26.3-3", "candidate": "1:1.28.0-1"},
                "libssl3t64": {"installed": "3.5.1-1", "candidate": "3.5.1-1"},
                "libssl3": {"installed": None, "candidate": None},
            },
            ("1.26.3", "3.5.1", True),
        ),
    ],
)
def test_versions_are_those_installed_or_available(
    packages: dict[str, dict[str, str | None]], expected: tuple[str, str, bool]
) -> None:
    site = cases.site(domain="example.com", tls={"issuer": "none"}, routes=[WS])
    got = one_role(site, packages=packages).vars
    assert (got["nginx_version"], got["openssl_version"], got["nginx_installed"]) == expected


@pytest.mark.parametrize(("addresses", "expected"), [(["fe80::1"], True), ([], False)])
def test_ipv6_is_used_if_the_host_has_it(addresses: list[str], expected: bool) -> None:
    site = cases.site(domain="example.com", tls={"issuer": "none"}, routes=[WS])
    role = one_role(site, facts={"ansible_all_ipv6_addresses": addresses})
    assert role.vars["nginx_ipv6"] is expected


def test_a_site_with_tls_needs_a_certificate() -> None:
    site = cases.site(domain="example.com", tls={"issuer": "internal"}, routes=[WS])
    with pytest.raises(UsageError, match=r"no certificate for example\.com"):
        one_role(site)


def codes(*sites: Site) -> list[str]:
    return [note.code for note in lint(sites)]


def test_the_golden_sites_have_no_notes() -> None:
    for path in cases.CASES:
        assert [note for note in lint([cases.load(path)[0]]) if note.severity == "error"] == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"path": "/ws"}, {"path": "/ws/"}, ["duplicate-path"]),
        ({"path": "/ws"}, {"path": "/ws", "match": "exact"}, []),
        ({"path": "/ws"}, {"path": "/ws/x"}, []),
    ],
)
def test_two_routes(
    first: dict[str, object], second: dict[str, object], expected: list[str]
) -> None:
    site = cases.site(domain="example.com", routes=[{**WS, **first}, {**WS, **second}])
    assert codes(site) == expected


def test_two_sites_of_one_name_are_rejected() -> None:
    one = cases.site(domain="example.com", tls={"issuer": "none"}, routes=[WS])
    other = cases.site(
        domain="b.example.com", aliases=["example.com"], tls={"issuer": "none"}, routes=[WS]
    )
    assert codes(one, other) == ["duplicate-domain"]
    with pytest.raises(SourceErrors, match=r"example\.com already belongs to a different site"):
        one_role(one, other)


def test_two_proxies_on_a_host_are_rejected() -> None:
    one = cases.site(domain="a.example.com", routes=[WS])
    other = cases.site(domain="b.example.com", proxy="apache", routes=[WS])
    assert codes(one, other) == ["two-proxies"]
    with pytest.raises(
        SourceErrors, match=r"uses apache on a host where a\.example\.com uses nginx"
    ):
        one_role(one, other)


def test_a_site_of_several_hosts_is_ordered_on_the_controller() -> None:
    def noted(**tls: object) -> list[str]:
        site = cases.site(domain="example.com", tls={"issuer": "letsencrypt", **tls}, routes=[WS])
        return [note.code for note in lint_of_hosts({"web1": [site], "web2": [site]})]

    assert noted() == ["several-hosts"]
    assert noted(certbot="controller") == []
    assert noted(challenge="dns-01") == []
    alone = cases.site(domain="example.com", tls={"issuer": "letsencrypt"}, routes=[WS])
    assert lint_of_hosts({"web1": [alone], "web2": []}) == []
