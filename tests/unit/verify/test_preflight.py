"""Services that are probed before a change: the verdicts are those of the verification."""

from __future__ import annotations

import pytest

from deployer.model import CheckResult
from deployer.sites.model import Check, Route, Site, Upstream
from deployer.verify.preflight import preflight_site
from tests.support.servers.scripted import Server, closed_port, dial, websocket_service
from tests.support.verified_sites import a_site


def seen(site: Site, *, started: bool = False) -> tuple[CheckResult, ...]:
    return preflight_site(site, dial=dial, is_started=lambda _: started)


def problems(site: Site) -> dict[str, str]:
    """The finding of each failed check, by its target."""
    return {
        result.target: result.finding.code if result.finding else ""
        for result in seen(site)
        if not result.ok
    }


def test_a_good_service() -> None:
    with websocket_service() as port:
        (result,) = seen(a_site(port=port))
        assert result.ok
        assert (result.hop, result.target) == ("backend", f"/ws at 127.0.0.1:{port}")


def test_nothing_listens() -> None:
    port = closed_port()
    assert problems(a_site(port=port)) == {f"/ws at 127.0.0.1:{port}": "service-down"}


def test_a_service_that_the_plan_starts_is_not_probed() -> None:
    assert seen(a_site(port=closed_port()), started=True) == ()


def test_a_dead_upstream_of_pages() -> None:
    dead = closed_port()
    page = Route(path="/", upstreams=(Upstream(host="127.0.0.1", port=dead),))
    with websocket_service() as port:
        assert problems(a_site(port=port, routes=(page,))) == {
            f"/ at 127.0.0.1:{dead}": "service-down"
        }


@pytest.mark.parametrize(
    ("status", "problem"), [("200 OK", ""), ("404 Not Found", ""), ("500 Oops", "service-failing")]
)
def test_the_status_of_a_page(status: str, problem: str) -> None:
    with websocket_service() as port, Server(lambda peer: peer.answer(status)) as web:
        page = Route(path="/", upstreams=(Upstream(host="127.0.0.1", port=web.port),))
        found = problems(a_site(port=port, routes=(page,)))
        assert found == ({f"/ at 127.0.0.1:{web.port}": problem} if problem else {})


def test_a_message_that_the_service_does_not_send() -> None:
    """What `verify:` expects is asked of the service too, but idle times are not repeated."""
    held = Check(path="/ws", hold_s=3600.0)
    wrong = Check(path="/ws", send="ping", expect="something else")
    with websocket_service() as port:
        found = problems(a_site(port=port, verify=(held, wrong)))
        assert list(found) == [f"/ws at 127.0.0.1:{port}"]


def test_a_folder_has_no_service() -> None:
    site = Site(domain="example.com", routes=(Route(path="/", root="/var/www"),))
    assert seen(site) == ()
