"""The names that a plan removes, and the plans that are refused for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from deployer.plan.diff import plan_lines
from deployer.plan.displaced import Ownership, displaced, refusal_words, refused
from deployer.plan.model import Change, Displaced, Plan
from deployer.plan.predicted import names_left
from deployer.plan.wire import plan_for_output, sealed
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import served_names
from deployer.report.terminal import plan_words

ON, OFF = {"enabled": True, "active": True}, {"enabled": False, "active": False}
FILE, LINK = {"type": "file"}, {"type": "link"}
AVAILABLE, ENABLED = "/etc/nginx/sites-available", "/etc/nginx/sites-enabled"


def server(name: str, *listen: str) -> str:
    lines = "".join(f"    listen {each};\n" for each in listen or ("80",))
    return f"server {{\n{lines}    server_name {name};\n}}\n"


def nginx(**sites: str) -> ProxyState:
    """An nginx with one linked file for each site."""
    main = ConfigFile(
        path="/etc/nginx/nginx.conf",
        text="http { include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*; }",
    )
    files = (
        ConfigFile(path=f"{ENABLED}/{name}", text=text, real_path=f"{AVAILABLE}/{name}")
        for name, text in sites.items()
    )
    return ProxyState(proxy="nginx", config=(main, *files))


FOUR = nginx(
    shop=server("shop.example.com www.shop.example.com"),
    wiki=server("wiki.example.com", "80", "443 ssl"),
    intern=server("intern.example.com", "8080"),
    own=server("own.example.com"),
)


def change(resource_id: str, before: Any, wanted: Any, text: str | None = None) -> Change:
    action: Any = "create" if before is None else "delete" if wanted is None else "update"
    return Change(
        resource_id=resource_id,
        action=action,
        before=before,
        after=wanted,
        fingerprint="",
        after_content=None if text is None else text.encode(),
    )


def plan(*changes: Change) -> Plan:
    return sealed(Plan(host="web1", created_at="", changes=changes))


def removed(state: ProxyState, made: Plan, **ownership: Iterable[str]) -> tuple[Displaced, ...]:
    given = {key: frozenset(value) for key, value in ownership.items()}
    own = Ownership(**{"own": frozenset({"own.example.com"}), **given})
    return displaced(served_names((state,)), names_left((state,), made), own)


def names(found: Iterable[Displaced]) -> list[str]:
    return [each.name for each in found]


SWITCH = plan(change("service:nginx", ON, OFF))


@pytest.mark.parametrize(
    "made",
    [
        SWITCH,
        plan(change("service:nginx.service", ON, OFF)),
        plan(change("package:nginx", {}, None)),
    ],
)
def test_a_proxy_that_is_stopped_loses_every_name_that_is_not_the_runs_own(made: Plan) -> None:
    found = removed(FOUR, made)
    assert names(found) == [
        "intern.example.com",
        "shop.example.com",
        "www.shop.example.com",
        "wiki.example.com",
    ]
    wiki = found[3]
    assert (wiki.ports, wiki.where) == ((80, 443), f"{ENABLED}/wiki:1")


@pytest.mark.parametrize("unit", ["frontend.service", "session-3.scope"])
def test_one_that_runs_in_another_unit_keeps_its_names(unit: str) -> None:
    """The nginx of an application, next to the one of the package."""
    from dataclasses import replace

    own = replace(nginx(own=server("own.example.com")), unit="nginx.service")
    other = replace(nginx(app=server("app.example.com", "3001")), unit=unit)
    before, left = served_names((own, other)), names_left((own, other), SWITCH)
    ownership = Ownership(own=frozenset({"own.example.com"}))
    assert displaced(before, left, ownership) == ()


def test_a_plan_that_is_refused_names_them_and_says_how_to_agree() -> None:
    found = removed(FOUR, SWITCH, consented=["wiki.example.com"])
    words = refusal_words(refused(found))
    assert "would remove 3 names" in words
    assert "- name shop.example.com  (port 80 of nginx, /etc/nginx/sites-enabled/shop:1)" in words
    assert "wiki" not in words
    assert "displaces: [intern.example.com, shop.example.com, www.shop.example.com]" in words
    assert "--displace intern.example.com" in words
    assert "Nothing was changed." in words


def test_what_a_plan_removes_is_counted_and_shown() -> None:
    from dataclasses import replace

    found = removed(FOUR, SWITCH)
    made = replace(SWITCH, displaced=found)
    assert plan_words(made) == "1 to stop and disable, 4 to remove"
    shown = [line.text for line in plan_lines(made)]
    assert "- name intern.example.com  (port 8080 of nginx, /etc/nginx/sites-enabled/intern:1)" in (
        shown
    )
    document = plan_for_output(made)
    assert [each["name"] for each in document["displaced"]] == names(found)  # type: ignore[attr-defined]
    assert made.digest == SWITCH.digest, "what a host serves is not part of what was approved"


@pytest.mark.parametrize(
    ("made", "lost"),
    [
        (plan(change(f"file:{ENABLED}/wiki", LINK, None)), ["wiki.example.com"]),
        (plan(change(f"file:{AVAILABLE}/wiki", FILE, None)), ["wiki.example.com"]),
        (plan(change(f"directory:{ENABLED}", {"type": "directory"}, None)), None),
        (
            plan(change(f"file:{AVAILABLE}/shop", FILE, FILE, server("shop.example.com"))),
            ["www.shop.example.com"],
        ),
        (
            plan(change(f"file:{AVAILABLE}/wiki", FILE, FILE, server("wiki.example.com"))),
            ["wiki.example.com"],  # no longer at port 443
        ),
        (plan(change(f"file:{AVAILABLE}/wiki", FILE, {**FILE, "mode": "0600"})), []),
        (plan(change("file:/etc/nginx/nginx.conf", FILE, FILE, "events {}\n")), None),
        (plan(change(f"file:{ENABLED}/new", None, FILE, server("new.example.com"))), []),
    ],
)
def test_files_that_are_replaced_or_removed(made: Plan, lost: list[str] | None) -> None:
    everything = names(removed(FOUR, SWITCH))
    assert names(removed(FOUR, made)) == (everything if lost is None else lost)


def test_a_name_that_moves_to_a_new_file_is_not_lost() -> None:
    moved = server("wiki.example.com", "80", "443 ssl")
    made = plan(
        change(f"file:{ENABLED}/wiki", LINK, None),
        change(f"file:{AVAILABLE}/moved", None, FILE, moved),
        change(f"link:{ENABLED}/moved", None, {**LINK, "target": "../sites-available/moved"}),
    )
    assert removed(FOUR, made) == ()


def test_an_own_alias_that_is_dropped_is_removed_on_purpose() -> None:
    found = removed(FOUR, SWITCH, leaving=names(removed(FOUR, SWITCH)))
    assert len(found) == 4
    assert refused(found) == ()


DEFAULT = server("_", "80 default_server")


def test_a_default_server_alone_is_called_default() -> None:
    found = removed(nginx(own=server("own.example.com"), default=DEFAULT), SWITCH)
    assert names(refused(found)) == [""]
    words = refusal_words(refused(found))
    assert "- default server, which answers all other names  (port 80 of nginx" in words
    assert "--displace default" in words
    assert refused(removed(nginx(default=DEFAULT), SWITCH, consented=["default"])) == ()


def test_who_agreed_to_lose_each_name_of_a_proxy_agreed_to_lose_its_default_server() -> None:
    state = nginx(default=DEFAULT, wiki=server("wiki.example.com"))
    assert names(removed(state, SWITCH)) == ["", "wiki.example.com"]
    assert refused(removed(state, SWITCH, consented=["wiki.example.com"])) == ()


def test_a_named_server_that_is_also_the_default_is_listed_once() -> None:
    assert names(removed(nginx(wiki=server("wiki.example.com")), SWITCH)) == ["wiki.example.com"]


def test_what_a_different_proxy_serves_stays() -> None:
    apache = ProxyState(
        proxy="apache",
        listeners=("0.0.0.0:8080",),
        config=(
            ConfigFile(
                path="/etc/apache2/apache2.conf",
                text="<VirtualHost *:8080>\nServerName back.example.com\n</VirtualHost>\n",
            ),
        ),
    )
    found = displaced(served_names((FOUR, apache)), names_left((FOUR, apache), SWITCH), Ownership())
    assert "back.example.com" not in names(found)


def test_a_haproxy_file_that_another_playbook_wrote() -> None:
    text = (
        "frontend web\n mode http\n bind :80\n acl {0} hdr(host) {0}.com\n use_backend b if {0}\n"
    )
    state = ProxyState(
        proxy="haproxy",
        config=(ConfigFile(path="/etc/haproxy/haproxy.cfg", text=text.format("theirs")),),
    )
    made = plan(change("file:/etc/haproxy/haproxy.cfg", FILE, FILE, text.format("own")))
    assert names(removed(state, made)) == ["theirs.com"]


def test_consent_to_names_is_no_consent_to_another_port() -> None:
    text = (
        "frontend web\n bind :80\n use_backend b if { hdr(host) shop.example.com }\n"
        " default_backend b\nbackend b\n server s 127.0.0.1:1\n"
        "listen database\n mode tcp\n bind :5432\n server s 127.0.0.1:2\n"
    )
    file = ConfigFile(path="/etc/haproxy/haproxy.cfg", text="defaults\n mode http\n" + text)
    state = ProxyState(proxy="haproxy", config=(file,))
    stop = plan(change("service:haproxy", ON, OFF))
    found = removed(state, stop, consented=["shop.example.com"])
    (left,) = refused(found)
    assert (left.name, left.ports, left.where) == ("", (5432,), "/etc/haproxy/haproxy.cfg:9")


def test_two_listeners_on_one_address_are_refused() -> None:
    from deployer.plan.clashes import clash_words

    main = ConfigFile(path="/etc/haproxy/haproxy.cfg", text="frontend old\n bind :8080\n")
    more = ConfigFile(path="/etc/haproxy/conf.d/a.cfg", text="frontend a\n bind :80\n")
    state = ProxyState(proxy="haproxy", config=(main, more))
    path = "/etc/haproxy/haproxy.cfg"
    made = plan(change(f"file:{path}", FILE, FILE, "frontend new\n bind :80\n"))
    before, left = served_names((state,)), names_left((state,), made)
    words = clash_words(before, left)
    assert "port 80 of HAProxy: /etc/haproxy/haproxy.cfg:1 and /etc/haproxy/conf.d/a.cfg:1" in words
    assert clash_words(left, left) == "", "it was so before"


def test_a_refusal_explains_how_to_keep_parts_of_a_file_that_is_written_as_a_whole() -> None:
    text = "listen a\n bind :81\nlisten b\n bind :82\n"
    file = ConfigFile(path="/etc/haproxy/haproxy.cfg", text=text)
    state = ProxyState(proxy="haproxy", config=(file,))
    words = refusal_words(removed(state, plan(change(f"file:{file.path}", FILE, FILE, "global"))))
    assert "# Sections below this line are yours" in words
    assert "displaces: [default]" in words, "each word once"
    assert "below this line" not in refusal_words(removed(FOUR, SWITCH))
