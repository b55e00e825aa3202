"""What the documents name is there."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

SAFETY = ROOT / "docs/explanation/safety.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SAFETY.read_text())


def test_the_page_on_safety_names_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_promise_has_its_test(file: str, name: str) -> None:
    assert f"\ndef {name}(" in (ROOT / file).read_text()


def test_every_promise_names_a_test() -> None:
    """A paragraph in bold is a promise; the tests that show it follow."""
    promises = SAFETY.read_text().partition("## Not guaranteed")[0]
    for paragraph in promises.split("\n**")[1:]:
        assert "- `tests/" in paragraph, paragraph.splitlines()[0]
