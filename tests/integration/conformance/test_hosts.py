"""Only requests for a site's own names reach its services, whatever the TLS handshake named."""

from __future__ import annotations

import pytest
from h2.exceptions import ProtocolError

from tests.integration.conformance.http2 import Http2
from tests.integration.conformance.world import DOMAIN, PLAIN, Answer, World

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

#: Names that are not the site's, and what is not a name: proxies may reject that first.
_OTHERS = ("evil.example", f"{DOMAIN}.evil.example", f"evil.{DOMAIN}", "xliveXexample.com")
_MALFORMED = (
    *(f"{DOMAIN}@evil.example", f"evil@{DOMAIN}", f"{DOMAIN}:443@evil.example", f"{DOMAIN}:x"),
    *(f"{DOMAIN}, evil.example", f"evil.example,{DOMAIN}", f"evil.example {DOMAIN}", f"{DOMAIN}.."),
    *(f"evil.example/{DOMAIN}", f"{DOMAIN}/evil.example", "", " ", "*.example.com", "_", "[::1]"),
)
_REFUSED = (404, 421)


def refused(answer: Answer, *, malformed: bool = False) -> None:
    """A service's answer has a header that no proxy adds."""
    assert "x-of-the-service" not in answer
    assert answer.status in (*_REFUSED, *([400] if malformed else ()))


@pytest.mark.parametrize("name", _OTHERS)
@pytest.mark.parametrize("port", ["", ":443", ":8443"])
def test_another_name_reaches_no_service(world: World, name: str, port: str) -> None:
    host = f"{name}{port}"
    refused(world.ask("/ws", host=host))
    refused(world.upgrade("/ws", f"Origin: https://{host}", host=host))
    refused(world.ask("/a.b", host=host, name=PLAIN, tls=False))


def test_nor_does_the_address_or_a_site_of_another_port(world: World) -> None:
    for host in (world.host.address, "127.0.0.1", "localhost", PLAIN):
        refused(world.ask("/ws", host=host))
        refused(world.ask("/plain", host=host))
    refused(world.ask("/a.b", host=world.host.address, tls=False))


@pytest.mark.parametrize("host", _MALFORMED)
def test_nor_does_a_malformed_one(world: World, host: str) -> None:
    refused(world.ask("/ws", rows=[f"Host: {host}"]), malformed=True)
    refused(world.ask("/a.b", rows=[f"Host: {host}"], tls=False), malformed=True)


def test_nor_does_a_request_without_one(world: World) -> None:
    for tls in (True, False):
        refused(world.ask("/a.b", rows=[], tls=tls), malformed=True)


@pytest.mark.parametrize("names", [(DOMAIN, "evil.example"), ("evil.example", DOMAIN)])
def test_of_several_lines_the_service_gets_none_that_is_not_the_sites(
    world: World, names: tuple[str, str]
) -> None:
    answer = world.ask("/ws", rows=[f"Host: {name}" for name in names])
    if "x-of-the-service" in answer:  # nginx 1.18 uses the first
        assert names[0] == DOMAIN
        assert answer.echoed.header("Host") == [DOMAIN]
    else:
        refused(answer, malformed=True)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://evil.example/ws", DOMAIN),
        ("https://evil.example/ws", DOMAIN),
        ("HTTPS://evil.example/ws", DOMAIN),
        (f"http://{DOMAIN}@evil.example/ws", DOMAIN),
        (f"http://evil.example#{DOMAIN}/ws", DOMAIN),
        (f"http://{DOMAIN}.evil.example/ws", DOMAIN),
        (f"http://{DOMAIN}/ws", "evil.example"),
        ("http://evil.example/ws", "evil.example"),
    ],
)
def test_nor_does_an_absolute_target_with_another_name(
    world: World, target: str, host: str
) -> None:
    refused(world.ask(target, host=host), malformed=True)


@pytest.mark.parametrize("host", [DOMAIN.upper(), f"{DOMAIN}.", f"{DOMAIN}:443", f"{DOMAIN}:8443"])
def test_the_sites_own_names_do_in_every_form(world: World, host: str) -> None:
    (found,) = world.ask("/ws", host=host).echoed.header("Host")
    assert found.lower().rstrip(".").partition(":")[0] == DOMAIN
    assert world.upgrade("/ws", host=host).status == 101


@pytest.mark.parametrize("host", [*_OTHERS, f"{DOMAIN}@evil.example", f"{DOMAIN}:x"])
def test_nor_over_http2(world: World, host: str) -> None:
    with Http2(world) as connection:
        assert connection.ask("/ws").status == 200
        try:
            answer = connection.ask("/ws", host=host)
        except (ProtocolError, ConnectionError, EOFError):
            return  # a malformed name is an error of the connection
        if answer.status:  # or of the stream
            refused(answer, malformed=True)


def test_port_80_redirects_no_other_name(world: World) -> None:
    for host in ("evil.example", f"{DOMAIN}@evil.example", f"evil.example,{DOMAIN}"):
        refused(world.ask("/ws", host=host, tls=False), malformed=True)
