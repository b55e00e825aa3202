"""The same site behind every proxy of every release, once for all tests here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "unit/cases/sites"))

from hosts import Applied, serving
from world import Front, World

PROXIES = ("nginx", "apache", "haproxy")
#: Debian 12 has to do everything, its neighbours what is marked so.
IN_FULL = [Front(proxy, "debian-12") for proxy in PROXIES]
IN_PART = [Front(proxy, image) for image in ("debian-11", "debian-13") for proxy in PROXIES]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take a `world` get one proxy after the other."""
    if "world" in metafunc.fixturenames:
        is_everywhere = metafunc.definition.get_closest_marker("every_release") is not None
        fronts = [*IN_FULL, *(IN_PART if is_everywhere else ())]
        metafunc.parametrize("world", fronts, ids=str, indirect=True)


def _fronts_of(items: list[pytest.Item]) -> list[Front]:
    """The fronts that these tests need, so that one of them alone boots one host alone."""
    found: dict[Front, None] = {}
    for item in items:
        if isinstance(item, pytest.Function):
            if "worlds" in item.fixturenames:
                found |= dict.fromkeys(IN_FULL)
            if hasattr(item, "callspec") and "world" in item.callspec.params:
                found[item.callspec.params["world"]] = None
    return list(found)


@pytest.fixture(scope="session")
def applied(
    machine: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applied]:
    """All hosts that the tests of this run need."""
    fronts = _fronts_of(request.session.items)
    with serving(fronts, tmp_path_factory.mktemp("conformance")) as found:
        yield found


@pytest.fixture
def world(request: pytest.FixtureRequest, applied: Applied) -> World:
    """One proxy of one release."""
    found = applied[request.param]
    if isinstance(found, str):
        pytest.fail(found, pytrace=False)
    return found
