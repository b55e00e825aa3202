"""An agent that is killed, or whose disk fails, at every single operation, in folders of its own.

The operations are counted by a run that nothing disturbs. A run tries a third of them, a different
one each time; `make crash` tries all. Whatever happens at one of them, after the next run has asked
for a revert where a commit is pending, everything is as it was before; or as it is after the
commit, where it had been confirmed.
"""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.crash.faults import BOOTSTRAP, Fault, Operation, body, distinct, operations, share
from tests.support.agent.process import (
    AgentProcess,
    AgentRefusal,
    change,
    file_change,
    local_agent,
    me,
    snapshot,
)

OLD_NS = 1_600_000_000_123_456_789
FAULTS = {
    "kill": {"do": "kill"},
    "torn": {"do": "torn"},
    "eio": {"do": "eio"},
    "enospc": {"do": "enospc"},
    "full": {"do": "enospc", "times": 1 << 30},
    "broken": {"do": "eio-forever", "times": 1 << 30},
}


def make_world(folder: Path) -> Path:
    """A host's folders, with times of long ago."""
    for name in ("etc/app/conf.d", "var_lib/app", "srv/data", "cache", "var_lib/deployer"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/app/main.conf").write_text("old\n")
    (folder / "etc/app/main.conf").chmod(0o640)
    (folder / "etc/app/conf.d/one").write_text("1")
    (folder / "etc/app/conf.d/link").symlink_to("one")
    (folder / "srv/data/kept").write_text("kept")
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    os.utime(folder, ns=(OLD_NS, OLD_NS))
    return folder


def changes(world: Path) -> list[dict[str, Any]]:
    """One of each that an agent does without other programs."""
    etc, srv = world / "etc", world / "srv"
    return [
        file_change(etc / "app/main.conf", b"new\n", mode="0600", owner=me()),
        file_change(srv / "a/b/c", b"deep"),
        change(f"file:{srv}/data/kept", {"type": "file", "mode": "0400"}),
        change(f"directory:{srv}/dir", {"type": "directory", "mode": "0700"}),
        change(f"link:{etc}/app/conf.d/link", {"type": "link", "target": "other"}),
        change(f"file:{etc}/app/conf.d/one", None),
        change(f"directory:{world}/var_lib/app", None),
    ]


def faulty_agent(world: Path, fault: Fault) -> AgentProcess:
    """An agent whose operations are counted, and disturbed."""
    settings = {
        "etc": str(world / "etc"),
        "var_lib": str(world / "var_lib"),
        "state": str(world / "var_lib/deployer"),
        "cache": str(world / "cache"),
        "watchdog": False,
        **fault.settings(),
    }
    return AgentProcess([sys.executable, "-I", "-S", "-c", BOOTSTRAP], settings, body=body())


def run(world: Path, phase: str, fault: Fault) -> str:
    """An apply and then `phase` under `fault`; the answer to the controller, in a word."""
    if phase != "apply":
        first = local_agent(world)
        first.apply(*changes(world))
        first.process.kill()  # its commit stays pending, and its lock is free
        first.end()
    agent = faulty_agent(world, fault)
    try:
        if phase == "apply":
            return str(agent.apply(*changes(world))["state"])
        if phase == "revert":
            return str(agent.ask("revert", commit="c1", why="a test")["state"])
        return str(agent.ask("confirm", commit="c1", verified=[])["state"])
    except AgentRefusal as refusal:
        reverted = refusal.error.get("revert") or {}
        return str(reverted.get("state", refusal.code))
    except AssertionError:
        return "died"  # without an answer
    finally:
        agent.process.kill()
        agent.end()


def counted(folder: Path, phase: str) -> list[Operation]:
    """The operations of a run that nothing disturbs."""
    world, log = make_world(folder), folder.with_suffix(".log")
    assert run(world, phase, Fault(log=str(log))) in ("pending", "confirmed", "reverted")
    return operations(log.read_text())


def recovered(world: Path) -> str:
    """What a person's `recover` does; the state of the commit in the end."""
    agent = local_agent(world)
    try:
        about = agent.ask("facts", packages=[])["deployer"]
        if about["pending"] is not None:
            reply = agent.ask("revert", commit=about["pending"]["commit"], why="recovered")
            assert reply["state"] == "reverted", reply
        history = agent.ask("history")["generations"]
        assert len(history) <= 1
        return history[0]["state"] if history else "none"
    finally:
        agent.end()


def see(world: Path) -> dict[str, Any]:
    found = snapshot(world, without=("deployer", "cache"))
    return {path.removeprefix(str(world)): entry for path, entry in found.items()}


def without_times(state: dict[str, Any]) -> dict[str, Any]:
    return {path: (*entry[:3], entry[4]) for path, entry in state.items()}


@pytest.mark.parametrize("do", FAULTS)
@pytest.mark.parametrize("phase", ["apply", "revert", "confirm"])
def test_every_operation(tmp_path: Path, phase: str, do: str) -> None:
    before = see(make_world(tmp_path / "before"))
    after = without_times(see_after(tmp_path / "after"))
    places = counted(tmp_path / "counted", phase)
    places = distinct(places) if do == "kill" else places
    places = share([place for place in places if fits(place, do)])
    assert places

    def problem_at(place: Operation) -> str:
        world = make_world(tmp_path / f"{place.number}")
        try:
            answer = run(world, phase, Fault(at=place.number, **FAULTS[do]))
            state = recovered(world)
            now = see(world)
            is_before, is_after = now == before, without_times(now) == after
            wanted = {"reverted": is_before, "none": is_before, "confirmed": is_after}
            if not wanted.get(state):
                return f"{place}: {answer}, then {state}: {differing(before, now)}"
            if (answer, state) in (("confirmed", "reverted"), ("reverted", "confirmed")):
                return f"{place}: the controller got {answer}, and it is {state}"
        except AssertionError as error:
            return f"{place}: {error}"
        finally:
            shutil.rmtree(world)
        return ""

    with ThreadPoolExecutor(3) as pool:
        problems = [problem for problem in pool.map(problem_at, places) if problem]
    assert not problems, "\n".join([f"{len(problems)} of {len(places)}:", *problems])


def fits(place: Operation, do: str) -> bool:
    if do == "torn":
        return place.name in ("write", "pwrite")
    if do in ("full", "broken") and place.number % 4 != 1:
        return False  # a revert that fails tries again, which takes its time
    return do not in ("enospc", "full") or place.name in (
        "open", "write", "pwrite", "mkdir", "symlink", "link", "posix_fallocate"
    )  # fmt: skip


def see_after(world: Path) -> dict[str, Any]:
    make_world(world)
    agent = local_agent(world)
    agent.apply(*changes(world))
    agent.ask("confirm", commit="c1", verified=[])
    agent.end()
    return see(world)


def differing(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {
        path: (before.get(path), now.get(path))
        for path in {**before, **now}
        if before.get(path) != now.get(path)
    }
