"""Each proxy of the registry has all of its places, with what other modules expect there."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import get_args

import pytest

from deployer import model
from deployer.agent import proxies as on_host
from deployer.agent.proxies import parts
from deployer.findings.entries import catalogue
from deployer.lab import images
from deployer.proxies import PROXIES, ProxyServer
from deployer.proxies.inspect.by_proxy import Reader
from deployer.proxies.limits import Limits
from deployer.proxies.roles import SiteViews
from deployer.proxies.traits import Traits
from deployer.proxies.words import Words, in_each
from tests.support.paths import ROOT

_EACH = pytest.mark.parametrize("proxy", PROXIES.values(), ids=lambda proxy: proxy.name)


def test_the_type_has_the_same_names() -> None:
    assert tuple(PROXIES) == get_args(model.Proxy)


def test_the_agent_has_the_same_proxies() -> None:
    units = {name: proxy.unit for name, proxy in PROXIES.items()}
    assert {name: proxy.unit for name, proxy in on_host.PROXIES.items()} == units
    assert {unit: proxy.name for unit, proxy in on_host.BY_UNIT.items()} == {
        unit: name for name, unit in units.items()
    }


@_EACH
@pytest.mark.parametrize(
    ("part", "protocol"),
    [
        ("workers", parts.Workers),
        ("reload", parts.Reload),
        ("readiness", parts.Readiness),
        ("connections", parts.Connections),
        ("inspection", parts.Inspection),
        ("slots", parts.Slots),
    ],
)
def test_the_agent_s_modules_offer_what_others_call(
    proxy: ProxyServer, part: str, protocol: type
) -> None:
    row = on_host.PROXIES[proxy.name]
    if part == "slots" and not row.has_slots:
        return
    for name, expected in inspect.getmembers(protocol, inspect.isfunction):
        if not name.startswith("_"):
            assert _parameters(getattr(getattr(row, part), name)) == _parameters(expected)


@_EACH
def test_a_proxy_has_its_three_places(proxy: ProxyServer) -> None:
    for path in (
        f"deployer/proxies/{proxy.name}",
        f"deployer/agent/proxies/{proxy.name}",
        f"roles/{proxy.name}/tasks/main.yml",
    ):
        assert (ROOT / path).exists()
    assert f'"{proxy.package}"' in inspect.getsource(images)


@_EACH
@pytest.mark.parametrize(
    ("module", "protocol"), [("views", SiteViews), ("reader", Reader), ("limits", Limits)]
)
def test_its_modules_offer_what_others_call(
    proxy: ProxyServer, module: str, protocol: type
) -> None:
    for name, expected in inspect.getmembers(protocol, inspect.isfunction):
        if not name.startswith("_"):
            assert _parameters(getattr(getattr(proxy, module), name)) == _parameters(expected)


def _parameters(function: Callable[..., object]) -> list[tuple[str, object]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.default) for each in found if each.name != "self"]


@_EACH
def test_it_has_words_and_traits(proxy: ProxyServer) -> None:
    assert isinstance(proxy.words, Words)
    assert isinstance(proxy.traits, Traits)
    assert proxy.words.idle_line.format(seconds=90.0) != proxy.words.idle_line


def test_every_sign_is_of_a_finding_of_the_catalogue() -> None:
    codes = {code for proxy in PROXIES.values() for code in proxy.words.signs}
    assert codes <= set(catalogue().entries)
    assert {proxy.words.gone for proxy in PROXIES.values()} <= set(catalogue().entries)


def test_the_words_of_all_proxies_together() -> None:
    assert in_each(lambda words: words.h2_off) == (
        "Apache: H2WebSockets off; HAProxy: h2-workaround-bogus-websocket-clients"
    )
