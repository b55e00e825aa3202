"""What the agent reports of files that several playbooks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.agent.proxies import PROXIES
from deployer.agent.proxies.haproxy import shared as of_haproxy
from deployer.agent.proxies.shared import shared_parts
from tests.support.paths import ROOT

FORMER = [{"domain": "a", "proxy": "haproxy"}, {"domain": "b", "proxy": "nginx"}]


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(of_haproxy, "FOLDER", str(tmp_path / "sites"))
    monkeypatch.setattr(PROXIES["haproxy"], "shared_file", str(tmp_path / "haproxy.cfg"))
    return tmp_path


def test_a_host_without_such_a_file(etc: Path) -> None:
    assert shared_parts(lambda: FORMER) == {}


def test_sites_without_files_are_those_of_the_last_commit(etc: Path) -> None:
    (etc / "haproxy.cfg").write_text("global\n")
    found = shared_parts(lambda: FORMER)["haproxy"]
    assert found == {"sites": {}, "former": FORMER[:1], "kept": ""}


def test_files_of_sites_and_the_hand_written_end(etc: Path) -> None:
    (etc / "sites").mkdir()
    (etc / "sites/a.json").write_text("{}")
    (etc / "sites/a.json.swp").write_text("an editor's")
    end = "\nlisten x\n    bind :1\n"
    (etc / "haproxy.cfg").write_text(f"global\n{of_haproxy.LINE}\n{end}")
    found = shared_parts(lambda: FORMER)["haproxy"]
    assert found == {"sites": {str(etc / "sites/a.json"): "{}"}, "former": [], "kept": end}


def test_the_line_is_the_one_in_the_template() -> None:
    template = (ROOT / "roles/haproxy/templates/haproxy.cfg.j2").read_text()
    assert template.count(of_haproxy.LINE) == 1


def test_a_file_that_cannot_be_read_is_named(etc: Path) -> None:
    (etc / "haproxy.cfg").mkdir()
    (problem,) = shared_parts(lambda: FORMER)["haproxy"].values()
    assert problem.startswith(f"{etc}/haproxy.cfg cannot be read: ")
