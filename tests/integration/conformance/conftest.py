"""The same site behind every proxy of every release, once for all tests here."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.conformance.hosts import Applied, serving
from tests.integration.conformance.reloads import Reloaded, reloading
from tests.integration.conformance.waits import Waits, waiting
from tests.integration.conformance.world import Front, World

PROXIES = ("nginx", "apache", "haproxy")
NEIGHBOURS = ("debian-11", "debian-13")
#: If set, in the environment, each proxy is tested in both neighbours of Debian 12.
EVERY_RELEASE = "EVERY_RELEASE"


def _in_part() -> list[Front]:
    """Each proxy in one neighbour, chosen at random: the same one in all workers of a run."""
    if os.environ.get(EVERY_RELEASE):
        return [Front(proxy, image) for image in NEIGHBOURS for proxy in PROXIES]
    chosen = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID"))  # noqa: S311 - not for secrets
    return [Front(proxy, chosen.choice(NEIGHBOURS)) for proxy in PROXIES]


#: Debian 12 has to do everything, its neighbours what is marked so.
IN_FULL = [Front(proxy, "debian-12") for proxy in PROXIES]
IN_PART = _in_part()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take a `world` get one proxy after the other."""
    if "world" in metafunc.fixturenames:
        is_everywhere = metafunc.definition.get_closest_marker("every_release") is not None
        fronts = [*IN_FULL, *(IN_PART if is_everywhere else ())]
        metafunc.parametrize("world", fronts, ids=str, indirect=True)


#: What changes the hosts comes last, and just before it what has been waiting all the time.
_LAST = ("test_silence", "test_reloads")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of those files after all others here."""

    def rank(item: pytest.Item) -> int:
        return _LAST.index(item.path.stem) if item.path.stem in _LAST else -1

    here = [item for item in items if item.path.parent == Path(__file__).parent]
    others = [item for item in items if item not in set(here)]
    items[:] = [*others, *sorted(here, key=rank)]


def _fronts_of(items: list[pytest.Item]) -> list[Front]:
    """The fronts that these tests need, so that one of them alone boots one host alone."""
    found: dict[Front, None] = {}
    for item in items:
        if isinstance(item, pytest.Function):
            if "alike" in item.fixturenames:
                found |= dict.fromkeys(IN_FULL)
            front = item.callspec.params.get("world") if hasattr(item, "callspec") else None
            if isinstance(front, Front):  # tests elsewhere have worlds of their own
                found[front] = None
    return list(found)


@pytest.fixture(scope="session")
def applied(
    machine: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applied]:
    """All hosts that the tests of this run need."""
    fronts = _fronts_of(request.session.items)
    with serving(fronts, tmp_path_factory.mktemp("conformance")) as found:
        yield found


@pytest.fixture(scope="session")
def waits(applied: Applied) -> Iterator[dict[Front, Waits]]:
    """What takes time begins at once on all hosts, and is looked at in the end."""
    with ExitStack() as stack:
        yield {
            front: stack.enter_context(waiting(world))
            for front, world in applied.items()
            if isinstance(world, World)
        }


@pytest.fixture(scope="session")
def reloads(applied: Applied) -> Iterator[dict[Front, Future[Reloaded]]]:
    """All hosts are reloaded at once, when the first test asks for it."""
    worlds = [world for world in applied.values() if isinstance(world, World)]
    with reloading(worlds) as found:
        yield found


@pytest.fixture
def reloaded(world: World, reloads: dict[Front, Future[Reloaded]]) -> Reloaded:
    """What that did on one host."""
    return reloads[world.front].result()


@pytest.fixture(autouse=True)
def _waits_have_begun(request: pytest.FixtureRequest) -> None:
    """The first test starts them, if any test of this run asks for them."""
    if any("waits" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("waits")


@pytest.fixture
def alike(applied: Applied) -> list[World]:
    """The three proxies of Debian 12, to be compared."""
    found = [applied[front] for front in IN_FULL]
    failed = [world for world in found if isinstance(world, str)]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)
    return [world for world in found if isinstance(world, World)]


@pytest.fixture
def world(request: pytest.FixtureRequest, applied: Applied) -> World:
    """One proxy of one release."""
    found = applied[request.param]
    if isinstance(found, str):
        pytest.fail(found, pytrace=False)
    return found
