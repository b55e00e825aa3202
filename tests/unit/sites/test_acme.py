"""The stages of a new site, and the order of its certificate."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import SourceError
from deployer.proxies.roles import Ordering, ProxyRole, ServingHost, proxy_roles
from deployer.sites.acme import CertificatesOnHost, settings_of
from deployer.sites.document import sites_from_json, sites_to_json
from deployer.sites.model import Dns, Eab, Site
from tests.support.sites import site_case as cases

FACTS: dict[str, object] = {"ansible_all_ipv6_addresses": ["fe80::1"]}
WS = {"path": "/ws", "websocket": "http://127.0.0.1:1"}
ACME = {"issuer": "letsencrypt"}
IN_USE = {"attributes": {"serial": "01"}, "chain": "leaf\n-----END CERTIFICATE-----\nissuer\n"}


def site(domain: str = "a.example.com", **about: Any) -> Site:
    return cases.site(domain=domain, **{"tls": ACME, "routes": [WS], **about})


def roles(*sites: Site, on_host: CertificatesOnHost | None = None, **more: Any) -> list[ProxyRole]:
    host = ServingHost(facts=FACTS, packages=more.pop("packages", {}), certificates=on_host)
    return list(proxy_roles(sites, host=host, certificates={}, ordering=Ordering(**more)))


def served(role: ProxyRole) -> dict[str, tuple[bool, bool, bool]]:
    """Of each site: whether it has TLS, only answers challenges, answers challenges."""
    sites: list[dict[str, Any]] = role.vars["nginx_sites"]
    return {
        each["domain"]: (each["tls"], each["only_challenges"], bool(each["challenge"]))
        for each in sites
    }


def test_a_new_site_only_answers_challenges_until_it_has_a_certificate() -> None:
    program, early, orders, late, renewal = roles(site())
    assert [each.stage for each in (program, early, orders, late, renewal)] == [0, 0, 1, 2, 2]
    assert [each.role for each in (program, early, orders, late)] == [
        *("certbot", "nginx", "certbot", "nginx"),
    ]
    assert served(early) == {"a.example.com": (False, True, True)}
    assert served(late) == {"a.example.com": (True, False, True)}
    assert late.vars["nginx_sites"][0]["certificate"].endswith(
        "/a.example.com/current/fullchain.pem"
    )


def test_a_site_with_any_certificate_is_whole_at_once() -> None:
    there = CertificatesOnHost(in_use={"a.example.com": IN_USE})
    program, whole, orders, renewal = roles(site(), on_host=there)
    assert [each.stage for each in (program, whole, orders, renewal)] == [0, 0, 1, 1]
    assert served(whole) == {"a.example.com": (True, False, True)}


def test_a_site_in_plain_text_continues_and_answers_challenges() -> None:
    former = site(tls={"issuer": "none"}, routes=[{"path": "/old", "root": "/srv"}])
    there = CertificatesOnHost(former_sites=(former,))
    _, early, _, late, _ = roles(site(aliases=["new.example.com"]), on_host=there)
    (view,) = early.vars["nginx_sites"]
    assert (view["tls"], view["only_challenges"], bool(view["challenge"])) == (False, False, True)
    assert [route["path"] for route in view["routes"]] == ["/old"]
    assert view["server_names"] == ["a.example.com", "new.example.com"]
    assert served(late) == {"a.example.com": (True, False, True)}


def test_a_site_with_a_different_issuer_keeps_its_certificate_meanwhile() -> None:
    former = site(tls={"issuer": "internal"})
    there = CertificatesOnHost(
        in_use={"a.example.com": {"attributes": None, "chain": ""}}, former_sites=(former,)
    )
    _, early, _, _, _ = roles(site(), on_host=there)
    (view,) = early.vars["nginx_sites"]
    assert (view["tls"], bool(view["challenge"])) == (True, True)
    assert view["certificate"] == "/etc/ssl/deployer/a.example.com/fullchain.pem"


def test_a_name_proved_by_dns_needs_no_port_80() -> None:
    tls = {**ACME, "challenge": "dns-01", "dns": Dns(plugin="route53")}
    wild = site("*.example.com", tls=tls)
    _, early, orders, late, _ = roles(wild)
    assert served(early) == {}
    assert served(late) == {"*.example.com": (True, False, False)}
    assert orders.vars["certbot_certificates"][0]["lineage"] == "wildcard.example.com"


def test_other_sites_of_the_host_are_whole_meanwhile() -> None:
    plain = site("b.example.com", tls={"issuer": "none"})
    _, early, _, late, _ = roles(site(), plain)
    assert served(early) == {
        "b.example.com": (False, False, False),
        "a.example.com": (False, True, True),
    }
    assert set(served(late)) == {"a.example.com", "b.example.com"}


@pytest.mark.parametrize(
    ("tls", "package", "reason"),
    [
        ({}, "2.1.0-4", ""),
        ({"profile": "classic"}, "2.1.0", "profile: classic requires certbot 4.1, but the package is 2.1.0"),  # noqa: E501
        ({"ari": True}, "4.0.0-2", "ari: true requires certbot 4.1, but the package is 4.0.0"),
        ({"ari": True}, "4.1.1-1", ""),
        ({"ari": True}, None, "ari: true requires certbot 4.1, but there is no package"),
        ({"ari": True, "certbot": "controller"}, "2.1.0-4", ""),
    ],
)  # fmt: skip
def test_the_reason_for_a_newer_certbot(
    tls: dict[str, Any], package: str | None, reason: str
) -> None:
    packages = {"certbot": {"installed": None, "candidate": package}}
    program = roles(site(tls={**ACME, **tls}), packages=packages)[0]
    assert program.vars["certbot_newer_because"] == reason
    settings = json.loads(program.vars["certbot_certificates"][0]["settings"])
    if tls.get("certbot") != "controller":
        wanted = "/opt/deployer/certbot/bin/certbot" if reason else "/usr/bin/certbot"
        assert settings["certbot"] == [wanted]


SNAP = "/snap/bin/certbot"


@pytest.mark.parametrize(
    ("tls", "package", "program", "reason"),
    [
        ({}, {"snap": "5.1.0", "candidate": "2.9.0-1"}, SNAP, ""),
        ({}, {"snap": "5.1.0", "candidate": None}, SNAP, ""),
        ({}, {"snap": "5.1.0", "installed": "2.9.0-1"}, "/usr/bin/certbot", ""),
        ({"ari": True}, {"snap": "5.1.0", "installed": "2.9.0-1"}, SNAP, ""),
        (
            {"ari": True},
            {"snap": "4.0.0", "candidate": "2.9.0-1"},
            "/opt/deployer/certbot/bin/certbot",
            "ari: true requires certbot 4.1, but the snap is 4.0.0",
        ),
        (
            {"challenge": "dns-01", "dns": Dns(plugin="route53")},
            {"snap": "5.1.0", "candidate": "2.9.0-1"},
            "/opt/deployer/certbot/bin/certbot",
            "the snap has no plugin route53",
        ),
        (
            {},
            {"candidate": "0.40.0-1ubuntu0.1"},
            "/opt/deployer/certbot/bin/certbot",
            "key_type: ecdsa-p256 requires certbot 1.10, but the package is 0.40.0",
        ),
    ],
)
def test_a_snap_of_certbot_is_used_where_it_suffices(
    tls: dict[str, Any], package: dict[str, str | None], program: str, reason: str
) -> None:
    packages = {"certbot": {"installed": None, "candidate": None, **package}}
    role = roles(site(tls={**ACME, **tls}), packages=packages)[0]
    assert role.vars["certbot_is_snap"] is (program == SNAP)
    assert role.vars["certbot_newer_because"] == reason
    settings = json.loads(role.vars["certbot_certificates"][0]["settings"])
    assert settings["certbot"] == [program]


@pytest.mark.parametrize(
    ("tls", "python", "words"),
    [
        ({"profile": "classic"}, "3.8.10", "certbot 4.1, which requires Python 3.9.2"),
        ({"profile": "classic"}, "3.9.2", ""),
        ({}, "3.8.10", ""),
        ({"profile": "classic", "certbot": "controller"}, "3.8.10", ""),
    ],
)
def test_a_python_that_is_too_old_for_certbot_from_pypi(
    tls: dict[str, Any], python: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACTS, "ansible_python_version", python)
    packages = {"certbot": {"installed": None, "candidate": "0.40.0-1ubuntu0.1"}}
    with pytest.raises(SourceError, match=words) if words else nullcontext():
        roles(site(tls={**ACME, **tls}), packages=packages)


def test_a_custom_issuer_is_named_by_its_directory() -> None:
    def settings(**tls: Any) -> dict[str, Any]:
        return settings_of(site(tls=tls), certbot="certbot")

    assert settings(issuer="letsencrypt", limits="letsencrypt")["issuer"] == "letsencrypt"
    own = settings(issuer="https://ca.example.com/dir")
    assert (own["issuer"], own["directory"]) == ("acme", "https://ca.example.com/dir")
    assert own["limits"] == "none"


def test_only_lets_encrypt_is_rehearsed() -> None:
    def is_rehearsed(issuer: str, *, staging_first: bool) -> bool:
        program = roles(site(tls={"issuer": issuer}), staging_first=staging_first)[0]
        return bool(program.vars["certbot_certificates"][0]["staging_first"])

    assert is_rehearsed("letsencrypt", staging_first=True)
    assert not is_rehearsed("letsencrypt", staging_first=False)
    assert not is_rehearsed("letsencrypt-staging", staging_first=True)


def test_the_sites_stored_on_a_host_contain_no_account() -> None:
    eab, dns = Eab(kid="customer", hmac_key="c2VjcmV0LWtleQ"), Dns(plugin="route53")
    tls = {"issuer": "https://ca.example.com/dir", "eab": eab, "challenge": "dns-01", "dns": dns}
    bound = site("*.example.com", tls=tls)
    assert bound.tls.eab is not None
    assert "c2VjcmV0LWtleQ" not in repr(bound)
    document = json.dumps(sites_to_json([bound]))
    assert "c2VjcmV0LWtleQ" not in document
    (again,) = sites_from_json(json.loads(document))
    assert again.tls.dns == bound.tls.dns


@pytest.mark.parametrize("where", ["host", "controller"])
def test_a_host_that_does_not_order_has_no_secrets_of_orders(tmp_path: Path, where: str) -> None:
    credentials = tmp_path / "dns.ini"
    credentials.write_text("dns_rfc2136_secret = c2VjcmV0\n")
    tls = {
        "issuer": "https://ca.example.com/dir",
        "eab": Eab(kid="customer", hmac_key="c2VjcmV0LWtleQ"),
        "challenge": "dns-01",
        "dns": Dns(plugin="rfc2136", credentials=str(credentials)),
    }
    mine = site("*.example.com", tls={**tls, "certbot": where})
    other = site("b.example.com", tls={**ACME, "certbot": "host"})
    one, _ = roles(mine, other)[0].vars["certbot_certificates"]
    has_secrets = where == "host"
    assert (one["dns_credentials"] is not None) == one["is_secret"] == has_secrets
    assert ("c2VjcmV0LWtleQ" in one["settings"]) == has_secrets
    assert bool(json.loads(one["settings"])["dns"]) == has_secrets


def test_the_root_of_a_chain() -> None:
    there = CertificatesOnHost(
        in_use={
            "a.example.com": IN_USE,
            "alone.example.com": {"chain": "leaf\n-----END CERTIFICATE-----\n"},
        }
    )
    assert there.chain("a.example.com", more="").strip() == b"issuer"
    assert there.chain("a.example.com", more="root").split() == [b"issuer", b"root"]
    assert there.chain("alone.example.com", more="").startswith(b"leaf")
    assert there.chain("alone.example.com", more="root").strip() == b"root"
    assert there.chain("none.example.com", more="").strip() == b""
