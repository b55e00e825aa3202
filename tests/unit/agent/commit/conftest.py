"""Fixtures of several test files in this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent.process import (
    AgentProcess,
    local_agent,
)
from tests.unit.agent.commit.test_apply import OLD_NS


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A host's folders, with times of long ago."""
    for name in ("etc/app/conf.d", "var_lib/app", "srv/data", "cache"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/app/main.conf").write_text("old\n")
    (tmp_path / "etc/app/main.conf").chmod(0o640)
    (tmp_path / "etc/app/conf.d/one").write_text("1")
    (tmp_path / "etc/app/conf.d/link").symlink_to("one")
    (tmp_path / "etc/app/conf.d/dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "etc/app/conf.d/fifo")
    (tmp_path / "srv/data/kept").write_text("kept")
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        os.utime(path, ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    os.utime(tmp_path, ns=(OLD_NS, OLD_NS))
    return tmp_path


@pytest.fixture
def agent(world: Path) -> Iterator[AgentProcess]:
    running = local_agent(world)
    yield running
    running.end()
