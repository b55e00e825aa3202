"""State that the agent of earlier versions left: the present one reverts and reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.crash.faults import Fault, operations
from tests.crash.test_every_operation import changes, make_world
from tests.support.agent.one_file import old_agent
from tests.support.agent.process import AgentRefusal, file_change, local_agent, snapshot


def seen(world: Path) -> dict[str, Any]:
    return snapshot(world, without=("deployer", "cache"))


def interrupted(world: Path, phase: str, fault: Fault) -> None:
    """An old agent dies in `phase`: during an apply, or during the revert of a whole one."""
    if phase == "revert":
        first = old_agent(world)
        first.apply(*changes(world))
        first.process.kill()
        first.end()
    agent = old_agent(world, fault)
    try:
        if phase == "revert":
            agent.ask("revert", commit="c1", why="a test")
        else:
            agent.apply(*changes(world))
    except AssertionError:
        pass  # it died without a reply
    finally:
        agent.process.kill()
        agent.end()


@pytest.mark.parametrize("phase", ["apply", "revert"])
def test_a_commit_that_an_old_agent_left_is_reverted(tmp_path: Path, phase: str) -> None:
    """Whether it died before its first change, after its last, or between two lines of its journal;
    or during its own revert."""
    counted, log = make_world(tmp_path / "counted"), tmp_path / "log"
    interrupted(counted, phase, Fault(log=str(log)))
    places = operations(log.read_text())
    states = set()
    for index in range(0, len(places), max(1, len(places) // 7)):
        world = make_world(tmp_path / str(index))
        before = seen(world)
        interrupted(world, phase, Fault(do="kill", at=places[index].number))
        agent = local_agent(world)
        pending = agent.ask("facts", packages=[])["deployer"]["pending"]
        if pending is None:  # it died before the commit began, or after it ended
            agent.ask("tidy")
            states.add("none")
        else:
            states.add(pending["state"])
            reply = agent.ask("revert", commit="c1", why="recovered")
            assert reply["state"] == "reverted", (places[index], reply)
        agent.end()
        assert seen(world) == before, places[index]
        assert {path.name for path in (world / "var_lib/deployer").iterdir()} <= {
            "abandoned", "generations", "images", "lock", "reverted",
        }  # fmt: skip
    assert {"pending" if phase == "apply" else "reverting"} <= states


def test_the_generations_of_an_old_agent_are_read(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    path = world / "etc/app/main.conf"
    agent = old_agent(world)
    for number, content in ((1, b"one\n"), (2, b"two\n")):
        agent.apply(file_change(path, content), commit=f"c{number}")
        agent.ask("confirm", commit=f"c{number}", verified=["101"])
    recorded = agent.ask("history")
    agent.end()
    agent = local_agent(world)
    assert agent.ask("history") == recorded
    assert agent.ask("facts", packages=[])["deployer"]["generation"] == 2
    for to, content in ((0, b"old\n"), (1, b"one\n")):
        (wanted,) = agent.ask("undo", to=to)["resources"]
        restored = file_change(path, content)
        assert wanted["content_b64"] == restored["after_content_b64"]
    agent.apply(file_change(path, b"three\n"), commit="c3")
    assert agent.ask("confirm", commit="c3", verified=[])["generation"] == 3
    (wanted,) = agent.ask("undo", to=0)["resources"]
    assert wanted["content_b64"] == file_change(path, b"old\n")["after_content_b64"]
    agent.apply(file_change(path, b"four\n"), commit="c4")
    assert agent.ask("revert", commit="c4", why="a test")["state"] == "reverted"
    assert path.read_bytes() == b"three\n"
    agent.end()


def test_a_revert_in_which_an_old_agent_failed_is_repeated_or_abandoned(tmp_path: Path) -> None:
    for end in ("reverted", "abandoned"):
        world = make_world(tmp_path / end)
        before = seen(world)
        agent = old_agent(world)
        agent.apply(file_change(world / "etc/app/main.conf", b"new\n"))
        agent.process.kill()
        agent.end()
        plan = world / "var_lib/deployer/pending/plan.json"
        intact = plan.read_bytes()
        plan.write_bytes(intact + b" ")
        agent = old_agent(world)
        assert agent.ask("revert", commit="c1", why="a test")["state"] == "revert-failed"
        agent.end()
        (world / "var_lib/deployer/reverting/plan.json").write_bytes(intact)
        agent = local_agent(world)
        pending = agent.ask("facts", packages=[])["deployer"]["pending"]
        assert (pending["commit"], pending["state"]) == ("c1", "revert-failed")
        if end == "reverted":
            assert agent.ask("revert", commit="c1", why="again")["state"] == "reverted"
            assert seen(world) == before
        else:
            assert agent.ask("abandon", commit="c1")["state"] == "abandoned"
            assert (world / "etc/app/main.conf").read_bytes() == b"new\n"
        assert agent.ask("history")["generations"][0]["state"] == end
        with pytest.raises(AgentRefusal, match=end):
            agent.ask("revert", commit="c1", why="once more")
        agent.end()
