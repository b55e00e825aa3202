"""``deployer init``."""

from __future__ import annotations

import compileall
import shutil
from pathlib import Path

import pytest

from deployer.cli import init, main
from deployer.playbook import builtin
from tests.support.paths import ROOT


def test_init_writes_two_files_and_overwrites_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["init", "goaccess"]) == 0
    assert (tmp_path / "site.yml").read_text().startswith("#")
    assert (tmp_path / "inventory.yml").is_file()
    (tmp_path / "site.yml").write_text("mine\n")
    assert main.run(["init", "goaccess"]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert (tmp_path / "site.yml").read_text() == "mine\n"


def test_init_names_all_existing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.run(["init"]) == 0
    capsys.readouterr()
    assert main.run(["init"]) == 1
    assert "site.yml and inventory.yml exist already" in capsys.readouterr().err


def test_init_suggests_the_nearest_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", "goacces"]) == 1
    assert "Did you mean goaccess?" in capsys.readouterr().err


def test_every_ready_playbook_passes_the_check_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [ready.name for ready in init.templates()]
    assert "websocket-app" in names
    for name in names:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert main.run(["init", name]) == 0
        assert main.run(["check", "site.yml"]) == 0, capsys.readouterr()


def test_the_list_has_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", "--list"]) == 0
    groups = [block.splitlines() for block in capsys.readouterr().out.split("\n\n")]
    assert [group for group, *_ in groups] == [
        group for group in init.GROUPS if any(ready.group == group for ready in init.templates())
    ]
    (chat,) = [lines for group, *lines in groups if group == "Chat and collaboration"]
    assert "  chatwoot          Chatwoot behind HAProxy: its pages, its API" in "\n".join(chat)
    assert sum(len(lines) for _, *lines in groups) == len(init.templates())


def test_every_ready_playbook_of_a_service_has_its_page() -> None:
    pages = {path.stem for path in (ROOT / "docs/how-to/services").glob("*.md")}
    names = {ready.name for ready in init.templates()}
    assert names - pages == {"websocket-app"}  # the role's reference is its page
    assert pages - names == {"README"}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ready playbooks as pip leaves them, with compiled Python files; an empty folder."""
    playbooks = tmp_path / "installed"
    shutil.copytree(builtin.playbooks_path(), playbooks)
    assert compileall.compile_dir(playbooks, quiet=1)
    assert list(playbooks.rglob("*.pyc"))
    (playbooks / "websocket-app/app/logo.png").write_bytes(b"\x89PNG\r\n\xff")
    monkeypatch.setattr(builtin, "playbooks_path", lambda: playbooks)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_are_copied_as_bytes_and_caches_are_not(installed: Path) -> None:
    assert main.run(["init", "websocket-app"]) == 0
    assert files_in(installed) == [
        "app",
        "app/logo.png",
        "app/server.py",
        "inventory.yml",
        "site.yml",
    ]
    assert (installed / "app/logo.png").read_bytes() == b"\x89PNG\r\n\xff"


def test_a_failure_halfway_leaves_nothing(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed / "app").write_text("a file, so the folder cannot be created\n")
    assert main.run(["init", "websocket-app"]) == 1
    assert "cannot write app: File exists; nothing was written." in capsys.readouterr().err
    assert files_in(installed) == ["app"]


def test_an_interruption_halfway_leaves_nothing(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        init.write("websocket-app", Path())
    assert files_in(installed) == []


@pytest.mark.parametrize("name", ["site.yml", "app/server.py"])
def test_links_are_not_written_through(
    installed: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    link = installed / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(installed.parent / "elsewhere")
    assert main.run(["init", "websocket-app"]) == 1
    assert f"{name} exists already; nothing was written." in capsys.readouterr().err
    assert not (installed.parent / "elsewhere").exists()
    assert not (installed / "inventory.yml").exists()
