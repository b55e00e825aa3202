"""The facts about distributions, compared with those of ansible-core 2.19 for the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployer.agent.distribution import assignments, distribution_facts, system
from deployer.sites.releases import RELEASES, series_of
from tests.support.paths import ROOT

CASES = sorted((ROOT / "tests/unit/cases/distributions").glob("*.json"))


def root_of(case: dict[str, Any], folder: Path) -> str:
    for path, text in case["files"].items():
        file = folder / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(folder)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_facts_are_ansibles(path: Path, tmp_path: Path) -> None:
    case = json.loads(path.read_text())
    root = root_of(case, tmp_path)
    assert distribution_facts(root) == case["ansible"]
    assert series_of(system([], root)["codenames"]) == case["series"]


def test_every_release_has_a_case() -> None:
    assert {json.loads(path.read_text())["series"] for path in CASES} == {
        *(release.series for release in RELEASES.values()),
        None,
    }


def test_missing_programs_are_those_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/apt-get").touch(mode=0o755)
    (tmp_path / "usr/bin/dpkg").touch(mode=0o644)
    found = system(["apt-get", "dpkg", "systemctl"], str(tmp_path))
    assert found["missing"] == ["dpkg", "systemctl"]


def test_a_host_without_os_release_is_linux(tmp_path: Path) -> None:
    assert system([], str(tmp_path))["name"] == "Linux"
    assert distribution_facts(str(tmp_path))["ansible_distribution"] == "OtherLinux"


def test_os_release_is_quoted_as_in_a_shell() -> None:
    text = '# ID=no\nID=debian\n NAME=\'a \\$b\'\nVERSION="1 \\"x\\" \\$y"\nnot an assignment\n'
    assert assignments(text) == {"ID": "debian", "NAME": "a \\$b", "VERSION": '1 "x" $y'}
