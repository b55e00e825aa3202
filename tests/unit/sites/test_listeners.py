"""What the sites of a listener share."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import cast

import pytest

from deployer.errors import SourceError
from deployer.proxies.apache import site as apache
from deployer.proxies.haproxy import site as haproxy
from deployer.proxies.nginx import site as nginx
from deployer.proxies.shared import Others
from deployer.sites.listeners import check_listeners, in_front
from deployer.sites.model import Route, Site, Tls, Upstream
from deployer.sites.served_file import served_part
from deployer.sites.values import View

PLAIN = Site(domain="plain.example.com")
BEHIND = Site(
    domain="behind.example.com",
    tls=Tls(issuer="internal"),
    trusted_proxies=("10.0.0.0/8",),
    proxy_protocol=True,
)


def test_a_port_has_one_setting_for_all_sites() -> None:
    for sites in ((PLAIN, BEHIND), (BEHIND, PLAIN)):
        with pytest.raises(SourceError, match="on the same port 80 does not"):
            nginx.more_vars(sites)
    with pytest.raises(SourceError, match="on the same port 80"):
        haproxy.more_vars([BEHIND], Others(sites=(served_part(PLAIN),)))
    own = replace(PLAIN, domain="own.example.com", port=8080)
    check_listeners([BEHIND, own], proxy="nginx")


def test_one_proxy_has_one_list_of_balancers() -> None:
    other = replace(BEHIND, domain="other.example.com", trusted_proxies=("192.0.2.1",))
    nginx.more_vars([BEHIND, other])
    with pytest.raises(SourceError, match="differ in trusted_proxies"):
        haproxy.more_vars([BEHIND, other])


def test_who_is_in_front() -> None:
    assert in_front(replace(BEHIND, proxy_protocol=False)) == {
        "trusted_proxies": ["10.0.0.0/8"],
        "balancers": [],
        "admitted": [],
    }
    loopback = replace(BEHIND, trusted_proxies=("::1", "10.0.0.0/8"))
    assert in_front(loopback) == {
        "trusted_proxies": [],
        "balancers": ["::1", "10.0.0.0/8"],
        "admitted": ["127.0.0.0/8", "::1", "10.0.0.0/8"],
    }


@pytest.mark.parametrize("proxy", [nginx, apache])
def test_only_one_proxy_sends_the_header_to_services(proxy: ModuleType) -> None:
    upstream = Upstream(host="127.0.0.1", port=3000, send_proxy="v2")
    sending = replace(PLAIN, routes=(Route(path="/", upstreams=(upstream,)),))
    with pytest.raises(SourceError, match="cannot begin connections to http://127"):
        proxy.view(sending)
    (route,) = cast("list[View]", haproxy.view(sending)["routes"])
    assert route["parameters"] == [" send-proxy-v2"]
