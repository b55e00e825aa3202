"""What nothing expected on one host becomes its report, not the end of the run."""

from __future__ import annotations

import time
from threading import Event

from deployer.commit.contact import RunOptions
from deployer.model import Host
from deployer.run.fleet import Unwatched
from deployer.run.host import HostRun
from deployer.transport import ConnectOptions
from deployer.transport.early_links import EarlyLinks


def test_a_defect_is_reported_with_its_place() -> None:
    run = HostRun(
        Host(name="web1", hostname="web1"),
        project=None,  # a history without a project is a defect
        options=RunOptions(
            who="root",
            origin="here",
            connect=lambda _: ConnectOptions(),
            early=EarlyLinks(),
            started=time.monotonic(),
            again=lambda command, host: f"deployer {command} -l {host}",
        ),
        progress=Unwatched(),
        cancelled=Event(),
    )
    report = run.history()
    assert report.state == "failed"
    assert "AssertionError: a sealed plan needs no project (host.py:" in report.message
    assert "please report it" in report.message
