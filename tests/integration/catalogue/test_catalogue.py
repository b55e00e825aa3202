"""Each way to fail, on a real host, is found by its name, and not on its healthy twin.

Sources: cases/*.yml (configurations), broken_states.py (states of hosts), broken_runs.py (time).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from deployer.model import Proxy
from tests.integration.catalogue.broken_cases import PROXIES, Twin, alike, twins
from tests.integration.catalogue.broken_hosts import places
from tests.integration.catalogue.broken_runs import reloaded, reported, silences
from tests.integration.catalogue.broken_states import STATES, State
from tests.integration.catalogue.broken_world import Job, Jobs, World, serving

pytestmark = pytest.mark.lab

_TWINS = twins()
_BROKEN = [twin for twin in _TWINS if twin.expected is not None]
_HEALTHY = [twin for twin in _TWINS if twin.expected is None and twin.row]
_UNUSUAL = [twin for twin in _TWINS if not twin.row]
#: Of what breaks the handshake, what the answer alone need not tell from its neighbours.
_UNTOLD = [
    twin
    for twin in _BROKEN
    if twin.code
    in (
        *("upgrade-not-forwarded", "headers-not-inherited", "connection-cleared", "map-twice"),
        *("proxypass-order", "host-rewritten", "upstream-scheme", "service-down"),
    )
]
_DRAINS: tuple[Proxy, ...] = ("nginx", "haproxy")


@pytest.fixture(scope="module")
def world(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("catalogue")
    with serving(folder, f"test-catalogue-{os.getpid()}", _TWINS) as made:
        yield made


@pytest.fixture(scope="module")
def jobs(world: World, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """What the tests of this run ask for, and nothing else."""
    here = [
        item
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    given = [
        (item.originalname, item.callspec.params) for item in here if hasattr(item, "callspec")
    ]
    names = {item.originalname for item in here}
    at_once: dict[str, Job] = {}
    in_turn: dict[Proxy, dict[str, Job]] = {proxy: {} for proxy in PROXIES}
    if any("silence" in name for name in names):
        at_once["silence"] = partial(silences, world)
    for name, params in given:
        match params:
            case {"twin": Twin() as twin} if "from_outside" in name:
                at_once[f"outside {twin}"] = partial(world.twin, twin, inside=False)
            case {"twin": Twin() as twin} if "command" in name:
                at_once[f"command {twin}"] = partial(reported, world, twin)
            case {"twin": Twin() as twin}:
                at_once[str(alike(twin))] = partial(world.twin, alike(twin))
            case {"state": State() as state}:
                in_turn[state.proxy][f"state {state}"] = partial(world.state, state)
    for proxy in _DRAINS:
        for cap in (True, False) if any("reload" in name for name in names) else ():
            in_turn[proxy][f"drain {proxy} {cap}"] = partial(reloaded, world, proxy, cap=cap)
    found = Jobs(at_once, in_turn)
    yield found
    found.close()


# --- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", _BROKEN, ids=str)
def test_a_broken_configuration_is_found(twin: Twin, jobs: Jobs) -> None:
    expected = twin.expected
    assert expected is not None
    said = jobs.of(str(twin))
    finding = said.coded(expected.code)
    assert finding is not None, str(said)
    assert (finding.hop, finding.severity) == (expected.hop, expected.severity), str(said)
    if expected.at:
        assert finding.file in places(twin), str(said)
    assert said.errors <= {expected.code}, f"wrong names:\n{said}"


@pytest.mark.parametrize("twin", _HEALTHY, ids=str)
def test_its_twin_is_healthy(twin: Twin, jobs: Jobs) -> None:
    said = jobs.of(str(alike(twin)))
    assert said.checks
    assert said.coded(twin.code) is None, str(said)
    assert all(finding.severity == "note" for finding in said.findings), str(said)


@pytest.mark.parametrize("twin", _UNUSUAL, ids=str)
def test_what_looks_wrong_and_works_is_healthy(twin: Twin, jobs: Jobs) -> None:
    said = jobs.of(str(alike(twin)))
    assert said.checks
    assert not said.errors, str(said)


@pytest.mark.parametrize("twin", _UNTOLD, ids=str)
def test_from_outside_nothing_wrong_is_reported(twin: Twin, jobs: Jobs) -> None:
    """If two causes look alike, both are named, with how to distinguish them."""
    said = jobs.of(f"outside {twin}")
    named = {finding.code for finding in said.findings if finding.severity == "error"}
    others = {each.code: each.tell for finding in said.findings for each in finding.alternatives}
    assert len(named) == 1, str(said)
    assert twin.code in named | set(others), str(said)
    assert all(len(tell) > 20 for tell in others.values()), str(said)


@pytest.mark.parametrize(
    "twin", [each for each in _BROKEN if each.case == "not-inherited"], ids=str
)
def test_the_command_says_so_too(twin: Twin, jobs: Jobs) -> None:
    code, findings = jobs.of(f"command {twin}")
    (finding,) = (each for each in findings if each["severity"] == "error")
    assert code == 3
    assert (finding["code"], finding["hop"]) == ("headers-not-inherited", "proxy")
    assert finding["file"] in places(twin)
    assert finding["page"] == "docs/findings/headers-not-inherited.md"
    assert "proxy_set_header Connection" in finding["directive"]


# --- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_broken_state_is_found(state: State, jobs: Jobs) -> None:
    """Its healthy twin is the same site in the same host before: every twin above."""
    said = jobs.of(f"state {state}")
    finding = said.coded(state.code)
    assert finding is not None, str(said)
    assert (finding.hop, finding.severity) == (state.hop, state.severity), str(said)
    assert finding.file.startswith(state.at), str(said)
    assert said.errors <= {state.code}, f"wrong names:\n{said}"


# --- time -----------------------------------------------------------------------------------------


def _about(found: list[dict[str, Any]], site: str) -> list[tuple[str, str]]:
    return [(each["code"], each["hop"]) for each in found if each["site"].startswith(f"{site}.")]


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_short_patience_with_silence_is_measured(proxy: Proxy, jobs: Jobs) -> None:
    assert _about(jobs.of("silence"), f"short-{proxy}") == [("idle-cut", "proxy")]


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_long_patience_with_silence_is_left_alone(proxy: Proxy, jobs: Jobs) -> None:
    assert _about(jobs.of("silence"), f"long-{proxy}") == []


def test_a_cut_in_front_of_the_host_is_distinguished(jobs: Jobs) -> None:
    """The host's own limit is the one of its healthy twin."""
    assert _about(jobs.of("silence"), "front-nginx") == [("idle-cut-elsewhere", "public")]


@pytest.mark.parametrize("proxy", _DRAINS)
def test_a_reload_that_cuts_is_found(proxy: Proxy, jobs: Jobs) -> None:
    assert _about(jobs.of(f"drain {proxy} True"), f"long-{proxy}") == [("drain-cut", "proxy")]


@pytest.mark.parametrize("proxy", _DRAINS)
def test_a_reload_that_leaves_connections_alone_is_not(proxy: Proxy, jobs: Jobs) -> None:
    assert _about(jobs.of(f"drain {proxy} False"), f"long-{proxy}") == []
