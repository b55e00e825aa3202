"""Each way to fail, on a real host, is found by its name, and not on its healthy twin.

Sources: cases/*.yml (configurations), broken_states.py (states of hosts).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from broken_cases import Twin, twins
from broken_hosts import places
from broken_states import STATES, State
from broken_world import Diagnoses, World, serving

pytestmark = pytest.mark.lab

_TWINS = twins()
_BROKEN = [twin for twin in _TWINS if twin.expected is not None]
_HEALTHY = [twin for twin in _TWINS if twin.expected is None]


@pytest.fixture(scope="module")
def world(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("catalogue")
    with serving(folder, f"test-catalogue-{os.getpid()}", _TWINS) as made:
        yield made


@pytest.fixture(scope="module")
def diagnoses(world: World, request: pytest.FixtureRequest) -> Iterator[Diagnoses]:
    """Of what the tests of this run ask for."""
    asked = [
        case
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        for case in item.callspec.params.values()
    ]
    found = Diagnoses(
        world,
        [case for case in asked if isinstance(case, Twin)],
        [case for case in asked if isinstance(case, State)],
    )
    yield found
    found.close()


@pytest.mark.parametrize("twin", _BROKEN, ids=str)
def test_a_broken_configuration_is_found(twin: Twin, diagnoses: Diagnoses) -> None:
    expected = twin.expected
    assert expected is not None
    said = diagnoses.of(twin)
    finding = said.coded(expected.code)
    assert finding is not None, str(said)
    assert (finding.hop, finding.severity) == (expected.hop, expected.severity), str(said)
    if expected.at:
        assert finding.file in places(twin), str(said)
    assert said.errors <= {expected.code}, f"wrong names:\n{said}"


@pytest.mark.parametrize("twin", _HEALTHY, ids=str)
def test_its_twin_is_healthy(twin: Twin, diagnoses: Diagnoses) -> None:
    said = diagnoses.of(twin)
    assert said.checks
    assert said.coded(twin.code) is None, str(said)
    assert not said.errors, str(said)


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_broken_state_is_found(state: State, diagnoses: Diagnoses) -> None:
    said = diagnoses.of(state)
    finding = said.coded(state.code)
    assert finding is not None, str(said)
    assert (finding.hop, finding.severity) == (state.hop, state.severity), str(said)
    assert finding.file.startswith(state.at), str(said)
    assert said.errors <= {state.code}, f"wrong names:\n{said}"
