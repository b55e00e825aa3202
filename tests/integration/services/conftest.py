"""Services from Debian's packages, behind one proxy after the other on the same host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.lab.lab import Lab, running
from tests.support.ready_playbooks import PROXIES, Deployed, deployed

#: What all of these playbooks install: one image serves all.
PACKAGES = (
    "cockpit",
    "libjs-strophe",
    "mosquitto",
    "novnc",
    "openbox",
    "prosody",
    "tigervnc-standalone-server",
    "tigervnc-tools",
    "xterm",
)


@pytest.fixture(scope="module")
def debian_services(machine: None, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts: one for the service, one for its clients."""
    name = f"{request.module.PLAYBOOK}-{os.getpid()}"
    with running(2, name=name, packages=PACKAGES) as lab:
        yield lab


@pytest.fixture(scope="module")
def project_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module", params=PROXIES)
def service(debian_services: Lab, project_folder: Path, request: pytest.FixtureRequest) -> Deployed:
    """The ready playbook `PLAYBOOK` of the module, applied as it is written."""
    host = debian_services.hosts[0]
    return deployed(
        request.module.PLAYBOOK, project_folder, lab=debian_services, host=host, proxy=request.param
    )
