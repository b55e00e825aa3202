"""Applies of files, folders and links on a real agent, and their exact revert."""

from __future__ import annotations

import base64
import os
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
    me,
    snapshot,
)

OLD_NS = 1_600_000_000_123_456_789


def seen(world: Path) -> dict[str, Any]:
    return snapshot(world, without=("deployer", "cache"))


def many_changes(world: Path) -> list[dict[str, Any]]:
    etc, srv = world / "etc", world / "srv"
    return [
        file_change(etc / "app/main.conf", b"new\n", mode="0600", owner=me()),
        file_change(etc / "app/new.conf", b"", owner=str(os.geteuid())),
        file_change(srv / "a/b/c", b"deep"),
        change(f"file:{srv}/data/kept", {"type": "file", "mode": "0400"}),
        change(f"directory:{srv}/dir", {"type": "directory", "mode": "0700"}),
        change(f"directory:{srv}/data", {"type": "directory", "mode": "0711"}),
        change(f"link:{etc}/app/link", {"type": "link", "target": "main.conf"}),
        change(f"link:{etc}/app/conf.d/link", {"type": "link", "target": "other"}),
        change(f"file:{etc}/app/conf.d/one", None),
        change(f"directory:{world}/var_lib/app", None),
    ]


def test_an_apply_makes_what_was_planned(agent: AgentProcess, world: Path) -> None:
    assert agent.apply(*many_changes(world)) == {"commit": "c1", "state": "pending"}
    etc, srv = world / "etc", world / "srv"
    assert (etc / "app/main.conf").read_bytes() == b"new\n"
    assert (etc / "app/main.conf").stat().st_mode & 0o7777 == 0o600
    assert (etc / "app/new.conf").stat().st_mode & 0o7777 == 0o644
    assert (srv / "a/b/c").read_bytes() == b"deep"
    assert (srv / "dir").stat().st_mode & 0o7777 == 0o700
    assert (srv / "data").stat().st_mode & 0o7777 == 0o711
    assert (srv / "data/kept").stat().st_mode & 0o7777 == 0o400
    assert (etc / "app/link").readlink() == Path("main.conf")
    assert (etc / "app/conf.d/link").readlink() == Path("other")
    assert not (etc / "app/conf.d/one").exists()
    assert not (world / "var_lib/app").exists()
    steps = [event for event in agent.events if event["event"] == "step"]
    assert [step["n"] for step in steps if step["state"] == "done"] == list(range(1, 11))
    assert {step["total"] for step in steps} == {10}
    assert not list(world.rglob(".deployer-*")), "no temporary file is left"


def test_a_revert_is_exact_to_the_nanosecond(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    agent.apply(*many_changes(world))
    assert seen(world) != before
    assert agent.ask("revert", commit="c1", why="a test") == {
        "commit": "c1", "state": "reverted", "kept": [], "failed": [], "certificates_kept": []
    }  # fmt: skip
    assert seen(world) == before
    assert not (world / "var_lib/deployer/reverting").exists()
    record = agent.ask("history")["generations"][0]
    assert (record["state"], record["generation"]) == ("reverted", None)


def test_a_tree_comes_back_whole(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    agent.apply(change(f"directory:{world}/etc/app", None))
    assert not (world / "etc/app").exists()
    assert agent.ask("revert", commit="c1", why="a test")["state"] == "reverted"
    assert seen(world) == before


def test_a_confirmed_commit_is_a_generation(agent: AgentProcess, world: Path) -> None:
    agent.apply(file_change(world / "etc/x", b"1"))
    assert agent.ask("facts", packages=[])["deployer"]["pending"]["commit"] == "c1"
    assert agent.ask("confirm", commit="c1", verified=["101"]) == {
        "commit": "c1", "state": "confirmed", "generation": 1
    }  # fmt: skip
    agent.apply(file_change(world / "etc/x", b"2"), commit="c2")
    assert agent.ask("confirm", commit="c2", verified=[])["generation"] == 2
    newest, oldest = agent.ask("history")["generations"]
    assert (newest["commit"], newest["generation"]) == ("c2", 2)
    assert oldest["verified"] == ["101"]
    assert (oldest["who"], oldest["from"]) == ("ada", "desk")
    assert oldest["changes"] == [{"resource_id": f"file:{world}/etc/x", "action": "create"}]
    created = {"id": f"file:{world}/etc/x", "since": 1, "by": []}
    assert agent.ask("facts", packages=[])["deployer"] == {
        "lock": None, "pending": None, "generation": 2, "last": None,
        "rollback": None, "managed": {"entries": [created], "sites": {}, "handlers": {}},
        "owed": [], "proxies": [],
    }  # fmt: skip


def test_confirm_and_revert_have_one_winner(agent: AgentProcess, world: Path) -> None:
    agent.apply(file_change(world / "etc/x", b"1"))
    agent.ask("confirm", commit="c1", verified=[])
    for name in ("revert", "confirm"):
        with pytest.raises(AgentRefusal) as caught:
            agent.ask(name, commit="c1", why="late", verified=[])
        assert caught.value.code == "not-pending"
        assert caught.value.error["state"] == "confirmed"
    with pytest.raises(AgentRefusal) as caught:
        agent.ask("confirm", commit="never", verified=[])
    assert caught.value.error["state"] == "unknown"


def test_a_stale_plan_changes_nothing(agent: AgentProcess, world: Path) -> None:
    plan = agent.plan(file_change(world / "etc/x", b"1"), file_change(world / "etc/y", b"1"))
    (world / "etc/y").write_text("someone was quicker")
    before = seen(world)
    with pytest.raises(AgentRefusal) as caught:
        agent.ask("apply", plan=plan, commit=commit_of("c1"))
    assert caught.value.code == "stale"
    assert caught.value.error["resource_ids"] == [f"file:{world}/etc/y"]
    assert seen(world) == before
    assert agent.ask("facts", packages=[])["deployer"]["pending"] is None


def test_an_unconfirmed_commit_blocks_the_next(agent: AgentProcess, world: Path) -> None:
    agent.apply(file_change(world / "etc/x", b"1"))
    with pytest.raises(AgentRefusal) as caught:
        agent.apply(file_change(world / "etc/y", b"1"), commit="c2")
    assert (caught.value.code, caught.value.error["commit"]) == ("pending", "c1")
    agent.ask("revert", commit="c1", why="a test")
    agent.apply(file_change(world / "etc/y", b"1"), commit="c2")


def test_a_second_run_learns_who_is_at_work(agent: AgentProcess, world: Path) -> None:
    agent.apply(file_change(world / "etc/x", b"1"))
    second = local_agent(world)
    for ask in (
        lambda: second.apply(file_change(world / "etc/y", b"1"), commit="c2"),
        lambda: second.ask("revert", commit="c1", why="impatience"),
    ):
        with pytest.raises(AgentRefusal) as caught:
            ask()
        assert caught.value.code == "locked"
        assert caught.value.error["holder"] == "ada from desk"
    second.end()
    assert (world / "etc/x").read_bytes() == b"1"


def test_the_end_of_the_channel_takes_the_commit_back(world: Path) -> None:
    before = seen(world)
    first = local_agent(world)
    first.apply(*many_changes(world))
    assert first.end() == 0
    assert seen(world) == before


def test_a_commit_of_a_killed_agent_is_reverted_by_the_next(world: Path) -> None:
    before = seen(world)
    first = local_agent(world)
    first.apply(*many_changes(world))
    first.process.kill()
    first.end()
    second = local_agent(world)
    pending = second.ask("facts", packages=[])["deployer"]["pending"]
    assert (pending["commit"], pending["who"], pending["state"]) == ("c1", "ada", "pending")
    assert second.ask("revert", commit="c1", why="found")["state"] == "reverted"
    assert seen(world) == before
    second.end()


def test_a_step_that_fails_takes_the_others_back(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    failing = change("command:fail", {"done": True, "argv": ["sh", "-c", "echo because; exit 4"]})
    with pytest.raises(AgentRefusal) as caught:
        agent.apply(*many_changes(world), failing)
    error = caught.value.error
    assert error["code"] == "step-failed"
    assert error["message"] == "command fail: sh ended with exit code 4"
    assert error["resource_id"] == "command:fail"
    assert error["output"] == "because"
    assert error["revert"]["state"] == "reverted"
    assert seen(world) == before
    assert agent.ask("history")["generations"][0]["state"] == "reverted"


def test_the_events_of_a_revert_name_only_what_it_undid(agent: AgentProcess, world: Path) -> None:
    made, failing = f"file:{world}/etc/x", f"file:{world}/etc/y"
    with pytest.raises(AgentRefusal, match="the user no-such-user does not exist"):
        agent.apply(
            file_change(world / "etc/x", b"1"),
            file_change(world / "etc/y", b"1", owner="no-such-user"),
            change("command:never-reached", {"done": True, "argv": ["true"]}),
        )
    steps = [event for event in agent.events if event["event"] == "step"]
    restored = [
        (each["resource_id"], each["state"]) for each in steps if each["action"] == "restore"
    ]
    assert failing in [each["resource_id"] for each in steps]
    assert restored == [(made, "start"), (made, "done")]


def test_a_kept_edit_is_not_reported_as_undone(agent: AgentProcess, world: Path) -> None:
    agent.apply(file_change(world / "etc/x", b"1"), file_change(world / "etc/y", b"1"))
    (world / "etc/y").write_text("edited by someone")
    assert agent.ask("revert", commit="c1", why="a test")["state"] == "revert-failed"
    done = [each["resource_id"] for each in agent.events if each.get("state") == "done"]
    assert set(done) == {f"file:{world}/etc/x"}


def test_an_unknown_owner_is_a_clear_word(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    with pytest.raises(AgentRefusal, match="the user no-such-user does not exist on the host"):
        agent.apply(file_change(world / "etc/x", b"1", owner="no-such-user"))
    assert seen(world) == before


def test_a_folder_is_never_replaced_by_a_file(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    with pytest.raises(AgentRefusal, match="is a directory, but should be a file"):
        agent.apply(file_change(world / "srv/data", b"1"))
    assert seen(world) == before


def test_handlers_run_after_their_stage(agent: AgentProcess, world: Path) -> None:
    before = seen(world)

    def run(stage: int, *argv: str, test: tuple[str, ...] = ()) -> dict[str, Any]:
        handler = {"name": f"h{stage}", "action": "run", "unit": "", "argv": list(argv),
                   "config_test": list(test)}  # fmt: skip
        return {"stage": stage, "because": [], "handler": handler}

    first, second = world / "etc/first", world / "etc/second"
    late = {**file_change(second, b"2"), "stage": 1}
    with pytest.raises(AgentRefusal) as caught:
        agent.apply(
            file_change(first, b"1"),
            late,
            handlers=[
                run(0, "sh", "-c", f"test -e {first} && test ! -e {second}"),
                run(1, "true", test=("sh", "-c", f"cat {first} {second}; exit 1")),
            ],
        )
    assert caught.value.code == "config-test-failed"
    assert caught.value.error["resource_id"] == "handler:h1"
    assert caught.value.error["output"] == "12"
    assert seen(world) == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda plan: plan.update(format_version=2), "unsupported plan format 2"),
        (lambda plan: plan.update(digest="0" * 64), "does not match its digest"),
        (
            lambda plan: plan["changes"][0].update(after_content_b64="eA=="),
            "does not match its hash",
        ),
        (lambda plan: plan["changes"][0].update(resource_id="file:../x"), "not an absolute path"),
        (lambda plan: plan["changes"][0].update(resource_id="service:-x"), "is not a name"),
        (lambda plan: plan["changes"][0].update(action="explode"), "cannot explode"),
    ],
)
def test_a_plan_that_makes_no_sense(
    agent: AgentProcess, world: Path, spoil: Any, words: str
) -> None:
    plan = agent.plan(file_change(world / "etc/x", b"1"))
    spoil(plan)
    with pytest.raises(AgentRefusal, match=words) as caught:
        agent.ask("apply", plan=plan, commit=commit_of("c1"))
    assert caught.value.code == "bad-request"


# --- edits by others, and damage ------------------------------------------------------------------


def test_an_edit_in_between_is_kept(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    agent.apply(*many_changes(world))
    edited = world / "etc/app/main.conf"
    edited.write_text("mine\n")
    (world / "srv/a/b/mine").write_text("mine")
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply["state"] == "revert-failed"
    assert reply["failed"] == []
    kept = {item["path"]: item["why"] for item in reply["kept"]}
    assert kept[str(edited)] == "it was changed after the apply"
    said = {event["resource_id"] for event in agent.events if event.get("state") == "done"}
    assert f"file:{edited}" not in said
    assert said, "what is restored is reported"
    assert edited.read_text() == "mine\n"
    if os.geteuid() == 0:  # what an account of a service writes into its new folder goes with it
        assert (world / "srv/a/b/mine").read_text() == "mine"
    after = seen(world)
    ours = {path for path in before if before[path] != after.get(path)}
    assert ours <= {str(edited), str(world / "srv"), str(world / "etc/app")}
    record = agent.ask("history")["generations"][0]
    assert record["state"] == "revert-failed"
    agent.apply(file_change(world / "etc/next", b"1"), commit="c2")


def test_an_edit_that_undoes_ours_is_no_conflict(agent: AgentProcess, world: Path) -> None:
    agent.apply(file_change(world / "etc/app/main.conf", b"new\n", mode="0640"))
    (world / "etc/app/main.conf").write_text("old\n")
    assert agent.ask("revert", commit="c1", why="a test")["state"] == "reverted"
    assert (world / "etc/app/main.conf").read_text() == "old\n"


def test_a_file_that_we_made_and_someone_removed(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    agent.apply(file_change(world / "etc/app/new", b"1"))
    (world / "etc/app/new").unlink()
    assert agent.ask("revert", commit="c1", why="a test")["state"] == "reverted"
    assert seen(world) == before


def host_was_booted_again(world: Path) -> None:
    """What is in /run is gone with the boot."""
    (world / "cache/journal.json").unlink()


def test_an_edit_after_an_apply_that_was_cut_off(world: Path) -> None:
    first = local_agent(world)
    first.apply(*many_changes(world))
    first.process.kill()
    first.end()
    pending = world / "var_lib/deployer/pending"
    journal = (pending / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (pending / "journal.jsonl").write_bytes(b"".join(journal[:-1]))
    (pending / "after.json").unlink()
    host_was_booted_again(world)
    (world / "etc/app/new.conf").write_text("mine")
    second = local_agent(world)
    reply = second.ask("revert", commit="c1", why="found")
    assert reply["kept"] == [
        {
            "path": str(world / "etc/app/new.conf"),
            "why": "it was changed after the apply",
            "former_b64": None,
            "now_b64": base64.b64encode(b"mine").decode(),
        }
    ]
    assert (world / "etc/app/new.conf").read_text() == "mine"
    assert (world / "etc/app/main.conf").read_text() == "old\n"
    second.end()


@pytest.mark.parametrize("name", ["journal.jsonl", "before.json", "plan.json"])
def test_a_damaged_journal_is_not_guessed_at(agent: AgentProcess, world: Path, name: str) -> None:
    agent.apply(file_change(world / "etc/app/main.conf", b"new\n"))
    damaged = world / "var_lib/deployer/pending" / name
    damaged.write_bytes(b"{" + damaged.read_bytes()[2:])
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply["state"] == "revert-failed"
    assert reply["failed"][0]["resource_id"] == "journal"
    assert "nothing was changed" in reply["failed"][0]["message"]
    assert (world / "etc/app/main.conf").read_bytes() == b"new\n"
    assert (world / "var_lib/deployer/reverting" / name).exists()
    pending = agent.ask("facts", packages=[])["deployer"]["pending"]
    assert pending["state"] == "revert-failed"
    with pytest.raises(AgentRefusal, match="could not be reverted"):
        agent.apply(file_change(world / "etc/y", b"1"), commit="c2")


def test_a_journal_cut_off_by_a_crash_is_read(agent: AgentProcess, world: Path) -> None:
    before = seen(world)
    agent.apply(*many_changes(world))
    with (world / "var_lib/deployer/pending/journal.jsonl").open("ab") as journal:
        journal.write(b'{"event":"inte')
    host_was_booted_again(world)
    assert agent.ask("revert", commit="c1", why="a test")["state"] == "reverted"
    assert seen(world) == before


@pytest.mark.parametrize("cut_bytes", [1, 20, 150, 2000])
def test_a_journal_that_was_cut_off_is_not_guessed_at(
    agent: AgentProcess, world: Path, cut_bytes: int
) -> None:
    """No crash can do that while the host runs: what was written stays written."""
    agent.apply(*many_changes(world))
    after = seen(world)
    journal = world / "var_lib/deployer/pending/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut_bytes])
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply["state"] == "revert-failed"
    assert "the journal is truncated" in reply["failed"][0]["message"]
    assert seen(world) == after


@pytest.mark.parametrize("change_line", [
    lambda line: line.replace(b"main.conf", b"nain.conf"),
    lambda line: b"",
    lambda line: line + line,
])  # fmt: skip
def test_a_journal_that_was_tampered_with_is_not_guessed_at(
    agent: AgentProcess, world: Path, change_line: Any
) -> None:
    agent.apply(*many_changes(world))
    after = seen(world)
    journal = world / "var_lib/deployer/pending/journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + change_line(lines[1]) + b"".join(lines[2:]))
    host_was_booted_again(world)
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply["state"] == "revert-failed"
    assert "of the journal was modified" in reply["failed"][0]["message"]
    assert seen(world) == after


def test_a_damaged_image_is_not_restored(agent: AgentProcess, world: Path) -> None:
    agent.apply(
        file_change(world / "etc/app/main.conf", b"new\n"),
        change(f"link:{world}/etc/app/link", {"type": "link", "target": "x"}),
    )
    pack = world / "var_lib/deployer/images/c1.pack"
    good = pack.read_bytes()
    pack.write_bytes(good[:5] + bytes([good[5] ^ 255]) + good[6:])
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply["state"] == "revert-failed"
    assert reply["failed"][0]["resource_id"] == str(world / "etc/app/main.conf")
    assert (world / "etc/app/main.conf").read_bytes() == b"new\n"
    assert not (world / "etc/app/link").is_symlink(), "all else is back"
    pack.write_bytes(good)
    assert agent.ask("revert", commit="c1", why="again")["state"] == "reverted"
    assert (world / "etc/app/main.conf").read_bytes() == b"old\n"


# --- the watchdog ---------------------------------------------------------------------------------
