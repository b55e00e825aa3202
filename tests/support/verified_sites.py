"""Sites that are verified through a front, and services that only some requests reach."""

from __future__ import annotations

from typing import Any

from deployer.model import CheckResult, Finding
from deployer.sites.model import Check, Route, Site, Tls, Upstream
from deployer.verify import verify_site
from deployer.verify.options import Limits, ProxyAddress, PublicAccess
from tests.support.certificates.pki import authority
from tests.support.servers.scripted import (
    Peer,
    dial,
)

NAME = "stats.example.com"
OWN = f"https://{NAME}"
PLAIN = f"http://{NAME}"  # without TLS, a table of faults takes half the time
OFFERING = Check(path="/ws", subprotocols=("chat.v2",))


def a_site(*, port: int, **route: Any) -> Site:
    checks = route.pop("verify", ())
    issuer = route.pop("issuer", "internal")
    more = route.pop("routes", ())
    made = Route(
        path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=port),), **route
    )
    return Site(domain=NAME, tls=Tls(issuer=issuer), routes=(made, *more), verify=tuple(checks))


def verified(
    site: Site, *, https_port: int, http_port: int, port_in_names: bool = False, **settings: Any
) -> tuple[CheckResult, ...]:
    given_dial = settings.pop("dial", dial)
    on_result = settings.pop("on_result", None)
    public = settings.pop("public", None)
    addresses = settings.pop("addresses", None)
    limits = {"timeout_s": 5.0, "patience_s": 0.0, "listen_s": 0.0, **settings}
    return verify_site(
        site,
        dial=given_dial,
        roots_pem=authority("Root").pem,
        proxy=ProxyAddress(https_port=https_port, http_port=http_port, is_named=port_in_names),
        limits=Limits(**limits),
        public=None if public is None else PublicAccess(dial=public, addresses=addresses),
        on_result=on_result,
    )


def findings(results: tuple[CheckResult, ...]) -> list[Finding]:
    return [result.finding for result in results if result.finding is not None]


def named(results: tuple[CheckResult, ...], name: str, hop: str = "proxy") -> CheckResult:
    (found,) = [result for result in results if result.name == name and result.hop == hop]
    return found


def drops_politely(peer: Peer) -> None:
    peer.upgrade()
    peer.send(b"\x88\x02\x03\xe8")
    peer.until_it_leaves()


def cloaks_other_hosts(peer: Peer) -> None:
    """Like default Action Cable: a foreign Origin gets the response without an upgrade."""
    origin = peer.header("Origin")
    if peer.header("Upgrade") and origin in (None, f"http://{peer.header('Host')}"):
        drops_politely(peer)
    else:
        peer.answer("404 Not Found", body="Page not found")


def wants_its_own_origin(peer: Peer) -> None:
    """Like gorilla's default: Origin, if any, must match Host."""
    origin = peer.header("Origin")
    if not peer.header("Upgrade"):
        peer.answer("400 Bad Request", body="not a websocket handshake")
    elif origin is not None and origin.partition("://")[2] != peer.header("Host"):
        peer.answer("403 Forbidden", body="request origin not allowed")
    else:
        drops_politely(peer)
