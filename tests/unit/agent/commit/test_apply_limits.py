"""An apply's permissions, and what it refuses without systemd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.agent import bundle
from tests.support.agent.process import (
    AgentProcess,
    AgentRefusal,
    change,
    commit_of,
    file_change,
    local_agent,
)
from tests.unit.agent.commit.test_apply import seen


def test_state_is_for_its_owner_alone(agent: AgentProcess, world: Path) -> None:
    secret = world / "etc/secret"
    secret.write_text("hush")
    secret.chmod(0o600)
    agent.apply(file_change(secret, b"new"))
    state = world / "var_lib/deployer"
    assert state.stat().st_mode & 0o777 == 0o700
    for path in (state / "pending").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert b"new" not in (state / "pending/plan.json").read_bytes().replace(b"etc/", b"")
    journal = (state / "pending/journal.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in journal]
    assert events == ["begin", "intent", "done", "applied"]


def test_without_systemd_nothing_is_begun(world: Path) -> None:
    agent = local_agent(world, watchdog=True, systemd=str(world / "no-such-folder"))
    before = seen(world)
    with pytest.raises(AgentRefusal) as refused:
        agent.apply(file_change(world / "etc/hello", b"hello"))
    assert refused.value.code == "no-systemd"
    assert seen(world) == before
    assert agent.ask("facts", packages=[])["deployer"]["pending"] is None

    plan = agent.plan(file_change(world / "etc/hello", b"hello"))
    agent.ask("apply", plan=plan, commit={**commit_of("c1"), "watchdog": False})
    assert agent.ask("confirm", commit="c1", verified=[])["state"] == "confirmed"
    agent.end()


@pytest.mark.parametrize(
    "arguments", [["--revert=c1"], ["--revert=c1", "--why=fun"], ["--why=boot"], []]
)
def test_the_watchdog_s_command_line(tmp_path: Path, arguments: list[str]) -> None:
    program = tmp_path / "watchdog.pyz"
    program.write_bytes(bundle.archive())
    done = subprocess.run(
        [sys.executable, "-I", "-S", program, *arguments], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == b"usage: watchdog.pyz --revert=COMMIT --why=deadline|boot\n"


def test_no_manifest_knows_the_watchdog_s_unit(world: Path) -> None:
    """It comes before the first change and goes after the last: a revert leaves it where it is."""
    units = world / "etc/systemd/system"
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True)
    before = seen(world)
    made = [folder / "deployer-revert.service" for folder in (units, wants)]
    done = world / "etc/done"
    script = f"touch {made[0]} {done} && ln -s {made[0]} {made[1]}"
    after = {"done": True, "argv": ["sh", "-c", script], "creates": [str(done)], "removes": [],
             "unless": [], "chdir": None, "environment": {}}  # fmt: skip
    agent = local_agent(world)
    agent.apply(change("command:all", after))
    reply = agent.ask("revert", commit="c1", why="enough")
    agent.end()
    assert (reply["state"], reply["kept"], reply["failed"]) == ("reverted", [], [])
    for path in made:
        path.unlink()  # fails where the revert has done that
        at = before[str(path.parent)][3]
        os.utime(path.parent, ns=(at, at))
    assert seen(world) == before
