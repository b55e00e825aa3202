"""Each of the forty ways to fail is tested: on a host, with a scripted server, or on a text."""

from __future__ import annotations

import pytest

from deployer.findings.entries import catalogue
from deployer.model import CheckResult, Finding
from deployer.proxies.inspect import ConfigFile, Inspection, ProxyState, explained
from deployer.sites.model import Route, Site, Tls, Upstream
from tests.integration.catalogue.broken_cases import twins
from tests.integration.catalogue.broken_states import STATES
from tests.support.paths import ROOT

#: Rows that are neither a configuration nor a state of a host, and the tests that cover them.
ELSEWHERE = {
    3: "tests/unit/findings/test_rows.py::test_the_default_connection_is_found_from_1_29_7_on",
    28: "tests/integration/catalogue/test_catalogue.py::"
    "test_a_short_patience_with_silence_is_measured",
    29: "tests/integration/catalogue/test_catalogue.py::"
    "test_a_cut_in_front_of_the_host_is_distinguished",
    31: "tests/integration/catalogue/test_catalogue.py::test_a_reload_that_cuts_is_found",
}


def test_every_row_is_covered() -> None:
    by_configuration = {twin.row: twin.code for twin in twins() if twin.expected is not None}
    by_state = {state.row: state.code for state in STATES}
    rows = set(by_configuration) | set(by_state) | set(ELSEWHERE)
    assert rows == set(catalogue().rows)


def test_the_finding_of_a_row_lists_that_row() -> None:
    entries = catalogue().entries
    for twin in twins():
        assert not twin.row or twin.row in entries[twin.code].rows, str(twin)
    for state in STATES:
        assert state.row in entries[state.code].rows, str(state)


def test_every_broken_configuration_has_a_healthy_twin() -> None:
    broken = {(twin.proxy, twin.case) for twin in twins() if twin.expected is not None}
    healthy = {(twin.proxy, twin.case) for twin in twins() if twin.expected is None and twin.row}
    assert broken == healthy


@pytest.mark.parametrize("where", ELSEWHERE.values())
def test_the_tests_listed_elsewhere_exist(where: str) -> None:
    file, _, name = where.partition("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text()


# --- row 3: an nginx newer than Debian's ----------------------------------------------------------

#: The output of Debian 12's `nginx -T` for such a site, reduced to the relevant parts.
_DUMP = """\
# configuration file /etc/nginx/nginx.conf:
user www-data;
events { worker_connections 768; }
http {
    include /etc/nginx/conf.d/*.conf;
}

# configuration file /etc/nginx/conf.d/chat.conf:
server {
    listen 80;
    server_name chat.example.com;
    location /ws {
        proxy_pass http://127.0.0.1:9101;%s
    }
}
"""
_EXPLICIT = """
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";"""


def _named(version: str, more: str = "") -> Finding:
    """The finding of a lost upgrade with that nginx version."""
    dump = _DUMP % more
    files = []
    for part in dump.split("# configuration file ")[1:]:
        path, _, text = part.partition(":\n")
        files.append(ConfigFile(path=path, text=text))
    state = ProxyState(
        proxy="nginx", version=version, is_running=True, config=tuple(files), dump=dump
    )
    route = Route(path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=9101),))
    site = Site(domain="chat.example.com", proxy="nginx", tls=Tls(issuer="none"), routes=(route,))
    seen = Finding(
        code="upgrade-not-forwarded", hop="proxy", symptom="answered 400", cause="?", fix="?"
    )
    result = CheckResult(
        site=site.domain, name="handshake", target="/ws", hop="proxy", ok=False, finding=seen
    )
    (better,) = explained([result], Inspection(proxies=(state,)), site=site)
    assert better.finding is not None
    return better.finding


def test_the_default_connection_is_found_from_1_29_7_on() -> None:
    """From 1.29.7 on nginx sends no Connection by default; before, headers were just missing."""
    now = _named("1.29.7")
    assert (now.code, now.file) == ("default-connection", "/etc/nginx/conf.d/chat.conf:4")
    assert "proxy_set_header Connection" in now.directive
    assert _named("1.22.1").code == "upgrade-not-forwarded"
    assert _named("1.29.6").code == "upgrade-not-forwarded"


def test_explicit_headers_do_not_rely_on_a_default() -> None:
    assert _named("1.29.7", _EXPLICIT).code == "upgrade-not-forwarded"
