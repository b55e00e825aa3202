"""The check of the word list."""

from __future__ import annotations

import runpy

import pytest

from tests.support.paths import ROOT

WORDS = runpy.run_path(str(ROOT / "docs/words.py"))
LIST: dict[str, str] = WORDS["word_list"]((ROOT / "docs/contributing.md").read_text())


def test_the_list_is_read_from_the_guide() -> None:
    assert LIST["amid"] == "during"
    assert LIST["take back"] == "roll back, revert"
    assert "Instead of" not in LIST


@pytest.mark.parametrize(
    "text",
    [
        "to take back a commit",
        "Take\n    back a commit",
        "# to take\n# back a commit",
        '"to take "\n    "back a commit"',
        '"to take "\n    f"back {commit}"',
    ],
)
def test_a_phrase_is_found_across_lines(text: str) -> None:
    ((_, phrase, _),) = WORDS["phrases_in"](text, LIST)
    assert phrase == "take back"


@pytest.mark.parametrize("text", ["take it back", "taken backwards", "mistake back"])
def test_other_words_are_not_a_phrase(text: str) -> None:
    assert list(WORDS["phrases_in"](text, LIST)) == []


def test_the_name_of_a_test_is_prose() -> None:
    text = "import os\n\n\ndef test_a_cut_amid_an_apply() -> None: ...\n"
    assert list(WORDS["names_in"](text, LIST)) == [(4, "amid", "during")]
