"""The generated pages are current; `make reference` writes them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES: dict[Path, str] = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run `make reference`"


def test_every_command_has_its_section() -> None:
    text = PAGES[ROOT / "docs/reference/commands.md"]
    assert "\n## deployer apply\n" in text
    assert "\n## deployer certs renew\n" in text
    assert "`--detailed-exitcode`" in text


def test_every_mapping_of_a_playbook_has_its_section() -> None:
    text = PAGES[ROOT / "docs/reference/playbook.md"]
    for anchor in ("play", "task", "package", "command", "sites", "tls", "routes", "verify"):
        assert f"{{ #{anchor} }}\n" in text
    assert "| `drain` | time or `none` | `1h` |" in text


def test_every_key_has_a_description() -> None:
    rows = re.findall(r"^\| `.+\|$", PAGES[ROOT / "docs/reference/playbook.md"], re.MULTILINE)
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []
