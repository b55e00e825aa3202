"""The addresses of known proxies."""

from __future__ import annotations

import ipaddress

import pytest

from deployer.sites.client_ranges import PRESETS, includes_loopback


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_canonical_ranges_without_the_host_itself(name: str) -> None:
    ranges = PRESETS[name]
    assert [str(ipaddress.ip_network(each)) for each in ranges] == list(ranges)
    assert len(set(ranges)) == len(ranges)
    assert not includes_loopback(ranges)
    assert all(ipaddress.ip_network(each).prefixlen >= 7 for each in ranges)


@pytest.mark.parametrize("own", ["127.0.0.1", "127.0.0.0/8", "::1"])
def test_the_host_itself(own: str) -> None:
    assert includes_loopback((own,))
