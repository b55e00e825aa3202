"""The failure catalogue: whole, in step with its pages and with what is emitted."""

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


def test_the_pages_are_those_of_the_catalogue() -> None:
    """`make findings` writes them."""
    assert {path.name: path.read_text() for path in DOCS.iterdir()} == pages()


def test_forty_rows_each_with_a_finding() -> None:
    made = catalogue()
    assert list(made.rows) == list(range(1, 41))
    assert {row for entry in made.entries.values() for row in entry.rows} == set(made.rows)


@pytest.mark.parametrize("entry", catalogue().entries.values(), ids=lambda entry: entry.code)
def test_an_entry_says_all_there_is_to_say(entry: Entry) -> None:
    for text in (entry.title, entry.sees, entry.why, entry.tell, entry.found, *entry.mend.values()):
        assert len(text) > 5
    assert entry.mend
    assert entry.code not in entry.related
    assert not entry.title.endswith(".")


@pytest.mark.parametrize("entry", catalogue().entries.values(), ids=lambda entry: entry.code)
def test_a_page_s_links_lead_somewhere(entry: Entry) -> None:
    text = page(entry)
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert len(links) >= len(entry.related)
    assert set(links) <= set(pages())
    for text in (entry.sees, entry.why, entry.tell, entry.found):
        assert "\n" not in text, "a paragraph each: only what mends it has lines of config"


def test_explaining_a_code() -> None:
    text = explanation("map-twice")
    assert text.startswith("# map-twice\n")
    assert "](" not in text
    assert "connection-cleared" in text
    assert codes() == tuple(catalogue().entries)


def test_a_terminal_gets_lines_that_fit_but_config_is_left_alone() -> None:
    lines = explanation("csp-connect-src", width=60).splitlines()
    wide = [line for line in lines if len(line) > 60]
    assert wide
    assert all(line.startswith("    ") for line in wide)
    assert (
        explanation("csp-connect-src", width=60).split() == explanation("csp-connect-src").split()
    )


def test_a_code_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="No finding has the code 'map-twise'") as caught:
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


def test_writing_takes_away_what_is_no_more(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("an old code\n")
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())
