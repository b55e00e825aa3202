"""The host's inventory: what was created, since when, and which playbooks name it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent.process import (
    AgentProcess,
    change,
    commit_of,
    file_change,
    local_agent,
)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    running = local_agent(tmp_path)
    yield running
    running.end()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return tmp_path / "etc"


def record(project: str, *names: str, complete: bool = True, **more: Any) -> dict[str, Any]:
    named = [{"id": name, "task": f"task of {name.rpartition('/')[2]}"} for name in names]
    return {
        "project": project, "same": [], "complete": complete, "named": named, "gone": [],
        "sites": {}, "handlers": {}, **more,
    }  # fmt: skip


def confirmed(agent: AgentProcess, number: int, *changes: dict[str, Any], **more: Any) -> None:
    plan = agent.plan(*changes)
    agent.ask("apply", plan=plan, commit={**commit_of(f"c{number}"), **more})
    agent.ask("confirm", commit=f"c{number}", verified=[])


def inventory(agent: AgentProcess) -> dict[str, Any]:
    found: dict[str, Any] = agent.ask("facts", packages=[])["deployer"]["managed"]
    return found


def by_name(agent: AgentProcess) -> dict[str, tuple[int, list[str]]]:
    entries = inventory(agent)["entries"]
    return {each["id"].rpartition("/")[2]: (each["since"], each["by"]) for each in entries}


def test_what_existed_before_is_not_in_it(agent: AgentProcess, etc: Path) -> None:
    (etc / "old").write_text("old")
    confirmed(
        agent,
        1,
        file_change(etc / "old", b"new"),
        file_change(etc / "made", b"new"),
        managed=record("p", f"file:{etc}/old", f"file:{etc}/made"),
    )
    (entry,) = inventory(agent)["entries"]
    assert entry == {
        "id": f"file:{etc}/made", "since": 1, "by": ["p"], "task": "task of made"
    }  # fmt: skip


def test_a_reverted_commit_leaves_no_trace_in_it(agent: AgentProcess, etc: Path) -> None:
    confirmed(agent, 1, file_change(etc / "one", b"1"), managed=record("p", f"file:{etc}/one"))
    plan = agent.plan(file_change(etc / "two", b"2"))
    more = {"managed": record("p", f"file:{etc}/two")}
    agent.ask("apply", plan=plan, commit={**commit_of("c2"), **more})
    agent.ask("revert", commit="c2", why="a test")
    assert by_name(agent) == {"one": (1, ["p"])}


def test_what_a_playbook_names_no_longer_stays_its_own(agent: AgentProcess, etc: Path) -> None:
    confirmed(agent, 1, file_change(etc / "one", b"1"), managed=record("p", f"file:{etc}/one"))
    confirmed(agent, 2, file_change(etc / "two", b"2"), managed=record("p", f"file:{etc}/two"))
    assert by_name(agent) == {"one": (1, ["p"]), "two": (2, ["p"])}


def test_a_playbook_withdraws_only_from_what_others_name(agent: AgentProcess, etc: Path) -> None:
    both = (f"file:{etc}/one", f"file:{etc}/two")
    confirmed(
        agent,
        1,
        file_change(etc / "one", b"1"),
        file_change(etc / "two", b"2"),
        managed=record("p", *both),
    )
    agent.ask("claim", managed=record("q", both[0]))
    assert by_name(agent) == {"one": (1, ["p", "q"]), "two": (1, ["p"])}
    agent.ask("claim", managed=record("p", complete=False))
    assert by_name(agent) == {"one": (1, ["p", "q"]), "two": (1, ["p"])}
    agent.ask("claim", managed=record("p"))
    assert by_name(agent) == {"one": (1, ["q"]), "two": (1, ["p"])}


def test_a_folder_goes_with_all_that_is_in_it(agent: AgentProcess, etc: Path) -> None:
    folder = change(f"directory:{etc}/app", {"type": "directory"})
    names = (f"directory:{etc}/app", f"file:{etc}/app/one", f"file:{etc}/apple")
    files = (file_change(etc / "app/one", b"1"), file_change(etc / "apple", b"1"))
    confirmed(agent, 1, folder, *files, managed=record("p", *names))
    confirmed(agent, 2, change(f"file:{etc}/app", None), managed=record("p"))
    assert by_name(agent) == {"apple": (1, ["p"])}


def test_a_release_is_one_entry_whatever_is_in_it(agent: AgentProcess, etc: Path) -> None:
    folder = change(f"directory:{etc}/releases/1", {"type": "directory"})
    managed = record("p", f"directory:{etc}/releases/1")
    managed["named"][0]["deep"] = True
    confirmed(agent, 1, folder, file_change(etc / "releases/1/x", b"1"), managed=managed)
    (entry,) = [each for each in inventory(agent)["entries"] if "implicit" not in each]
    assert (entry["id"], entry["deep"]) == (f"directory:{etc}/releases/1", True)


def test_sites_and_handlers_stay_as_long_as_entries_need_them(
    agent: AgentProcess, etc: Path
) -> None:
    site = {"names": ["a.example"], "proxy": "nginx", "tls": True, "paths": ["/ws"]}
    handlers = {name: {"name": name, "action": "reload", "unit": name} for name in ("x", "y")}
    managed = record("p", f"file:{etc}/a", sites={"a.example": site}, handlers=handlers)
    managed["named"][0].update(site="a.example", notify=["x"])
    confirmed(agent, 1, file_change(etc / "a", b"1"), managed=managed)
    found = inventory(agent)
    assert found["sites"] == {"a.example": site}
    assert list(found["handlers"]) == ["x"]
    confirmed(agent, 2, file_change(etc / "b", b"1"), managed=record("p", f"file:{etc}/b"))
    assert inventory(agent)["sites"] == {"a.example": site}
    agent.ask("claim", managed=record("p", f"file:{etc}/b", gone=[f"file:{etc}/a"]))
    assert (inventory(agent)["sites"], inventory(agent)["handlers"]) == ({}, {})
    assert list(by_name(agent)) == ["b"]


def test_the_inventory_of_a_rollback_is_that_of_its_target(agent: AgentProcess, etc: Path) -> None:
    confirmed(agent, 1, file_change(etc / "one", b"1"), managed=record("p", f"file:{etc}/one"))
    confirmed(agent, 2, file_change(etc / "two", b"2"), managed=record("q", f"file:{etc}/two"))
    confirmed(agent, 3, change(f"file:{etc}/two", None), rolls_back_to=1)
    assert by_name(agent) == {"one": (1, ["p"])}
    confirmed(agent, 4, change(f"file:{etc}/one", None), rolls_back_to=0)
    assert by_name(agent) == {}
    confirmed(agent, 5, file_change(etc / "two", b"2"), rolls_back_to=2)
    assert by_name(agent) == {"one": (1, ["p"]), "two": (2, ["q"])}


def test_generations_of_earlier_versions_have_one_without_playbooks(
    agent: AgentProcess, etc: Path, tmp_path: Path
) -> None:
    path = etc / "sites/a.example.conf"
    reload = {
        "stage": 0,
        "because": [f"file:{path}"],
        "handler": {"name": "note", "action": "run", "argv": ["true"], "config_test": []},
    }
    site = {"domain": "a.example", "tls": {"issuer": "internal"}, "proxy": "nginx", "routes": []}
    plan = {**agent.plan(file_change(path, b"1")), "handlers": [reload]}
    agent.ask("apply", plan=plan, commit={**commit_of("c1"), "sites": [site]})
    agent.ask("confirm", commit="c1", verified=[])
    confirmed(agent, 2, file_change(etc / "two", b"2"))
    for generation in (tmp_path / "var_lib/deployer/generations").iterdir():
        (generation / "managed.json").unlink()
    assert inventory(agent) == {
        "entries": [
            {
                "id": f"file:{path}",
                "since": 1,
                "by": [],
                "site": "a.example",
                "notify": ["note"],
            },
            {"id": f"file:{etc}/two", "since": 2, "by": []},
        ],
        "sites": {
            "a.example": {"names": ["a.example"], "proxy": "nginx", "tls": True, "paths": []}
        },
        "handlers": {"note": reload["handler"]},
    }
    assert agent.ask("claim", managed=record("p", f"file:{etc}/two")) == {"is_noted": True}
    assert by_name(agent)["two"] == (2, ["p"])


def test_a_claim_on_a_host_without_generations_is_nothing(
    agent: AgentProcess, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "var_lib/deployer", ignore_errors=True)
    agent.ask("claim", managed=record("p", "file:/x"))
    assert inventory(agent) is None


def test_a_later_plan_decides_whether_a_rollback_still_counts(
    agent: AgentProcess, etc: Path, tmp_path: Path
) -> None:
    def rollback() -> Any:
        return agent.ask("facts", packages=[])["deployer"]["rollback"]

    confirmed(agent, 1, file_change(etc / "one", b"1"))
    confirmed(agent, 2, file_change(etc / "one", b"2"))
    assert rollback() is None
    confirmed(agent, 3, file_change(etc / "one", b"1"), rolls_back_to=1)
    found = rollback()
    assert {key: found[key] for key in ("to", "generation", "who", "from", "resource_ids")} == {
        "to": 1, "generation": 3, "who": "ada", "from": "desk",
        "resource_ids": [f"file:{etc}/one"],
    }  # fmt: skip
    confirmed(agent, 4, file_change(etc / "other", b"1"))
    assert rollback() == found
    confirmed(agent, 5, file_change(etc / "one", b"2"))
    assert rollback() is None
    history = agent.ask("history")["generations"]
    assert [entry["rolls_back_to"] for entry in history] == [None, None, 1, None, None]
    meta = tmp_path / "var_lib/deployer/generations/5/meta.json"
    assert "verification" not in json.loads(meta.read_text())


def test_a_generation_that_does_not_say_which_sites_it_had(
    agent: AgentProcess, etc: Path, tmp_path: Path
) -> None:
    confirmed(agent, 1, file_change(etc / "one", b"1"))
    confirmed(agent, 2, file_change(etc / "one", b"2"))
    assert agent.ask("undo", to=1)["unknown"] == []
    path = tmp_path / "var_lib/deployer/generations/1/meta.json"
    meta = json.loads(path.read_text())
    del meta["sites"]
    path.write_text(json.dumps(meta))
    (words,) = agent.ask("undo", to=1)["unknown"]
    assert words.startswith("generation 1 does not say which sites it had, so the rollback cannot")


def test_a_folder_that_is_removed_if_empty_is_never_removed_with_contents(
    agent: AgentProcess, etc: Path
) -> None:
    (etc / "app").mkdir()
    removal = {**change(f"directory:{etc}/app", None), "if_empty": True}
    plan = agent.plan(removal)
    (etc / "app/data").write_text("precious")
    with pytest.raises(Exception, match="not empty"):
        agent.ask("apply", plan=plan, commit=commit_of("c1"))
    assert (etc / "app/data").read_text() == "precious"
    (etc / "app/data").unlink()
    confirmed(agent, 2, removal)
    assert not (etc / "app").exists()


def test_the_names_in_a_folder_are_sent_on_request(agent: AgentProcess, etc: Path) -> None:
    (etc / "app/sub").mkdir(parents=True)
    (etc / "app/file").write_text("x")
    assert agent.probe("directory", f"{etc}/app", entries=True)["entries"] == ["file", "sub"]
    assert "entries" not in agent.probe("directory", f"{etc}/app")
    assert "entries" not in agent.probe("directory", f"{etc}/missing", entries=True)


def test_folders_that_were_missing_above_it_are_in_it(agent: AgentProcess, etc: Path) -> None:
    names = (f"file:{etc}/a/b/one", f"directory:{etc}/c", f"file:{etc}/c/two")
    folder = change(f"directory:{etc}/c", {"type": "directory"})
    files = (file_change(etc / "a/b/one", b"1"), file_change(etc / "c/two", b"2"))
    confirmed(agent, 1, folder, *files, managed=record("p", *names))
    implicit = {
        each["id"]: each["by"] for each in inventory(agent)["entries"] if "implicit" in each
    }
    assert implicit == {f"directory:{etc}/a": ["p"], f"directory:{etc}/a/b": ["p"]}
    agent.ask("claim", managed={**record("q", *names), "same": ["p"]})
    assert {tuple(each["by"]) for each in inventory(agent)["entries"]} == {("q",)}
    confirmed(agent, 2, change(f"file:{etc}/a", None), managed=record("q", *names[1:]))
    assert set(by_name(agent)) == {"c", "two"}


def test_what_is_drained_stays_so_until_a_playbook_decides(agent: AgentProcess, etc: Path) -> None:
    names = (f"file:{etc}/a", f"file:{etc}/b")

    def about(**drained: list[str]) -> dict[str, Any]:
        named = [
            {"id": name, "site": site}
            for name, site in zip(names, ("a.example", "b.example"), strict=True)
        ]
        sites = {each["site"]: {"names": [], "paths": []} for each in named}
        more = {"drained": {f"{key}.example": each for key, each in drained.items()}}
        return {**record("p"), "named": named, "sites": sites, **(more if drained else {})}

    files = [file_change(etc / "a", b"1"), file_change(etc / "b", b"1")]
    confirmed(agent, 1, *files, managed=about(a=["http://one:1"], b=["http://two:2"]))
    confirmed(agent, 2, file_change(etc / "a", b"2"), managed=about(), purpose="drain x")
    assert inventory(agent)["drained"] == {
        "a.example": ["http://one:1"],
        "b.example": ["http://two:2"],
    }
    assert agent.ask("history")["generations"][0]["purpose"] == "drain x"
    confirmed(agent, 3, file_change(etc / "a", b"3"), managed=about(a=[]))
    assert inventory(agent)["drained"] == {"b.example": ["http://two:2"]}
    confirmed(agent, 4, change(f"file:{etc}/b", None), managed=about())
    assert "drained" not in inventory(agent)
