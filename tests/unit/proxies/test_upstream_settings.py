"""Settings of upstreams that one of the proxies does not have: refused, with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.errors import SourceError
from deployer.proxies import PROXIES
from deployer.sites.model import Health
from tests.support.sites.site_case import site

PAIR = ["http://10.0.0.1:1", "http://10.0.0.2:1"]


def test_sockets_that_apache_cannot_check() -> None:
    sockets = ["unix:/run/a.sock", "unix:/run/b.sock"]
    text = refusal("apache", health={"path": "/up"}, upstream=sockets)
    assert "Apache cannot check the sockets of /a" in text


def test_names_of_several_upstreams_behind_nginx() -> None:
    text = refusal("nginx", resolve_s=10.0)
    assert "nginx before 1.27.3 looks up no names of several upstreams again" in text


def refusal(proxy: str, **settings: Any) -> str:
    health = settings.pop("health", None)
    settings["health"] = None if health is None else Health(**health)
    routes = [{"path": "/a", "upstream": PAIR, **settings}]
    with pytest.raises(SourceError) as caught:
        PROXIES[proxy].views.view(site(domain="a.example", proxy=proxy, routes=routes))
    return str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "health", "words", "hint"),
    [
        ("nginx", {"path": "/up"}, "nginx cannot check /up itself", "Remove `path`"),
        ("apache", {"fails": 2}, "at its first failure", "with `path`"),
        ("haproxy", {"statuses": (502,)}, "cannot count only 502", "[500, 502, 503, 504]"),
    ],
)
def test_health(proxy: str, health: dict[str, Any], words: str, hint: str) -> None:
    text = refusal(proxy, health=health)
    assert words in text
    assert hint in text
