"""Services that are probed before a change: the verdicts are those of the verification."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from deployer.model import CheckResult
from deployer.sites.model import Check, Route, Site, Upstream
from deployer.verify.preflight import preflight_site
from tests.support.servers.scripted import Server, closed_port, dial, websocket_service
from tests.support.verified_sites import a_site


def seen(site: Site, *, started: bool = False) -> tuple[CheckResult, ...]:
    return preflight_site(site, dial=dial, is_asked=lambda _: not started)


def problems(site: Site) -> dict[str, str]:
    """The findings of failed checks, by target."""
    failed = [result for result in seen(site) if not result.ok]
    assert bool(failed) == any(result.finding for result in failed)
    return {result.target: result.finding.code for result in failed if result.finding}


def test_a_good_service() -> None:
    with websocket_service() as port:
        result, without_origin = seen(a_site(port=port))
        assert result.ok
        assert without_origin.ok
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


def of_two(port: int, second: Upstream, *, websocket: bool = True) -> Site:
    """A route whose clients are sent to either of two services."""
    upstreams = (Upstream(host="127.0.0.1", port=port), second)
    route = Route(path="/ws", websocket=websocket, upstreams=upstreams)
    return Site(domain="example.com", routes=(route,))


@pytest.mark.parametrize("websocket", [True, False])
def test_each_of_several_upstreams_is_asked(websocket: bool) -> None:
    dead = closed_port()
    with websocket_service() as port:
        site = of_two(port, Upstream(host="127.0.0.1", port=dead), websocket=websocket)
        assert problems(site) == {f"/ws at 127.0.0.1:{dead}": "service-down"}


def test_one_of_several_upstreams_is_started() -> None:
    dead = closed_port()
    with websocket_service() as port:
        site = of_two(port, Upstream(host="127.0.0.1", port=dead))
        results = preflight_site(site, dial=dial, is_asked=lambda upstream: upstream.port != dead)
    assert {result.target for result in results} == {f"/ws at 127.0.0.1:{port}"}
    assert all(result.ok for result in results)


def test_a_dead_unix_socket(tmp_path: Path) -> None:
    route = Route(path="/", upstreams=(Upstream(socket=f"{tmp_path}/app.sock"),))
    site = Site(domain="example.com", routes=(route,))
    assert problems(site) == {f"/ at unix:{tmp_path}/app.sock": "service-down"}


@pytest.mark.parametrize("websocket", [True, False])
def test_a_plain_service_behind_https(websocket: bool) -> None:
    with websocket_service() as port:
        upstream = Upstream(host="127.0.0.1", port=port, tls=True)
        route = Route(path="/ws", websocket=websocket, upstreams=(upstream,))
        found = problems(Site(domain="example.com", routes=(route,)))
        assert found == {f"/ws at 127.0.0.1:{port}": "upstream-scheme"}


def test_a_page_of_a_service_that_expects_tls() -> None:
    """Go's net/http answers plain HTTP on such a port."""
    words = "Client sent an HTTP request to an HTTPS server.\n"
    with Server(lambda peer: peer.answer("400 Bad Request", body=words)) as web:
        route = Route(path="/", upstreams=(Upstream(host="127.0.0.1", port=web.port),))
        found = problems(Site(domain="example.com", routes=(route,)))
        assert found == {f"/ at 127.0.0.1:{web.port}": "upstream-scheme"}


def test_an_alias_that_the_service_refuses() -> None:
    def only_one_name(connection: ServerConnection, request: Request) -> Response | None:
        is_known = request.headers["Host"] == "example.com"
        return None if is_known else connection.respond(HTTPStatus.BAD_REQUEST, "which host?")

    with websocket_service(process_request=only_one_name) as port:
        upstream = Upstream(host="127.0.0.1", port=port)
        route = Route(path="/ws", websocket=True, upstreams=(upstream,))
        site = Site(domain="example.com", aliases=("www.example.com",), routes=(route,))
        (target,) = problems(site)
        assert target == f"www.example.com/ws at 127.0.0.1:{port}"
