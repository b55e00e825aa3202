"""Fixtures of several test files in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import pebble as pebble_here
from tests.support.certificates.pebble import Pebble, Responder


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pebble, Responder]]:
    with pebble_here.running(tmp_path_factory.mktemp("ca")) as found:
        yield found


@pytest.fixture
def pebble(ca: tuple[Pebble, Responder]) -> Pebble:
    return ca[0]


@pytest.fixture
def responder(ca: tuple[Pebble, Responder]) -> Responder:
    ca[1].asked.clear()
    ca[1].looked_at = 0
    return ca[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".deployer" / "certbot"
