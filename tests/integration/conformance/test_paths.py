"""Which requests reach which service, and as what; what the proxy answers by itself."""

from __future__ import annotations

import pytest

from tests.integration.conformance.world import ALIAS, DOMAIN, PLAIN, World, echoed

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

_REACHED = [
    ("/ws", "echo", "/ws"),
    ("/ws/", "echo", "/ws/"),
    ("/ws/x?q=1", "echo", "/ws/x?q=1"),
    ("/ws/a%2Fb%3Fc", "echo", "/ws/a%2Fb%3Fc"),
    ("/ws/%C3%A9%20%25%5B%5D", "echo", "/ws/%C3%A9%20%25%5B%5D"),
    ("/ws/deep", "socket", "/ws/deep"),
    ("/ws/deep/er", "socket", "/ws/deep/er"),
    ("/ws/deeper", "echo", "/ws/deeper"),
    ("/exact", "echo", "/exact"),
    ("/exact?q", "echo", "/exact?q"),
    ("/cut", "echo", "/"),
    ("/cut?q=1&r=%2F", "echo", "/?q=1&r=%2F"),
    ("/cut/", "echo", "/"),
    ("/cut/x", "echo", "/x"),
    ("/cut/x/?q", "echo", "/x/?q"),
    ("/cut/a%2Fb%3Fc%20d?q=%2F", "echo", "/a%2Fb%3Fc%20d?q=%2F"),
    ("/one/cut?q", "echo", "/?q"),
    ("/plain/x%2Fy", "echo", "/plain/x%2Fy"),
    ("/plain/x?a=%20&b[]=c|d", "echo", "/plain/x?a=%20&b[]=c|d"),
    ("/secure/x", "secure", "/secure/x"),
    ("/six/x", "echo", "/six/x"),
]


@pytest.mark.parametrize(("target", "service", "seen"), _REACHED)
def test_requests_reach_their_service(world: World, target: str, service: str, seen: str) -> None:
    found = world.ask(target).echoed
    assert (found.service, found.target) == (service, seen)


@pytest.mark.parametrize(
    ("target", "service", "seen"),
    [case for case in _REACHED if not case[0].startswith(("/plain", "/one"))],
)
def test_so_do_websockets(world: World, target: str, service: str, seen: str) -> None:
    with world.open(target, origin=f"https://{DOMAIN}") as connection:
        found = echoed(connection)
        assert (found.service, found.target) == (service, seen)
        connection.send("hello")
        assert connection.recv() == "hello"


@pytest.mark.parametrize(
    "target",
    ["/wsx", "/wsx/y", "/exact/", "/exact/x", "/exactly", "/cutter", "/one/cut/", "/one/cut/x"],
)
def test_other_paths_are_nobodys(world: World, target: str) -> None:
    assert world.ask(target).status == 404
    assert world.upgrade(target).status == 404


def test_a_site_may_have_paths_that_are_nobodys(world: World) -> None:
    for target in ("/", "/nothing", "/axb", "/a.bc"):
        assert world.ask(target, name=PLAIN, tls=False).status == 404
    assert world.ask("/a.b", name=PLAIN, tls=False).echoed.target == "/a.b"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_passes(world: World, method: str) -> None:
    found = world.ask("/plain", "Content-Length: 4", method=method, body=b"body").echoed
    assert (found.document["method"], found.document["body_bytes"]) == (method, 4)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/", "home\n"),
        ("/index.html", "home\n"),
        ("/index.html?v=1", "home\n"),
        ("/pub", "public\n"),
        ("/pub/", "public\n"),
        ("/pub/sub/index.html", "sub\n"),
    ],
)
def test_files(world: World, target: str, text: str) -> None:
    answer = world.ask(target)
    assert (answer.status, answer.body.decode()) == (200, text)
    assert answer["content-type"].startswith("text/html")
    assert world.ask(target, method="HEAD").status == 200


@pytest.mark.parametrize(
    "target", ["/pub/sub", "/pub/sub/", "/bare/", "/nothing", "/../etc/passwd"]
)
def test_folders_are_not_listed(world: World, target: str) -> None:
    answer = world.ask(target)
    assert b"inside.txt" not in answer.body
    assert b"root:" not in answer.body
    if target.startswith("/pub/sub"):
        assert (answer.status, answer.body) == (200, b"sub\n")
    else:
        assert answer.status in (400, 403, 404)


def test_an_alias_is_served_as_the_name_is(world: World) -> None:
    with world.open("/ws", name=ALIAS, origin=f"https://{ALIAS}") as connection:
        found = echoed(connection)
    assert found.header("Host") == [ALIAS]
    assert world.ask("/", name=ALIAS).body == b"home\n"
    answer = world.ask("/ws/x?q", name=ALIAS, tls=False)
    assert (answer.status, answer["location"]) == (308, f"https://{ALIAS}/ws/x?q")


def test_a_name_of_many(world: World) -> None:
    name = "any.wild.example.com"
    with world.open("/x", name=name, origin=f"https://{name}") as connection:
        assert echoed(connection).header("Host") == [name]
    other = "other.wild.example.com"
    assert world.upgrade("/", f"Origin: https://{other}", name=name).status == 101
    assert world.upgrade("/", "Origin: https://a.b.wild.example.com", name=name).status == 403
    assert world.upgrade("/", "Origin: https://wildXexample.com", name=name).status == 403
    assert world.ask("/a?b", name=name, tls=False)["location"] == f"https://{name}/a?b"


def test_one_of_them_that_is_a_site_of_its_own(world: World) -> None:
    name = "tame.wild.example.com"
    assert world.ask("/ws", name=name).echoed.service == "first"
    assert world.ask("/", name=name).status == 404
    with world.connect(name=name) as line:
        names = line.getpeercert()["subjectAltName"]  # type: ignore[attr-defined]
    assert names == (("DNS", name),)


def test_names_are_the_same_in_capitals(world: World) -> None:
    assert world.ask("/ws", host=DOMAIN.upper()).echoed.service == "echo"
    assert world.ask("/a.b", host=PLAIN.upper(), tls=False).echoed.service == "echo"


def test_over_ipv6(world: World) -> None:
    with world.open("/ws", ipv6=True) as connection:
        assert echoed(connection).header("X-Forwarded-For") == [world.own_address6]
    assert world.ask("/", ipv6=True).body == b"home\n"
    assert world.ask("/ws", ipv6=True, tls=False).status == 308
    assert world.ask("/a.b", name=PLAIN, ipv6=True, tls=False).status == 200


@pytest.mark.parametrize("target", ["/", "/ws", "/ws/x?q=%2F&r=a+b", "/a%20b%2Fc", "/nothing"])
@pytest.mark.parametrize("port", ["", ":80", ":8080"])
def test_port_80_redirects_to_https(world: World, target: str, port: str) -> None:
    answer = world.ask(target, tls=False, host=f"{DOMAIN}{port}")
    assert (answer.status, answer["location"]) == (308, f"https://{DOMAIN}{target}")
    assert "strict-transport-security" not in answer  # RFC 6797, section 7.2


def test_port_80_redirects_whatever_is_asked(world: World) -> None:
    for method in ("POST", "HEAD", "OPTIONS"):
        assert world.ask("/ws", method=method, tls=False).status == 308
    assert world.upgrade("/ws", tls=False).status == 308
