"""The wheel alone, in an empty environment and an empty folder, is the whole tool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_an_installed_wheel_finds_its_roles_and_playbooks(tmp_path: Path) -> None:
    wheels, empty = tmp_path / "wheels", tmp_path / "empty"
    empty.mkdir()
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", wheels, ROOT]
    run(*build, cwd=empty)
    (wheel,) = wheels.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=empty)
    run(tmp_path / "venv/bin/pip", "install", "--quiet", wheel, cwd=empty)
    deployer = tmp_path / "venv/bin/deployer"

    assert "goaccess" in run(deployer, "init", "--list", cwd=empty)
    run(deployer, "init", cwd=empty)
    assert sorted(path.name for path in empty.iterdir()) == ["inventory.yml", "site.yml"]
    assert run(deployer, "check", "site.yml", cwd=empty).startswith("ok: 1 play")
    assert '"$schema"' in run(deployer, "check", "--schema", cwd=empty)
    assert "wss://" in run(deployer, "check", "--explain", "ws-on-https", cwd=empty)
    assert "$connection_upgrade" in run(deployer, "verify", "--explain", "map-twice", cwd=empty)
