"""Reading Apache's configuration, compared with what a real Apache did with each request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.proxies.apache import inspect as reader
from deployer.proxies.inspect.model import Fault, ProxyState
from tests.support.proxies.recorded import Measured, apache, measured, recorded

_ROUTES = "apache-routes"
_REDIRECTS = (301, 302, 307, 308)


def _faults(state: ProxyState, name: str, path: str, *, port: int = 80) -> tuple[Fault, ...]:
    return reader.faults(state, name=name, port=port, path=path, tls=port == 443)


def _of(faults: tuple[Fault, ...], symptom: str) -> list[Fault]:
    return [fault for fault in faults if symptom in fault.explains]


@pytest.mark.parametrize("case", measured(_ROUTES), ids=str)
def test_it_goes_the_way_that_apache_went(case: Measured) -> None:
    way = reader.served(recorded(_ROUTES), name=case.name, port=80, path=case.path, tls=False)

    assert way is not None
    if case.seen:
        assert way.path_at_service == case.seen.partition("?")[0]
    else:
        assert way.upstreams == ()
    assert way.file.startswith("/etc/apache2/sites-enabled/")
    assert way.line > 0


@pytest.mark.parametrize("case", measured(_ROUTES), ids=str)
def test_a_lost_upgrade_is_explained_where_it_was_lost_and_only_there(case: Measured) -> None:
    found = _of(_faults(recorded(_ROUTES), case.name, case.path), "upgrade-not-forwarded")

    if case.status == 426:
        assert found
        assert all(fault.where for fault in found)
    if case.status == 101:  # where the path is wrong as well, that may be what the service minds
        assert {fault.code for fault in found} <= {"slash-mismatch"}


@pytest.mark.parametrize("case", [case for case in measured(_ROUTES) if case.seen], ids=str)
def test_host_is_rewritten_where_the_service_saw_another(case: Measured) -> None:
    found = _of(_faults(recorded(_ROUTES), case.name, case.path), "host-rewritten")

    assert bool(found) == (case.host != case.name)


@pytest.mark.parametrize(
    "case", [case for case in measured(_ROUTES) if case.status == 308], ids=str
)
def test_a_redirect_is_found_at_its_line(case: Measured) -> None:
    first = _of(_faults(recorded(_ROUTES), case.name, case.path), "https-redirect")[0]

    assert first.code == "https-redirect"
    assert "308" in first.cause


@pytest.mark.parametrize(
    ("name", "path", "code", "line"),
    [
        ("order.example", "/ws", "proxypass-order", 8),
        ("share.example", "/ws", "proxypass-order", 14),
        ("share.example", "/api", "upgrade-not-forwarded", 13),
        ("old.example", "/cable", "http-1.0-upstream", 20),
        ("recipe.example", "/case/1", "upgrade-not-forwarded", 52),
        ("recipe.example", "/plain/1", "upgrade-not-forwarded", 54),
        ("pool.example", "/lame/1", "upgrade-not-forwarded", 68),
        ("drop.example", "/ws", "upgrade-not-forwarded", 75),
    ],
)
def test_the_first_explanation_names_the_line(name: str, path: str, code: str, line: int) -> None:
    first = _of(_faults(recorded(_ROUTES), name, path), "upgrade-not-forwarded")[0]

    assert (first.code, first.line) == (code, line)
    assert first.file == "/etc/apache2/sites-enabled/broken.conf"


@pytest.mark.parametrize(
    ("path", "becomes"), [("/s/x", "/sx"), ("/t/x", "/t//x"), ("/locx/1", "/locx//1")]
)
def test_slashes_that_do_not_match_are_shown_with_what_comes_of_them(
    path: str, becomes: str
) -> None:
    first = _of(_faults(recorded(_ROUTES), "paths.example", path), "wrong-route")[0]

    assert first.code == "slash-mismatch"
    assert becomes in first.cause


def test_the_longer_one_of_two_limits_ends_idle_connections() -> None:
    state = recorded(_ROUTES)

    own = reader.served(state, name="share.example", port=80, path="/own/1", tls=False)
    usual = reader.served(state, name="order.example", port=80, path="/ws", tls=False)

    assert own is not None
    assert usual is not None
    assert own.idle_timeout_s == 600
    assert own.idle_directive.endswith("broken.conf:15")
    assert usual.idle_timeout_s == 300  # a timeout=10 does nothing
    assert "Timeout 300" in usual.idle_directive


def test_a_worker_that_is_shared_has_its_makers_time_limit() -> None:
    way = reader.served(recorded(_ROUTES), name="share.example", port=80, path="/ws", tls=False)

    assert way is not None
    assert way.idle_timeout_s == 300  # not the 600 of its own line


def test_a_name_that_no_site_has_ends_at_the_first_one() -> None:
    found = _of(_faults(recorded(_ROUTES), "unknown.example", "/ws"), "wrong-route")

    assert found[0].where == "/etc/apache2/sites-enabled/000-default.conf:1"
    assert "unknown.example" in found[0].cause


_SITE = """\
LoadModule headers_module modules/mod_headers.so
<VirtualHost *:443>
    ServerName chat.example
    SSLEngine on
    ProxyPreserveHost On
    <IfModule mod_headers.c>
        RequestHeader unset X-Forwarded-For early
        RequestHeader set X-Forwarded-Proto "https"
    </IfModule>
    <IfModule !mod_headers.c>
        ProxyPass "/ws" "http://127.0.0.1:1/"
    </IfModule>
    ProxyPass "/ws" "http://127.0.0.1:3000/ws" upgrade=websocket timeout=3600
</VirtualHost>
"""


def test_a_sound_site_shows_no_fault_but_where_one_would_look() -> None:
    found = _faults(apache(_SITE), "chat.example", "/ws", port=443)

    assert not any(fault.stands_alone for fault in found)
    assert not _of(found, "upgrade-not-forwarded")
    assert not _of(found, "wrong-route")
    assert not _of(found, "host-rewritten")
    assert not _of(found, "forwarded-for-appended")
    assert not _of(found, "redirect-loop")
    assert not _of(found, "h2c-tunnel")


@pytest.mark.parametrize(
    ("change", "to", "symptom", "line"),
    [
        (' "https"', ' "http"', "redirect-loop", 8),
        ("unset X-Forwarded-For early", "unset Forwarded", "forwarded-for-appended", 13),
        ("PreserveHost On", "PreserveHost Off", "host-rewritten", 5),
        ("upgrade=websocket", "upgrade=ANY", "h2c-tunnel", 13),
        ("http://127.0.0.1:3000", "https://127.0.0.1:3000", "bad-gateway", 13),
        (" upgrade=websocket", "", "upgrade-not-forwarded", 13),
        ("upgrade=websocket", "upgrade=h2c", "upgrade-not-forwarded", 13),
    ],
)
def test_one_change_is_one_fault(change: str, to: str, symptom: str, line: int) -> None:
    assert change in _SITE

    found = _of(
        _faults(apache(_SITE.replace(change, to)), "chat.example", "/ws", port=443), symptom
    )

    assert [fault.line for fault in found] == [line]


def test_what_is_read_from_files_says_so() -> None:
    way = reader.served(apache(_SITE), name="chat.example", port=443, path="/ws", tls=True)

    assert way is not None
    assert way.tls
    assert "files" in way.note


def test_a_condition_that_looks_at_the_client_is_not_decided() -> None:
    text = _SITE.replace(
        "    ProxyPreserveHost On\n",
        "    RewriteEngine On\n    RewriteCond %{HTTP_USER_AGENT} curl\n"
        "    RewriteRule ^/ws http://127.0.0.1:9/ [P]\n",
    )

    assert reader.served(apache(text), name="chat.example", port=443, path="/ws", tls=True) is None


@pytest.mark.parametrize(
    ("protocols", "is_old"),
    [
        ("-all +TLSv1.2 +TLSv1.3", False),
        ("all -SSLv3", True),
        ("all -SSLv3 -TLSv1 -TLSv1.1", False),
        ("TLSv1 TLSv1.1 TLSv1.2", False),  # each word without a sign puts an end to the former
        ("+TLSv1.1 +TLSv1.2", True),
    ],
)
def test_old_versions_of_tls_are_those_that_are_on(protocols: str, is_old: bool) -> None:
    text = _SITE.replace("    SSLEngine on\n", f"    SSLEngine on\n    SSLProtocol {protocols}\n")

    found = _of(_faults(apache(text), "chat.example", "/ws", port=443), "tls-old-version")

    assert bool(found) == is_old


def test_a_port_that_apache_does_not_listen_on() -> None:
    state = recorded(_ROUTES)

    assert reader.served(state, name="order.example", port=9443, path="/ws", tls=True) is None
    (found,) = reader.faults(state, name="order.example", port=9443, path="/ws", tls=True)
    assert found.code == "proxy-down"
    assert found.where.startswith("/etc/apache2/ports.conf:")


@pytest.mark.parametrize(
    ("rule", "symptom", "code"),
    [
        ("Require all denied", "origin-blocked", "wrong-route"),
        ("Require valid-user", "login-required", "login-required"),
    ],
)
def test_access_rules_are_named_with_their_line(rule: str, symptom: str, code: str) -> None:
    text = _SITE.replace(
        "</VirtualHost>", f'    <Location "/ws">\n        {rule}\n    </Location>\n</VirtualHost>'
    )

    first = _of(_faults(apache(text), "chat.example", "/ws", port=443), symptom)[0]

    assert (first.code, first.line) == (code, 15)
    assert not _of(_faults(apache(text), "chat.example", "/other", port=443), symptom)


def test_a_part_of_mod_proxy_that_is_not_loaded() -> None:
    state = recorded(_ROUTES)
    without = state.dump.replace(" proxy_balancer_module (shared)\n", "")
    assert without != state.dump

    found = _faults(replace(state, dump=without), "pool.example", "/pool/1")

    assert found[0].code == "handshake-refused"
    assert "mod_proxy_balancer" in found[0].cause
    assert not _of(_faults(state, "pool.example", "/pool/1"), "handshake-refused")
