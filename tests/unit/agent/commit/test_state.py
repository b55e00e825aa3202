"""What the agent keeps in its state folder: the lock, contents, generations, their order."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent.process import (
    AgentProcess,
    AgentRefusal,
    change,
    commit_of,
    file_change,
    local_agent,
)
from tests.support.waiting import at_most, stretched

BIG = os.urandom(100_000)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    running = local_agent(tmp_path)
    yield running
    running.end()


def state_folder(world: Path) -> Path:
    return world / "var_lib/deployer"


def confirmed(agent: AgentProcess, path: Path, content: bytes, number: int, **more: Any) -> None:
    """One generation that leaves `content` at `path`."""
    plan = agent.plan(file_change(path, content))
    commit = {**commit_of(f"c{number}"), **more}
    agent.ask("apply", plan=plan, commit=commit)
    agent.ask("confirm", commit=f"c{number}", verified=[])


def facts(agent: AgentProcess) -> dict[str, Any]:
    about: dict[str, Any] = agent.ask("facts", packages=[])["deployer"]
    return about


# --- contents -------------------------------------------------------------------------------------


def test_a_content_is_kept_once(agent: AgentProcess, tmp_path: Path) -> None:
    one, other = tmp_path / "etc/one", tmp_path / "etc/other"
    one.write_bytes(BIG)
    other.write_bytes(BIG)
    for number, (path, content) in enumerate([(one, b"1"), (other, b"1"), (one, BIG), (one, b"2")]):
        confirmed(agent, path, content, number)
    packs = list(state_folder(tmp_path).glob("images/*.pack"))
    assert len(BIG) < sum(path.stat().st_size for path in packs) < len(BIG) * 1.1
    agent.apply(file_change(one, b"3"), commit="last")
    assert agent.ask("revert", commit="last", why="a test")["state"] == "reverted"
    assert one.read_bytes() == b"2"
    former = agent.ask("undo", to=0)["resources"]
    assert {item["name"]: item["attributes"]["size"] for item in former} == {
        str(one): len(BIG),
        str(other): len(BIG),
    }


def test_a_damaged_content_is_kept_anew(agent: AgentProcess, tmp_path: Path) -> None:
    """A later commit does not rely on what cannot be read back."""
    path = tmp_path / "etc/one"
    path.write_bytes(BIG)
    confirmed(agent, path, b"1", 1)
    (pack,) = state_folder(tmp_path).glob("images/*.pack")
    good = pack.read_bytes()
    pack.write_bytes(good[:500] + bytes([good[500] ^ 255]) + good[501:])
    path.write_bytes(BIG)
    agent.apply(file_change(path, b"2"), commit="c2")
    assert agent.ask("revert", commit="c2", why="a test")["state"] == "reverted"
    assert path.read_bytes() == BIG


def test_old_generations_go_and_their_contents_with_them(
    agent: AgentProcess, tmp_path: Path
) -> None:
    path = tmp_path / "etc/one"
    path.write_bytes(os.urandom(50_000))
    for number in range(1, 8):
        confirmed(agent, path, os.urandom(50_000), number, keep=3)
    kept = {int(folder.name) for folder in (state_folder(tmp_path) / "generations").iterdir()}
    assert kept == {5, 6, 7}
    size = sum(file.stat().st_size for file in state_folder(tmp_path).glob("images/*.pack"))
    assert 150_000 < size < 160_000
    assert agent.ask("undo", to=5)["to"] == 5
    with pytest.raises(AgentRefusal, match=r"no generation 4 .* has kept 5 to 6"):
        agent.ask("undo", to=4)
    assert facts(agent)["generation"] == 7
    assert [entry["generation"] for entry in agent.ask("history")["generations"]] == [7, 6, 5]


def test_ten_generations_are_kept_by_default(agent: AgentProcess, tmp_path: Path) -> None:
    for number in range(1, 13):
        confirmed(agent, tmp_path / "etc/one", str(number).encode(), number)
    assert len(list((state_folder(tmp_path) / "generations").iterdir())) == 10


def test_contents_of_a_kept_journal_stay(agent: AgentProcess, tmp_path: Path) -> None:
    """What someone has edited is kept with the journal, and that with what it needs."""
    path = tmp_path / "etc/one"
    path.write_bytes(BIG)
    agent.apply(file_change(path, b"ours"), commit="edited")
    path.write_bytes(b"theirs")
    assert agent.ask("revert", commit="edited", why="a test")["kept"]
    for number in range(1, 4):
        confirmed(agent, tmp_path / "etc/other", str(number).encode(), number, keep=1)
    assert (state_folder(tmp_path) / "images/edited.pack").stat().st_size > len(BIG) / 2


def test_room_for_the_revert_is_reserved_before_the_first_change(
    agent: AgentProcess, tmp_path: Path
) -> None:
    path = tmp_path / "etc/one"
    path.write_bytes(BIG)
    agent.apply(file_change(path, b"1"))
    reserve = state_folder(tmp_path) / "pending/reserve"
    assert reserve.stat().st_blocks * 512 >= len(BIG) + (1 << 20)
    agent.ask("confirm", commit="c1", verified=[])
    assert not (state_folder(tmp_path) / "generations/1/reserve").exists()


# --- what became of them --------------------------------------------------------------------------


def test_the_order_of_commits_is_not_that_of_clocks(agent: AgentProcess, tmp_path: Path) -> None:
    for number in (1, 2):
        confirmed(agent, tmp_path / "etc/one", str(number).encode(), number)
    meta = state_folder(tmp_path) / "generations/1/meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "time": "2099-01-01T00:00:00Z"}))
    confirmed(agent, tmp_path / "etc/one", b"3", 3)
    assert [entry["commit"] for entry in agent.ask("history")["generations"]] == ["c3", "c2", "c1"]


def test_a_reverted_commit_is_reported_until_one_is_confirmed(
    agent: AgentProcess, tmp_path: Path
) -> None:
    assert facts(agent)["last"] is None
    agent.apply(file_change(tmp_path / "etc/one", b"1"), commit="c1")
    agent.ask("revert", commit="c1", why="deadline")
    last = facts(agent)["last"]
    assert (last["commit"], last["state"], last["why"]) == ("c1", "reverted", "deadline")
    assert (last["who"], last["from"], last["kept"]) == ("ada", "desk", [])
    confirmed(agent, tmp_path / "etc/one", b"2", 2)
    assert facts(agent)["last"] is None


def test_a_failed_revert_can_be_given_up(agent: AgentProcess, tmp_path: Path) -> None:
    path = tmp_path / "etc/one"
    agent.apply(file_change(path, b"1"))
    journal = state_folder(tmp_path) / "pending/journal.jsonl"
    journal.write_bytes(b"what?\n")
    with pytest.raises(AgentRefusal) as refused:
        agent.ask("abandon", commit="c1")
    assert (refused.value.code, refused.value.error["state"]) == ("not-pending", "pending")
    assert agent.ask("revert", commit="c1", why="a test")["state"] == "revert-failed"
    pending = facts(agent)["pending"]
    assert pending["state"] == "revert-failed"
    assert "nothing was changed" in pending["failed"][0]["message"]
    assert agent.ask("abandon", commit="c1") == {"commit": "c1", "state": "abandoned"}
    assert path.read_bytes() == b"1"
    assert (state_folder(tmp_path) / "abandoned/c1/journal.jsonl").read_bytes() == b"what?\n"
    about = facts(agent)
    assert (about["pending"], about["last"]["state"]) == (None, "abandoned")
    confirmed(agent, path, b"2", 2)


@pytest.mark.parametrize("name", ["meta.json", "journal.jsonl"])
def test_a_commit_whose_records_are_gone_is_still_there(
    agent: AgentProcess, tmp_path: Path, name: str
) -> None:
    agent.apply(file_change(tmp_path / "etc/one", b"1"))
    (state_folder(tmp_path) / "pending" / name).write_bytes(b"\0\0\0")
    pending = facts(agent)["pending"]
    assert pending["commit"] == "c1"
    with pytest.raises(AgentRefusal) as refused:
        agent.apply(file_change(tmp_path / "etc/two", b"1"), commit="c2")
    assert refused.value.code == "pending"
    state = agent.ask("revert", commit="c1", why="a test")["state"]
    assert state == ("reverted" if name == "meta.json" else "revert-failed")
    assert (tmp_path / "etc/one").exists() == (name == "journal.jsonl")


def test_a_commit_of_which_nothing_can_be_read(agent: AgentProcess, tmp_path: Path) -> None:
    agent.apply(file_change(tmp_path / "etc/one", b"1"))
    for name in ("meta.json", "journal.jsonl"):
        (state_folder(tmp_path) / "pending" / name).write_bytes(b"\0\0\0")
    assert facts(agent)["pending"]["commit"] == "unknown"
    assert agent.ask("revert", commit="unknown", why="a test")["state"] == "revert-failed"
    assert agent.ask("abandon", commit="unknown")["state"] == "abandoned"
    confirmed(agent, tmp_path / "etc/one", b"2", 2)


# --- the lock, and the time to confirm ------------------------------------------------------------


def test_the_lock_says_who_has_it(agent: AgentProcess, tmp_path: Path) -> None:
    assert facts(agent)["lock"] is None
    agent.apply(file_change(tmp_path / "etc/one", b"1"))
    assert facts(agent)["lock"] is None, "one's own lock is in nobody's way"
    other = local_agent(tmp_path)
    lock = facts(other)["lock"]
    assert (lock["who"], lock["from"]) == ("ada", "desk")
    with pytest.raises(AgentRefusal) as refused:
        other.apply(file_change(tmp_path / "etc/two", b"1"), commit="c2")
    assert refused.value.error["holder"] == "ada from desk"
    agent.ask("revert", commit="c1", why="a test")
    assert facts(other)["lock"] is None
    other.end()


def test_the_lock_of_a_killed_agent_is_free(tmp_path: Path) -> None:
    first = local_agent(tmp_path)
    first.apply(file_change(tmp_path / "etc/one", b"1"))
    first.process.kill()
    first.end()
    second = local_agent(tmp_path)
    about = facts(second)
    assert (about["lock"], about["pending"]["state"]) == (None, "pending")
    second.end()


def test_a_controller_that_says_so_has_more_time(agent: AgentProcess, tmp_path: Path) -> None:
    plan = agent.plan(file_change(tmp_path / "etc/one", b"1"))
    confirm_s = stretched(0.6)
    agent.ask("apply", plan=plan, commit={**commit_of("c1"), "rollback_duration_s": confirm_s})
    began = time.monotonic()
    while time.monotonic() - began < 2.5 * confirm_s:
        agent.send({"extend": "c1"})
        assert facts(agent)["pending"]["state"] == "pending"
        time.sleep(0.1)  # a controller's heartbeat
    agent.send({"extend": "another"})
    silent_at = time.monotonic()
    while facts(agent)["pending"] is not None:
        assert time.monotonic() - silent_at < at_most(10)
    assert time.monotonic() - silent_at > 0.4
    with pytest.raises(AgentRefusal, match="reverted"):
        agent.ask("confirm", commit="c1", verified=[])


def test_what_was_in_a_folder_that_a_rollback_deleted_is_not_wanted_without_the_folder(
    agent: AgentProcess, tmp_path: Path
) -> None:
    """A service wrote a file into it, so no generation but the rollback knows that file."""
    top = tmp_path / "etc/app"
    confirmed(agent, tmp_path / "etc/one", b"1", 1)
    folder = change(f"directory:{top}", {"type": "directory"})
    plan = agent.plan(folder, file_change(top / "conf", b"1"))
    agent.ask("apply", plan=plan, commit=commit_of("c2"))
    agent.ask("confirm", commit="c2", verified=[])
    (top / "written-by-the-service").write_text("data")
    plan = agent.plan(change(f"file:{top}", None))
    agent.ask("apply", plan=plan, commit={**commit_of("c3"), "rolls_back_to": 1})
    agent.ask("confirm", commit="c3", verified=[])
    assert not top.exists()
    wanted = {item["name"]: item["attributes"] for item in agent.ask("undo", to=2)["resources"]}
    assert wanted.keys() == {str(top), str(top / "conf"), str(top / "written-by-the-service")}
    wanted = {item["name"]: item["attributes"] for item in agent.ask("undo", to=1)["resources"]}
    assert wanted == {str(top): None, str(top / "conf"): None}
