"""The lint: its notes on playbooks, their positions, and a section for each code.

A case is a playbook. A line with notes ends with their codes, ``# expect: CODE, CODE``; no other
line may have notes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import deployer.sites.lint
from deployer.cli import init, main
from deployer.proxies import PROXIES
from deployer.sites.lint.explain import explanation, sections
from deployer.sites.lint.note import RENAMED_CODES
from tests.support import paths
from tests.support.paths import ROOT

CASES = paths.CASES / "lint"
LINT = Path(deployer.sites.lint.__file__).parent
INVENTORY = "all: {hosts: {web1: , web2: }}\n"
#: Errors that the schema reports first for playbooks; the lint reports them for other sources.
REPORTED_EARLIER = {"duplicate-path"}


def expected(text: str) -> list[tuple[int, str]]:
    return sorted(
        (number, code)
        for number, line in enumerate(text.splitlines(), 1)
        if "# expect: " in line
        for code in line.partition("# expect: ")[2].split(", ")
    )


def codes_in(folder: Path) -> set[str]:
    texts = (path.read_text() for path in folder.glob("*.py"))
    return {
        code for text in texts for code in re.findall(r'(?:error|warning)\(\s*"([a-z-]+)"', text)
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    return tmp_path


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yml")), ids=lambda path: path.stem)
def test_a_case(path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = path.read_text()
    (project / "site.yml").write_text(text)
    hosts = [] if path.stem == "several-hosts" else ["-l", "web1"]
    code = main.run(["check", "site.yml", "--json", *hosts])
    document = json.loads(capsys.readouterr().out)
    notes = document["notes"]
    assert [(note["line"], note["code"]) for note in notes] == expected(text)
    errors = [note for note in notes if note["severity"] == "error"]
    assert code == document["exit_code"] == (1 if errors else 0)
    for note in notes:
        assert note["file"] == "site.yml"
        assert note["link"] == f"docs/lint.md#{note['code']}"
        assert note["reason"]
    assert errors or len(document["warnings"]) == len(notes)


def test_each_code_has_a_section_and_a_case() -> None:
    codes = codes_in(LINT)
    assert len(codes) > 30
    assert codes == set(sections())
    tried = {code for path in CASES.glob("*.yml") for _, code in expected(path.read_text())}
    assert codes - REPORTED_EARLIER == tried


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("name", [ready.name for ready in init.templates()])
def test_ready_playbooks_have_no_notes(
    name: str, proxy: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "inventory.yml").unlink()
    assert main.run(["init", name]) == 0
    playbook = project / "site.yml"
    without = re.sub(r"\n +proxy:.*", "", playbook.read_text())
    playbook.write_text(re.sub(r"(\n +)(routes:)", rf"\1proxy: {proxy}\1\2", without))
    capsys.readouterr()
    assert main.run(["check", "site.yml", "-l", "web2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []
    assert f"proxy: {proxy}\n" in playbook.read_text()


def test_the_terminal_shows_position_reason_and_link(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "site.yml").write_text(
        "- hosts: web1\n"
        "  sites:\n"
        "    - domain: a.example.com\n"
        "      drain: 5s\n"
        "      routes: [{path: /, root: /srv/a}]\n"
    )
    assert main.run(["check", "site.yml"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "ok: 1 play, 1 host, 1 site, 6 resources\n"
    headline, reason, link = shown.err.splitlines()
    assert headline.startswith("site.yml:4:14: warning: a.example.com: 5 s after every reload, ")
    assert reason.startswith("      Certificate renewals also reload: ")
    assert link == "      docs/lint.md#drain-short"


def test_an_error_is_shown_with_its_link(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "site.yml").write_text((CASES / "without-tls.yml").read_text())
    assert main.run(["check", "site.yml"]) == 1
    assert capsys.readouterr().err.endswith("\n      docs/lint.md#upstream-loop\n")


def test_schema_errors_are_notes_in_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "site.yml").write_text("- hosts: web1\n  sits: []\n")
    assert main.run(["check", "site.yml", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["error"].startswith("site.yml:2:3: unknown key 'sits'")
    (note,) = document["notes"]
    assert (note["code"], note["line"], note["column"]) == ("invalid", 2, 3)
    assert (note["reason"], note["link"]) == ("did you mean 'sites'?", None)


def test_a_secret_is_in_no_note(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "secrets.yml").write_text("upstream_host: 8.8.4.4\n")
    (project / "site.yml").write_text(
        "- hosts: web1\n"
        "  vars_files: [{file: secrets.yml, secret: true}]\n"
        "  sites:\n"
        "    - domain: a.example.com\n"
        "      routes: [{path: /, upstream: 'http://{{ upstream_host }}:1000'}]\n"
    )
    assert main.run(["check", "site.yml", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "plain-over-the-internet" in shown
    assert "8.8.4.4" not in shown


def test_a_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", "--explain", "ws-on-https"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ws-on-https\n\nWarning. A file contains `ws://NAME`")
    assert "##" not in shown
    assert main.run(["check", "--explain", "ws-on-http"]) == 1
    assert "Did you mean wss-on-http?" in capsys.readouterr().err


def test_a_renamed_code_still_works(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for former, code in RENAMED_CODES.items():
        assert code in sections()
        assert explanation(former) == explanation(code)
    (project / "site.yml").write_text(
        "- hosts: web1\n"
        "  sites:\n"
        "    - domain: a.example.com\n"
        "      routes: [{path: /ws, websocket: 'http://[::1]:1000'}]  # noqa: silence-unsaid\n"
    )
    assert main.run(["check", "site.yml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []


def test_the_page_is_part_of_the_package() -> None:
    assert (ROOT / "docs/lint.md").read_text() == (ROOT / "deployer/lint.md").read_text()
    assert all(len(explanation(code)) > 120 for code in sections())
