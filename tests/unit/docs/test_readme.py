"""The README fits its limits."""

from __future__ import annotations

from tests.support.paths import ROOT

LINES = (ROOT / "README.md").read_text().splitlines()


def test_the_readme_has_at_most_150_lines_of_110_columns() -> None:
    assert len(LINES) <= 150
    assert [line for line in LINES if len(line) > 110] == []


def test_the_readme_names_the_test_command() -> None:
    assert any(line.strip().startswith("make test") for line in LINES)
