"""Services that require a login, checked as far as possible without one."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Any
from uuid import uuid4

import pytest

from deployer.model import CheckResult
from deployer.sites.model import Route, Site, Tls, Upstream
from deployer.verify import verify_site
from deployer.verify.options import Limits, ProxyAddress
from tests.support.servers.scripted import Front, Peer, Server, dial, websocket_service

NAME = "chat.example.com"
OWN = (f"http://{NAME}",)


def refuses_the_upgrade(peer: Peer) -> None:
    """Like FastAPI on uvicorn."""
    if peer.header("Upgrade"):
        peer.answer("403 Forbidden")
    else:
        peer.answer("404 Not Found", body='{"detail":"Not Found"}')


def wants_a_login_for_all(peer: Peer) -> None:
    peer.answer("401 Unauthorized", body="who are you?")


def opens_and_leaves(peer: Peer) -> None:
    """Like Neko, which sends the reason and drops the connection."""
    if not peer.header("Upgrade"):
        peer.answer("400 Bad Request")
        return
    peer.upgrade()
    peer.send(b"\x81\x05leave")


def results(service: int, *, login: bool = True, **front: Any) -> dict[str, CheckResult]:
    """The results of a site in front of a service on that port, by name and hop."""
    with Server(Front(backend_port=service, origins=OWN, **front)) as proxy:
        upstream = Upstream(host="127.0.0.1", port=service)
        route = Route(path="/ws", websocket=True, upstreams=(upstream,), login=login)
        found = verify_site(
            Site(domain=NAME, tls=Tls(issuer="none"), routes=(route,)),
            dial=dial,
            proxy=ProxyAddress(http_port=proxy.port),
            limits=Limits(timeout_s=2.0, patience_s=0.0),
        )
    return {f"{result.name} ({result.hop})": result for result in found}


def failing(found: dict[str, CheckResult]) -> list[str]:
    return sorted(name for name, result in found.items() if not result.ok)


def opens_and_closes(peer: Peer) -> None:
    """Like Cockpit without a session."""
    if not peer.header("Upgrade"):
        peer.answer("200 OK", body="a page")
        return
    peer.upgrade()
    peer.send(b"\x88\x0c\x03\xe9no-session")
    peer.until_it_leaves()


def redirects_to_a_login(peer: Peer) -> None:
    location = f"Location: http://{peer.header('Host')}/login?next={peer.target}"
    peer.answer("302 Found", location, body=f"at {id(peer)}")


def redirects_to_a_provider(peer: Peer) -> None:
    """Like oauth2-proxy: the state is new each time, and the page has the link."""
    there = f"https://idp.example.com/{uuid4()}/auth?state={token_urlsafe()}&client_id=chat"
    peer.answer("302 Found", f"Location: {there}", body=f'<a href="{there}">Found</a>.')


def numbers_its_errors(peer: Peer) -> None:
    peer.answer("401 Unauthorized", body=f'{{"id": "{uuid4()}", "error": "no session"}}')


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (redirects_to_a_provider, "answered 302"),
        (numbers_its_errors, "answered 401"),
        (refuses_the_upgrade, "answered 403, like the service itself: login required (404"),
        (wants_a_login_for_all, "it also answers 401 without an upgrade, so this proves little"),
        (opens_and_leaves, "101, then closed by the service: login required"),
        (opens_and_closes, "101, then closed by the service with code 1001: login required"),
        (redirects_to_a_login, "answered 302, like the service itself: login required"),
    ],
)
def test_a_service_that_only_requires_a_login_passes(service: Any, words: str) -> None:
    with Server(service) as app:
        found = results(app.port)
        assert failing(found) == []
        assert words in found["handshake (proxy)"].detail
        assert "login required" in found["handshake (backend)"].detail
        assert found["foreign origin refused (proxy)"].detail == "answered 403"
        # Without `login: true` this is a fault.
        assert "handshake (proxy)" in failing(results(app.port, login=False))


def test_a_proxy_that_loses_the_upgrade_is_found() -> None:
    with Server(refuses_the_upgrade) as app:
        found = results(app.port, drops_upgrade=True)
    handshake = found["handshake (proxy)"]
    assert not handshake.ok
    assert handshake.finding is not None


@pytest.mark.parametrize("status", ["401 Unauthorized", "302 Found", "404 Not Found"])
def test_a_refusal_of_the_proxys_own_is_found(status: str) -> None:
    def like_the_proxy(peer: Peer) -> None:
        peer.answer(status, "Location: /login", body="of the service")

    with Server(like_the_proxy) as app:
        found = results(app.port, answers=status, location="/elsewhere")
    assert found["handshake (proxy)"].finding is not None
    assert found["handshake (proxy)"].finding.hop == "proxy"


def test_a_service_that_fails_has_not_refused() -> None:
    def crashes(peer: Peer) -> None:
        peer.upgrade()
        peer.send(b"\x88\x02\x03\xf3")  # 1011
        peer.until_it_leaves()

    with Server(crashes) as app:
        assert "handshake (backend)" in failing(results(app.port))


def test_a_proxy_that_drops_connections_is_found() -> None:
    with websocket_service() as port:
        found = results(port, changes_accept=True)
    assert not found["handshake (proxy)"].ok


def test_the_hop_that_refuses_a_foreign_origin_is_sometimes_unknown() -> None:
    """The service's refusal looks like the proxy's."""
    with Server(refuses_the_upgrade) as app:
        found = results(app.port, checks_origin=False)
    assert "by the service" in found["foreign origin refused (proxy)"].detail


def test_a_missing_origin_check_is_found_despite_the_login() -> None:
    with Server(opens_and_leaves) as app:
        found = results(app.port, checks_origin=False)
    assert failing(found) == ["foreign origin refused (proxy)"]
