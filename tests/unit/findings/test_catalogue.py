"""The failure catalogue: complete, and in sync with its pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.findings import codes, explanation
from deployer.findings.entries import Entry, catalogue
from deployer.findings.page import page
from deployer.findings.write import pages, write
from tests.support.paths import ROOT

DOCS = ROOT / "docs/findings"


def test_the_pages_match_the_catalogue() -> None:
    """`make findings` generates them."""
    assert {path.name: path.read_text() for path in DOCS.iterdir()} == pages()


def test_forty_rows_each_with_a_finding() -> None:
    made = catalogue()
    assert list(made.rows) == list(range(1, 41))
    assert {row for entry in made.entries.values() for row in entry.rows} == set(made.rows)


@pytest.mark.parametrize("entry", catalogue().entries.values(), ids=lambda entry: entry.code)
def test_an_entry_is_complete(entry: Entry) -> None:
    for text in (entry.title, entry.symptom, entry.cause, entry.distinguish, entry.detection):
        assert len(text) > 5
    assert entry.fix
    assert all(len(text) > 5 for text in entry.fix.values())
    assert entry.code not in entry.related
    assert not entry.title.endswith(".")


@pytest.mark.parametrize("entry", catalogue().entries.values(), ids=lambda entry: entry.code)
def test_the_links_of_a_page_resolve(entry: Entry) -> None:
    text = page(entry)
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert len(links) >= len(entry.related)
    assert set(links) <= set(pages())
    for text in (entry.symptom, entry.cause, entry.distinguish, entry.detection):
        assert "\n" not in text, "one paragraph each: only fixes contain config lines"


def test_explain_a_code() -> None:
    text = explanation("map-twice")
    assert text.startswith("# map-twice\n")
    assert "](" not in text
    assert "connection-cleared" in text
    assert codes() == tuple(catalogue().entries)


def test_prose_is_wrapped_for_a_terminal_and_config_is_not() -> None:
    lines = explanation("csp-connect-src", width=60).splitlines()
    wide = [line for line in lines if len(line) > 60]
    assert wide
    assert all(line.startswith("    ") for line in wide)
    assert (
        explanation("csp-connect-src", width=60).split() == explanation("csp-connect-src").split()
    )


def test_an_unknown_code() -> None:
    with pytest.raises(UsageError, match="Unknown finding code: 'map-twise'") as caught:
        explanation("map-twise")
    assert caught.value.hint == "Did you mean map-twice?"


def test_the_command_explains_without_a_playbook() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployer", "verify", "--explain", "host-rewritten"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "proxy_set_header Host $host;" in done.stdout


def test_write_deletes_pages_of_removed_codes(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("a removed code\n")
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())
