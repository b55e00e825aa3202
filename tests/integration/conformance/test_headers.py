"""What a service may believe of a request, and what the proxy itself says to clients."""

from __future__ import annotations

import hashlib

import pytest

from deployer.sites.values import REMOVED_HEADERS
from tests.integration.conformance.hosts import has_lua
from tests.integration.conformance.world import DOMAIN, PLAIN, Echoed, World, echoed

pytestmark = pytest.mark.lab

_FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Real-IP": "6.6.6.6",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "Forwarded": "for=6.6.6.6",
    "X-Forwarded-Server": "evil.example",
    "X-Original-URL": "/admin",
    "X-Rewrite-URL": "/admin",
    "X-Client-IP": "6.6.6.6",
    "True-Client-IP": "6.6.6.6",
    "Proxy": "evil.example:3128",
}


def seen(found: Echoed) -> dict[str, list[str]]:
    """The headers about the client that reached the service."""
    return {name: found.header(name) for name in {*_FORGED, *REMOVED_HEADERS}}


def expected(world: World, *, tls: bool = True) -> dict[str, list[str]]:
    """What a service gets, whatever the client says."""
    return {
        "X-Forwarded-For": [world.own_address],
        "X-Real-IP": [world.own_address],
        "X-Forwarded-Proto": ["https" if tls else "http"],
        "X-Forwarded-Host": [DOMAIN if tls else PLAIN],
        "X-Forwarded-Port": ["443" if tls else "80"],
        **{name: [] for name in REMOVED_HEADERS},
    }


@pytest.mark.every_release
@pytest.mark.parametrize("path", ["/ws", "/plain", "/cut", "/pair", "/secure", "/brief"])
def test_where_a_request_comes_from_cannot_be_forged(world: World, path: str) -> None:
    forged = [f"{name}: {value}" for name, value in _FORGED.items()]
    found = world.ask(path, *forged, *forged).echoed
    assert seen(found) == expected(world)
    if path != "/plain":
        with world.open(path, additional_headers=_FORGED) as connection:
            found = echoed(connection)
        assert seen(found) == expected(world)


@pytest.mark.every_release
@pytest.mark.parametrize("path", ["/a.b", "/plain"])
def test_nor_on_port_80(world: World, path: str) -> None:
    forged = [f"{name}: {value}" for name, value in _FORGED.items()]
    found = world.ask(path, *forged, name=PLAIN, tls=False).echoed
    assert seen(found) == expected(world, tls=False)


@pytest.mark.every_release
def test_nor_with_underscores(world: World) -> None:
    # WSGI, Rack and CGI know one name for both.
    forged = [f"{name.replace('-', '_')}: {value}" for name, value in _FORGED.items()]
    answer = world.ask("/ws", *forged)
    if world.front.proxy == "haproxy" and answer.status == 400:
        return  # HAProxy 2.2 can refuse them, and not take them out
    found = answer.echoed
    assert [pair for pair in found.document["headers"] if "_" in pair[0]] == []


@pytest.mark.every_release
@pytest.mark.parametrize("path", ["/ws", "/plain"])
def test_nor_by_having_them_taken_for_hop_by_hop(world: World, path: str) -> None:
    # RFC 9110, section 7.6.1: what Connection names is for the next hop alone, and removed there.
    found = world.ask(path, f"Connection: close, {', '.join(_FORGED)}").echoed
    assert seen(found) == expected(world)


@pytest.mark.every_release
@pytest.mark.parametrize("upgrade", [False, True])
def test_underscores_pass_where_the_site_says_so(world: World, upgrade: bool) -> None:
    ask = world.upgrade if upgrade else world.ask
    name = "any.wild.example.com"
    forged = [f"{name.replace('-', '_')}: {value}" for name, value in _FORGED.items()]
    mixed = ["X_Real-IP: 6.6.6.6", "x-forwarded_for: 6.6.6.6"]
    own = ["api_access_token: token", "a-b_c: 1"]
    found = ask("/x", *own, *forged, *mixed, name=name).echoed
    sent = dict(pair for pair in found.document["headers"] if "_" in pair[0])
    assert {key.lower(): value for key, value in sent.items()} == {
        "api_access_token": "token",
        "a-b_c": "1",
    }


@pytest.mark.every_release
@pytest.mark.parametrize(
    "rows",
    [
        ("api_access_token: forged", "api-access-token: good"),
        ("api-access-token: good", "API_Access_Token: forged"),
        ("api-access_token: forged", "api-access-token: good", "api_access_token: forged"),
    ],
)
def test_of_two_spellings_the_one_with_underscores_is_dropped(
    world: World, rows: tuple[str, ...]
) -> None:
    if not has_lua(world.front):
        pytest.skip("this nginx has no Lua")
    found = world.ask("/x", *rows, "other_name: 1", name="any.wild.example.com").echoed
    names = [name.lower() for name, _ in found.document["headers"]]
    assert [name for name in names if name.startswith("api")] == ["api-access-token"]
    assert found.header("api-access-token") == ["good"]
    assert "other_name" in names


@pytest.mark.every_release
@pytest.mark.parametrize("port", [None, 8443])
@pytest.mark.parametrize("path", ["/ws", "/cut", "/secure", "/pair"])
def test_host_is_what_the_client_named(world: World, port: int | None, path: str) -> None:
    with world.open(path, port=port) as connection:
        found = echoed(connection)
    name = DOMAIN if port is None else f"{DOMAIN}:{port}"
    assert found.header("Host") == [name]
    assert found.header("X-Forwarded-Host") == [name]


def test_host_of_an_absolute_request_target_wins(world: World) -> None:
    # RFC 9112, section 3.2.2.
    found = world.ask(f"http://{DOMAIN}/cut/x?y").echoed
    assert found.header("Host") == [DOMAIN]
    assert found.target.removeprefix(f"http://{DOMAIN}") == "/x?y"
    answer = world.ask(f"http://{DOMAIN}/cut/x?y", host="evil.example")
    # HAProxy takes two names for a mistake, and Apache another than in the TLS handshake.
    if answer.status not in (400, 421):
        assert answer.echoed.header("Host") == [DOMAIN]
        assert answer.echoed.header("X-Forwarded-Host") == [DOMAIN]


def test_what_else_a_client_says_reaches_the_service(world: World) -> None:
    said = ["Cookie: a=1; b=2", "Authorization: Bearer x", "User-Agent: test", "X-Own: één"]
    found = world.ask("/ws", *said).echoed
    for row in said:
        name, _, value = row.partition(": ")
        assert found.header(name) == [value]


@pytest.mark.every_release
def test_what_a_service_says_reaches_the_client(world: World) -> None:
    answer = world.ask("/ws")
    values = [value for name, value in answer.headers if name == "x-of-the-service"]
    assert values == ["one", "two"]
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert cookies == ["a=1; Path=/", "b=2; Path=/"]
    assert world.upgrade("/ws")["x-of-the-service"] == "one"


@pytest.mark.every_release
@pytest.mark.parametrize("path", ["/ws", "/plain"])
def test_long_headers(world: World, path: str) -> None:
    # A session in a cookie is 4 kB, and comes with others.
    cookies = "a=" + 7000 * "x"
    answer = world.ask(f"{path}?long=7000", f"Cookie: {cookies}")
    assert answer.echoed.header("Cookie") == [cookies]
    assert answer["x-long"] == 7000 * "x"
    if path == "/ws":
        assert world.upgrade("/ws?long=7000", f"Cookie: {cookies}")["x-long"] == 7000 * "x"


@pytest.mark.parametrize("path", ["/ws", "/plain", "/pair"])
def test_bodies(world: World, path: str) -> None:
    body = bytes(range(256)) * 8192
    whole = world.ask(path, f"Content-Length: {len(body)}", method="POST", body=body).echoed
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (65536, body[at : at + 65536]) for at in range(0, len(body), 65536)
    )
    parts = world.ask(
        path, "Transfer-Encoding: chunked", method="POST", body=chunks + b"0\r\n\r\n"
    ).echoed
    for found in (whole, parts):
        assert found.document["body_bytes"] == len(body)
        assert found.document["body_sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.every_release
@pytest.mark.parametrize(("mib", "status"), [(16, 200), (17, 413)])
def test_bodies_may_be_16_mib(world: World, mib: int, status: int) -> None:
    body = bytes(mib * 2**20) if status == 200 else b""
    answer = world.ask("/ws", f"Content-Length: {mib * 2**20}", method="POST", body=body)
    assert answer.status == status


@pytest.mark.every_release
@pytest.mark.parametrize(
    ("path", "upgrade", "status"),
    [
        ("/", False, 200),
        ("/nothing", False, 404),
        ("/ws", False, 200),
        ("/ws", True, 101),
        ("/strict", True, 403),
    ],
)
def test_hsts_is_on_every_answer(world: World, path: str, upgrade: bool, status: int) -> None:
    answer = world.upgrade(path) if upgrade else world.ask(path)
    assert answer.status == status
    if (world.front.proxy, status) != ("apache", 101):  # to which it adds nothing
        assert answer["strict-transport-security"] == "max-age=600"


@pytest.mark.every_release
@pytest.mark.parametrize("path", ["/", "/nothing", "/ws", "/strict"])
def test_no_version_is_disclosed(world: World, path: str) -> None:
    for answer in (world.ask(path), world.upgrade(path), world.ask(path, tls=False)):
        servers = [value for name, value in answer.headers if name == "server"]
        assert set(servers) <= {"nginx", "Apache"}
        assert not {"via", "x-powered-by"} & {name for name, _ in answer.headers}
        assert b"Debian" not in answer.body
