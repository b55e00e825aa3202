"""What a playbook keeps of a configuration file that it shares with others."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.errors import UsageError
from deployer.proxies.roles import Ordering, ProxyRole, ServingHost, proxy_roles
from deployer.proxies.shared import ALONE, others_of
from deployer.sites.document import sites_to_json
from deployer.sites.model import Site
from deployer.sites.served_file import text_of
from tests.support.sites.site_case import site

FOLDER = "/etc/haproxy/deployer/sites"
WS = {"path": "/ws", "websocket": "http://127.0.0.1:1"}


def plain(domain: str, **values: Any) -> Site:
    return site(domain=domain, proxy="haproxy", tls={"issuer": "none"}, routes=[WS], **values)


ONE, OTHER = plain("one.example.com"), plain("other.example.com", drain_s=7200.0)


def files(*sites: Site) -> dict[str, str]:
    return {f"{FOLDER}/{each.domain}.json": text_of(each) for each in sites}


def role(*own: Site, about: dict[str, Any], **options: Any) -> ProxyRole:
    host = ServingHost(facts={}, packages={}, shared={"haproxy": about}, **options)  # type: ignore[typeddict-item]
    (found,) = proxy_roles(own, host=host, certificates={}, ordering=Ordering())
    return found


def domains(found: ProxyRole) -> list[str]:
    return [each["domain"] for each in found.vars["haproxy_sites"]]


def written(found: ProxyRole) -> list[str]:
    return [each["domain"] for each in found.vars["haproxy_site_files"]]


def test_the_sites_of_other_playbooks_stay() -> None:
    found = role(ONE, about={"sites": files(ONE, OTHER), "kept": ""}, served_by=("haproxy",))
    assert domains(found) == ["one.example.com", "other.example.com"]
    assert written(found) == ["one.example.com"]
    assert found.vars["haproxy_own"] == ["one.example.com"]
    assert found.vars["haproxy_drain_s"] == 7200
    assert found.vars["haproxy_gone"] == []


def test_both_playbooks_write_the_same_file() -> None:
    about = {"sites": files(ONE, OTHER)}
    one, other = role(ONE, about=about), role(OTHER, about=about)
    assert sorted(one.vars["haproxy_sites"], key=str) == sorted(
        other.vars["haproxy_sites"], key=str
    )
    names = ("haproxy_drain_s", "haproxy_unix_sockets", "haproxy_static_roots")
    assert [one.vars[name] for name in names] == [other.vars[name] for name in names]


def test_the_own_version_of_a_site_counts() -> None:
    changed = plain("ONE.example.com", drain_s=60.0)
    found = role(changed, about={"sites": files(ONE)})
    assert (domains(found), found.vars["haproxy_drain_s"]) == (["ONE.example.com"], 60)


def test_the_sites_of_a_single_file_get_files() -> None:
    about = {"sites": {}, "former": sites_to_json([ONE, OTHER])}
    found = role(ONE, about=about, served_by=("haproxy",))
    assert domains(found) == written(found) == ["one.example.com", "other.example.com"]


def test_a_removed_site_is_a_removed_file() -> None:
    removed = frozenset({"other.example.com"})
    found = role(ONE, about={"sites": files(ONE, OTHER)}, removed=removed)
    assert domains(found) == ["one.example.com"]
    assert found.vars["haproxy_gone"] == ["other.example.com"]


def test_the_last_site_of_a_playbook_can_be_removed() -> None:
    options: dict[str, Any] = {"served_by": ("haproxy",), "removed": frozenset({ONE.domain})}
    found = role(about={"sites": files(ONE, OTHER)}, **options)
    assert domains(found) == ["other.example.com"]
    assert found.vars["haproxy_gone"] == ["one.example.com"]
    alone = role(about={"sites": files(ONE)}, **options)
    assert (domains(alone), alone.vars["haproxy_drain_s"]) == ([], None)
    host = ServingHost(
        facts={}, packages={}, shared={"haproxy": {"sites": files(OTHER)}}, **options
    )
    assert proxy_roles((), host=host, certificates={}, ordering=Ordering()) == ()


def test_sites_from_before_another_proxy_took_over_do_not_come_back() -> None:
    found = role(ONE, about={"sites": files(ONE, OTHER)}, served_by=("nginx",))
    assert domains(found) == ["one.example.com"]
    assert found.vars["haproxy_gone"] == ["other.example.com"]


def test_hand_written_sections_end_with_a_line() -> None:
    assert role(ONE, about={"kept": "listen x\n    bind :1"}).vars["haproxy_kept"] == (
        "listen x\n    bind :1\n"
    )


def test_other_proxies_have_no_shared_file() -> None:
    assert others_of(None, own=[ONE]) is ALONE


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (
            {"problem": "/etc/haproxy/haproxy.cfg cannot be read: Input/output error"},
            "Input/output",
        ),
        ({"kept": "# \udcff\n"}, "not UTF-8"),
        ({"former": [{"domain": "x"}]}, "the sites of the last commit"),
        ({"former": [3]}, "the sites of the last commit"),
        ({"sites": {f"{FOLDER}/x.json": "{}"}}, f"{FOLDER}/x.json is not a site"),
    ],
)
def test_what_cannot_be_read_is_not_overwritten(about: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        role(ONE, about=about)
    assert "Nothing was changed" in str(error.value)
