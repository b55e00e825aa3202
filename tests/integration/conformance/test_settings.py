"""Settings of sites and routes, on every release; their details are in test_same_behind_each.py."""

from __future__ import annotations

import pytest

from tests.integration.conformance.world import World

pytestmark = [pytest.mark.lab, pytest.mark.every_release]

NAME = "more.example.com"
ODD = "a $b %c"


def test_redirects(world: World) -> None:
    answer = world.ask("/old/x?y", name=NAME)
    assert (answer.status, answer["location"]) == (301, f"https://{NAME}/new/x?y")
    answer = world.ask("/x?y", name=f"www.{NAME}")
    assert (answer.status, answer["location"]) == (308, f"https://{NAME}/x?y")


def test_headers(world: World) -> None:
    answer = world.ask("/changed", "Cookie: a=b", name=NAME)
    service = answer.echoed
    assert (service.header("X-Script"), service.header("Cookie")) == ([ODD], [])
    assert (answer["x-mine"], answer["x-frame-options"]) == (ODD, "DENY")
    assert "x-of-the-service" not in answer
    assert answer["strict-transport-security"] == "max-age=600"


def test_access(world: World) -> None:
    password = "Authorization: Basic YWxpY2U6c2VjcmV0"  # alice:secret
    found = [world.ask("/closed", *more, name=NAME).status for more in ((), (password,))]
    assert found == [401, 200]
    visitors = ("203.0.113.5", "203.0.113.9", "8.8.8.8")
    asked = [world.ask("/from", f"X-Forwarded-For: {each}", name=NAME) for each in visitors]
    assert [answer.status for answer in asked] == [200, 403, 403]
    assert asked[0].echoed.header("X-Real-IP") == ["203.0.113.5"]


def test_bodies_events_and_files(world: World) -> None:
    # HAProxy 2.2 does not wait until all of it has been sent.
    sent = b"" if str(world.front) == "haproxy-11" else bytes(20 * 2**20)
    large = {"method": "POST", "body": sent}
    assert world.ask("/new", f"Content-Length: {20 * 2**20}", name=NAME, **large).status == 413
    assert world.ask("/none/of/these", name=NAME).body == b"home\n"
    assert world.ask("/new?body=2000", "Accept-Encoding: gzip", name=NAME)["content-encoding"]
