"""Links to the documentation from outside of it; `mkdocs build --strict` checks those within."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_IN_CODE = re.compile(r"docs/[\w./-]+\.md(?:#[\w-]+)?")


def _pages() -> Iterator[Path]:
    yield from (ROOT / "README.md", ROOT / "CHANGELOG.md")
    yield from (ROOT / "roles").glob("*/README.md")


def _sources() -> Iterator[Path]:
    for folder in ("deployer", "tests", "roles", "playbooks", "benchmarks"):
        yield from (ROOT / folder).rglob("*.py")
    yield from (ROOT / "Makefile", ROOT / "setup.cfg")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", [*_pages()], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_outside_of_docs_links_to_files_that_exist(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_the_code_refers_to_pages_that_exist() -> None:
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path in _sources()
        for name in _IN_CODE.findall(path.read_text())
        if not (ROOT / name.partition("#")[0]).exists()
    ]
    assert wrong == []


def test_every_page_is_reachable_from_the_navigation() -> None:
    """Findings, decisions and services are reached from their indexes."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        name = str(page.relative_to(docs))
        folder = page.parent.name
        if folder in ("findings", "decisions", "services") and page.name != "README.md":
            assert f"({page.name})" in (page.parent / "README.md").read_text(), name
        else:
            assert name in navigation, name


def test_the_architecture_names_files_that_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`([\w/.]+/[\w/.]*)`", page)
    assert len(named) > 20
    for name in named:
        if "NAME" not in name:
            assert (ROOT / "deployer" / name).exists() or (ROOT / name).exists(), name
