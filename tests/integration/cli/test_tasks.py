"""The tasks for fab, driven by the real fab."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deployer.lab.lab import Lab
from tests.support.runs import goaccess_project
from tests.support.waiting import PATIENCE_S


def fab(*arguments: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("fab"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def fabfile(workdir: Path) -> Path:
    (workdir / "fabfile.py").write_text("from deployer.tasks import ns\n")
    return workdir


def test_every_task_is_listed(fabfile: Path) -> None:
    listed = fab("--list").stdout
    for name in (
        "apply",
        "history",
        "install-proxy",
        "obtain-certificates",
        "plan",
        "recover",
        "reload",
        "rollback",
        "verify",
        "write-sites",
    ):
        assert f"  {name} " in listed, listed


@pytest.mark.lab
def test_the_parts_of_an_apply_one_by_one(lab: Lab, fabfile: Path) -> None:
    goaccess_project(lab, fabfile)
    (host,) = lab.hosts
    for task in ("plan", "install-proxy", "obtain-certificates", "apply", "reload", "verify"):
        done = fab(task)
        assert done.returncode == 0, f"{task}\n{done.stdout}\n{done.stderr}"
    assert "healthy" in done.stdout
    assert host.sh("ls /var/lib/deployer/generations").split() == ["1", "2", "3", "4"]
    assert host.sh("ls /etc/nginx/sites-enabled").split() == ["default", "stats.example.com.conf"]
    back = fab("rollback", "--to", "2")
    assert back.returncode == 0, back.stdout + back.stderr
    assert host.sh("ls /etc/nginx/sites-enabled").split() == ["default"]
    wrong = fab("verify", "--extra-vars", "report_port=99999")
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
