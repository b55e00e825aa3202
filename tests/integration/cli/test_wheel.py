"""The wheel alone, in an empty environment and an empty folder, is the whole tool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S


def run(*argv: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, argv)),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def deployer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment in which pip has installed the wheel, and compiled it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/pip", "install", "--quiet", wheel, cwd=folder)
    return folder / "venv/bin/deployer"


def test_an_installed_wheel_finds_its_roles_and_playbooks(deployer: Path, tmp_path: Path) -> None:
    empty = tmp_path
    run(deployer, "init", cwd=empty)
    assert sorted(path.name for path in empty.iterdir()) == ["inventory.yml", "site.yml"]
    assert run(deployer, "check", "site.yml", cwd=empty).startswith("ok: 1 play")
    assert '"$schema"' in run(deployer, "check", "--schema", cwd=empty)
    assert "wss://" in run(deployer, "check", "--explain", "ws-on-https", cwd=empty)
    assert "$connection_upgrade" in run(deployer, "verify", "--explain", "map-twice", cwd=empty)


def test_every_template_can_be_written_checked_and_rendered(deployer: Path, tmp_path: Path) -> None:
    listed = run(deployer, "init", "--list", cwd=tmp_path).splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ")]  # below their group
    assert {"goaccess", "go-websocket", "websocket-app"} <= set(names)
    for name in names:
        folder = tmp_path / name
        folder.mkdir()
        wrote = run(deployer, "init", name, cwd=folder).splitlines()[:-1]
        written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert written == {line.removeprefix("wrote ") for line in wrote}
        assert not [path for path in written if path.endswith(".pyc")]
        assert run(deployer, "check", "site.yml", cwd=folder).startswith("ok: ")
        run(deployer, "check", "site.yml", "--render", "out", cwd=folder)
        assert [path for path in (folder / "out").rglob("*") if path.is_file()]
