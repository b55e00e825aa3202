"""A real run of the command that is killed, or whose line is cut, at a random moment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.lab.lab import Lab
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from tests.crash.rounds import Draw
    from tests.crash.stage import Stage

from tests.crash.two_states import playbook_to

#: About as long as an apply takes from its start to its end; the moment is drawn from it.
_ABOUT_S = 2.0
_RUN_LIMIT_S = 300.0


def cut_off(stage: Stage, drawn: Draw, target: str) -> tuple[str, str]:
    """``deployer apply``, interrupted; where, and the result in its exit code."""
    folder = _project(stage, drawn, target)
    moment_s = drawn.at * _ABOUT_S
    short = ["--confirm-timeout", "2"]
    argv = [sys.executable, "-m", "deployer", "apply", "site.yml", "--yes", *short]
    with (folder / "output").open("wb") as output:
        run = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            _wait(run, moment_s)
            if drawn.kind == "controller":
                run.kill()
            else:
                _cut(stage, run, drawn)
            _wait(run, _RUN_LIMIT_S)
        finally:
            run.kill()
            run.wait()
    answer = {0: "confirmed", 3: "reverted"}.get(run.returncode, "nothing")
    if "Traceback" in (folder / "output").read_text():
        answer = "a traceback"
    shutil.rmtree(folder)
    return f"after {moment_s:.2f} s", answer


def _wait(run: subprocess.Popen[bytes], limit_s: float) -> None:
    try:
        run.wait(limit_s)
    except subprocess.TimeoutExpired:
        return


def _cut(stage: Stage, run: subprocess.Popen[bytes], drawn: Draw) -> None:
    """Cut the line for a while; the controller may die meanwhile, which the host cannot know."""
    stage.host.link_down()
    try:
        _wait(run, drawn.down_s)
        if drawn.kills_controller:
            run.kill()
            stage.wait_until_over()
            stage.end_agents()
    finally:
        stage.host.link_up()


def _project(stage: Stage, drawn: Draw, target: str) -> Path:
    folder = stage.folder / f"{stage.host.name}-{drawn.number}"
    folder.mkdir()
    (folder / "site.yml").write_text(playbook_to(target, start=stage.state))
    lab = stage.lab
    one = Lab(lab.name, lab.folder, lab.network, lab.image, (stage.host,))
    one.write_inventory(folder / "inventory.yml")
    return folder
