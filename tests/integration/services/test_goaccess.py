"""GoAccess as its visitors see it: the report in a real browser, behind each proxy."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deployer.model import Proxy
from tests.support.clients.chromium import Page, chromium
from tests.support.clients.site_pages import page as answer
from tests.support.ready_playbooks import PROXIES, Deployed, behind_each_proxy

pytestmark = pytest.mark.lab

NAME = "stats.example.com"
URL = f"https://{NAME}/"
#: HAProxy alone announces WebSockets over HTTP/2 (RFC 8441), with 200 in place of 101.
OPENED_WITH: Mapping[Proxy, int] = {"nginx": 101, "apache": 101, "haproxy": 200}


@pytest.fixture(scope="module")
def reports(
    machine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Proxy, Deployed]]:
    """The ready playbook, applied."""
    with behind_each_proxy("goaccess", tmp_path_factory.mktemp("goaccess")) as found:
        yield found


def reported(page: Page) -> int:
    """The number of requests on the page."""
    return int(page.evaluate("GoAccess.getPanelData().general.total_requests"))


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_report_is_connected_and_its_numbers_move(
    reports: Mapping[Proxy, Deployed], proxy: Proxy, tmp_path: Path
) -> None:
    report = reports[proxy]
    assert report.applied.code == 0, report.applied
    elsewhere = next(each.host for each in reports.values() if each is not report)
    addresses = {NAME: report.host.address}
    with chromium(
        tmp_path, network_of=elsewhere, trust=report.root_pem, addresses=addresses
    ) as page:
        page.open(URL)
        loaded = page.happened("Network.responseReceived")[0]["response"]
        assert (loaded["url"], loaded["status"]) == (URL, 200)
        assert (loaded["protocol"], loaded["securityState"]) == ("h2", "secure")
        page.until("document.querySelector('.nav-ws-status.connected') !== null")
        status = "document.querySelector('.nav-ws-status').title"
        assert page.evaluate(status) == f"Connected to wss://{NAME}:443/ws"
        (opened,) = page.happened("Network.webSocketHandshakeResponseReceived")
        assert opened["response"]["status"] == OPENED_WITH[proxy]

        asked, before = f"/{secrets.token_hex(8)}", reported(page)
        visitor = {"User-Agent": 'A "visitor"', "Referer": "https://elsewhere.example/"}
        address = f"https://{NAME}{asked}"
        assert answer(report.host, address, root_pem=report.root_pem, headers=visitor).status == 404
        page.until(f"JSON.stringify(GoAccess.getPanelData()).includes({asked!r})")
        assert reported(page) > before
        known = page.evaluate("JSON.stringify(GoAccess.getPanelData())")
        assert "elsewhere.example" in known
        assert elsewhere.address in known
        assert page.evaluate("GoAccess.getPanelData().general.failed_requests") == 0


@pytest.mark.parametrize("proxy", PROXIES)
def test_there_is_nothing_to_do_afterwards(reports: Mapping[Proxy, Deployed], proxy: Proxy) -> None:
    again = reports[proxy].apply()
    assert again.code == 0, again
    assert "nothing to do" in again.out
