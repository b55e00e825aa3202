"""Fixtures of several test files in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certificates.pki import authority, issued, server_context
from tests.support.servers.scripted import (
    Server,
    redirecting,
    websocket_service,
)
from tests.support.verified_sites import NAME


@pytest.fixture(scope="module")
def tls_context(tmp_path_factory: pytest.TempPathFactory) -> Any:
    leaf = issued(NAME, by=authority("Root"))
    return server_context(tmp_path_factory.mktemp("tls"), leaf)


@pytest.fixture(scope="module")
def port_80() -> Iterator[int]:
    with Server(redirecting) as server:
        yield server.port


@pytest.fixture(scope="module")
def healthy_service() -> Iterator[int]:
    with websocket_service() as port:
        yield port
