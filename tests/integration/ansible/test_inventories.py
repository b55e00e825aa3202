"""Inventories of a corpus, compared with what the real Ansible reads."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.errors import UsageError
from deployer.playbook import load_inventory
from deployer.playbook.inventory.load import Inventory
from tests.support.ansible import ANSIBLE_PYTHON

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = yaml.safe_load((HERE / "inventories.yml").read_text())
NAMES = [case["name"] for case in CASES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of all cases, in a folder for each."""
    top = tmp_path_factory.mktemp("corpus")
    for number, case in enumerate(CASES):
        for name, content in (case.get("files") or {}).items():
            path = top / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return top


def source(case: Mapping[str, Any], folder: Path) -> str:
    name = case.get("inventory") or next(iter(case["files"]))
    return str(name) if "," in name else str(folder / name)


def patterns(case: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    return [
        (each, None) if isinstance(each, str) else (each[0], each[1])
        for each in case.get("patterns", ["all"])
    ]


@pytest.fixture(scope="module")
def theirs(folder: Path) -> dict[str, dict[str, Any]]:
    """Ansible's reading of each case, all in one process."""
    jobs = [
        {
            "inventory": source(case, folder / str(number)),
            "folder": str(folder / str(number) / case["folder"]) if "folder" in case else None,
            "patterns": [] if case.get("refused") else patterns(case),
        }
        for number, case in enumerate(CASES)
    ]
    (folder / "empty.cfg").touch()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(folder / "empty.cfg"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    }
    run = subprocess.run(
        [ANSIBLE_PYTHON, str(HERE / "read_inventories.py")],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return dict(zip(NAMES, json.loads(run.stdout), strict=True))


def ours(case: Mapping[str, Any], folder: Path) -> Inventory:
    return load_inventory(
        [Path(source(case, folder))],
        playbook_folder=folder / case["folder"] if "folder" in case else None,
    )


def listed(inventory: Inventory) -> dict[str, Any]:
    """The document of ``ansible-inventory --list``."""
    document: dict[str, Any] = {
        "_meta": {"hostvars": {name: dict(host.vars) for name, host in inventory.hosts.items()}}
    }
    for group in inventory.groups:
        children = list(inventory.children(group))
        hosts = [] if group == "all" else list(inventory.own_hosts(group))
        document[group] = {"children": children, "hosts": hosts}
    return without_empty(document)


def plain(value: Any) -> Any:
    """A value without Ansible's mark of ``!unsafe``."""
    if isinstance(value, dict):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def without_empty(document: Mapping[str, Any]) -> dict[str, Any]:
    """As Ansible leaves it out; its profile and the order of children of `all` say nothing."""
    found = {}
    for name, entry in document.items():
        if name == "_meta":
            found[name] = {"hostvars": {k: v for k, v in entry["hostvars"].items() if v}}
            continue
        kept = {key: value for key, value in entry.items() if value}
        if "children" in kept:
            kept["children"] = sorted(kept["children"])
        if kept:
            found[name] = kept
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_it_is_read_like_ansible_reads_it(
    number: int, folder: Path, theirs: dict[str, dict[str, Any]]
) -> None:
    case = CASES[number]
    expected = theirs[case["name"]]
    if case.get("refused"):
        with pytest.raises(UsageError):
            ours(case, folder / str(number))
        if case["refused"] is True:
            assert expected["list"] is None
        return
    inventory = ours(case, folder / str(number))
    assert listed(inventory) == without_empty(plain(expected["list"]))
    selected = {
        f"{pattern} {limit or ''}".strip(): [host.name for host in inventory.select(pattern, limit)]
        for pattern, limit in patterns(case)
    }
    assert selected == expected["hosts"]
