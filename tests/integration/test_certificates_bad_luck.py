"""What bad luck with certificates gets on a real host: words, the right code, the old service."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from authority import Authority
from fronts import CHALLENGE, NEW_ACCOUNT, NEW_ORDER, Front, Refusal, mute
from support import Ran, deployer

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab

pytestmark = pytest.mark.lab

LIVE = "live.example.com"
_numbers = itertools.count(1)


@dataclass(slots=True)
class Stage:
    """A host that serves `LIVE` with a certificate of `ca`, got by way of `front`."""

    lab: Lab
    ca: Authority
    front: Front

    @property
    def host(self) -> LabHost:
        return self.lab.hosts[0]

    def site(self, domain: str, **tls: Any) -> dict[str, Any]:
        issuer = {"directory": self.front.directory, "ca_bundle": str(self.ca.bundle)}
        about = {"issuer": {**issuer, **tls.pop("issuer", {})}, **tls}
        return {"domain": domain, "tls": about, "routes": [{"path": "/", "root": "/var/www/html"}]}

    def write(self, *sites: dict[str, Any]) -> None:
        """A playbook of `LIVE` and more sites, in the current folder."""
        play = {"hosts": "all", "become": True, "sites": [self.site(LIVE), *sites]}
        Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        self.lab.write_inventory(Path("inventory.yml"))

    def served(self, name: str = LIVE) -> str:
        """The serial number that a client sees."""
        script = (
            f"openssl s_client -connect {self.host.address}:443 -servername {name} </dev/null "
            "2>/dev/null | openssl x509 -noout -serial"
        )
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.strip().partition("=")[2]


@pytest.fixture(scope="module")
def live(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The host as it is before every test."""
    folder = tmp_path_factory.mktemp("ca")
    (host,) = shared_lab.hosts
    ca = Authority(
        address=shared_lab.network.address(0),
        folder=folder,
        finds_at=host.address,
        options={"domainBlocklist": ["blocked.example.com"]},
    )
    try:
        ca.start()
        with Front(ca, 14443) as front, pytest.MonkeyPatch.context() as patch:
            stage = Stage(shared_lab, ca, front)
            patch.chdir(tmp_path_factory.mktemp("project"))
            stage.write()
            applied = deployer("apply", "site.yml", "--yes", "--no-diff")
            assert applied.code == 0, applied
            yield stage
    finally:
        ca.stop()


@pytest.fixture
def stage(live: Stage, workdir: Path) -> Iterator[Stage]:
    """A kind CA, an empty folder, and after the test the old service as it was."""
    live.front.be_kind()
    yield live
    live.front.be_kind()


def name() -> str:
    """A name that no CA has been asked for yet."""
    return f"new{next(_numbers)}.example.com"


def fails(stage: Stage, *sites: dict[str, Any], reverted: bool = True) -> str:
    """An apply of more sites fails, all is as it was, and `LIVE` is served; what it says."""
    before = stage.served()
    stage.write(*sites)
    ran = deployer("apply", "site.yml", "--yes", "--no-diff")
    assert ran.code == 3, ran
    assert "former state" in ran.out or not reverted, ran
    assert stage.served() == before
    print(ran)
    return ran.out


def test_a_ca_that_is_down(stage: Stage) -> None:
    stage.front.stop()
    try:
        said = fails(stage, stage.site(name()))
    finally:
        stage.front.start()
    assert "nothing listens there" in said
