"""Which requests reach which service, and as what."""

from __future__ import annotations

import pytest
from world import World, told

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

_REACHED = [
    ("/ws", "echo", "/ws"),
    ("/ws/", "echo", "/ws/"),
    ("/ws/x?q=1", "echo", "/ws/x?q=1"),
    ("/ws/a%2Fb%3Fc", "echo", "/ws/a%2Fb%3Fc"),
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
    ("/plain/x?a=%20&b[]=é|", "echo", "/plain/x?a=%20&b[]=é|"),
    ("/secure/x", "secure", "/secure/x"),
    ("/six/x", "echo", "/six/x"),
]


@pytest.mark.parametrize(("target", "service", "seen"), _REACHED)
def test_requests_reach_their_service(world: World, target: str, service: str, seen: str) -> None:
    found = world.ask(target).told
    assert (found.service, found.target) == (service, seen)


@pytest.mark.parametrize(
    ("target", "service", "seen"),
    [case for case in _REACHED if not case[0].startswith(("/plain", "/one"))],
)
def test_so_do_websockets(world: World, target: str, service: str, seen: str) -> None:
    with world.open(target) as connection:
        found = told(connection)
        assert (found.service, found.target) == (service, seen)
        connection.send("hello")
        assert connection.recv() == "hello"
