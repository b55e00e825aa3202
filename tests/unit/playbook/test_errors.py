"""Invalid playbooks, one small file per case, each with the full text of its errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.playbook import load_inventory, load_playbook, render_host
from deployer.playbook.builtin import roles_path
from deployer.playbook.inventory.load import Inventory
from tests.support import paths

CASES = paths.CASES / "playbook"
HELPERS = {"hidden"}
NAMES = sorted(path.stem for path in CASES.glob("*.yml") if path.stem not in HELPERS)


def load_and_render(path: Path, inventory: Inventory) -> None:
    render_host(
        load_playbook(path, inventory=inventory),
        inventory.hosts["web1"],
        inventory=inventory,
        facts={"ansible_distribution": "Debian"},
        site_roles=lambda sites: (),
    )


@pytest.mark.parametrize("name", NAMES)
def test_error_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    inventory = load_inventory([Path("hosts")])
    with pytest.raises(UsageError) as caught:
        load_and_render(Path(f"{name}.yml"), inventory)
    text = str(caught.value).replace(str(roles_path()), "BUILTIN") + "\n"
    expected = CASES / f"{name}.expected"
    if "DEPLOYER_WRITE_CASES" in os.environ:
        expected.write_text(text)
    assert text == expected.read_text()
    assert "hunter2" not in text
    assert "4400000" not in text
