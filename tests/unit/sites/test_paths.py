"""The paths of routes: placeholders, and which route serves a request."""

from __future__ import annotations

from itertools import permutations
from typing import Literal

import pytest

from deployer.sites.model import Route
from deployer.sites.paths import example_of, ordered, pattern_of, rest_of, serving

CHANNELS = Route(path="/api/kernels/{id}/channels")
KERNEL = Route(path="/api/kernels/{id}")
SPECIAL = Route(path="/api/kernels/special")
EXACT = Route(path="/api/kernels/special", match="exact")
ROOM = Route(path="/{room}/ws", strip_prefix=True)
ROOT = Route(path="/")
SERVED = {
    "/api/kernels/1/channels": CHANNELS,
    "/api/kernels/1/channels/x": CHANNELS,
    "/api/kernels/special/channels": CHANNELS,
    "/api/kernels/1/channelsx": KERNEL,
    "/api/kernels/1": KERNEL,
    "/api/kernels/1/": KERNEL,
    "/api/kernels/": ROOT,
    "/api/kernels": ROOT,
    "/api/kernels/special": EXACT,
    "/api/kernels/special/x": SPECIAL,
    "/a/ws": ROOM,
    "/a/b/ws": ROOT,
    "/": ROOT,
}


@pytest.mark.parametrize("path", SERVED)
def test_the_order_of_routes_in_the_playbook_does_not_matter(path: str) -> None:
    for routes in permutations((CHANNELS, KERNEL, SPECIAL, EXACT, ROOM, ROOT)):
        assert serving(routes, path) == SERVED[path]
        first = next(route for route in ordered(routes) if rest_of(route, path) is not None)
        assert first == SERVED[path]


@pytest.mark.parametrize(
    ("path", "match", "asked", "rest"),
    [
        ("/", "prefix", "/", ""),
        ("/", "prefix", "/x", "/x"),
        ("/", "exact", "/x", None),
        ("/ws", "prefix", "/ws/x", "/x"),
        ("/ws", "prefix", "/wsx", None),
        ("/x/", "exact", "/x/", ""),
        ("/x/", "exact", "/x", None),
        ("/a/{b}", "prefix", "/a/1/c", "/c"),
        ("/a/{b}", "prefix", "/a/", None),
        ("/a/{b}", "exact", "/a/1/c", None),
        ("/a/{b}", "exact", "/a/1", ""),
    ],
)
def test_the_rest_of_a_path(
    path: str, match: Literal["prefix", "exact"], asked: str, rest: str | None
) -> None:
    assert rest_of(Route(path=path, match=match), asked) == rest


def test_a_pattern_and_an_example() -> None:
    assert pattern_of("/v1.0/{a}/b") == r"/v1\.0/[^/]+/b"
    assert example_of("/v1.0/{a}/b") == "/v1.0/deployer-check/b"
