"""Sealed plans: everything comes back, nothing can be altered, and only the owner can read them."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import UsageError
from deployer.model import Handler, Host
from deployer.plan.model import Change, HandlerRun, Plan
from deployer.plan.wire import plan_from_json, plan_to_json, sealed
from deployer.run.batches import Batch
from deployer.run.sealed.file import (
    check_writable,
    is_open_to_others,
    origin_words,
    read_sealed,
    write_sealed,
)
from deployer.run.sealed.model import SealedHost, SealedPlan, connection_host
from deployer.run.sealed.signature import MARK, is_sealed_file, sealed_text, unsealed
from deployer.sites.model import Check, RemovedSite, Route, Site, Tls, Upstream

PLAN = sealed(
    Plan(
        host="web1",
        created_at="2026-11-21T09:00:00+00:00",
        changes=(
            Change(
                resource_id="file:/etc/Ä",
                action="update",
                before={"type": "file", "sha256": "0" * 64, "size": 3, "mode": "0644"},
                after={"type": "file", "sha256": "1" * 64, "size": 4, "mode": "0600"},
                fingerprint="f" * 64,
                before_content=b"old",
                after_content=b"\x00new",
                secret=True,
                stage=2,
                reason="Grüße",
                if_empty=True,
            ),
            Change(
                resource_id="package:nginx",
                action="create",
                before=None,
                after={},
                fingerprint="e" * 64,
            ),
        ),
        handlers=(
            HandlerRun(
                handler=Handler(
                    name="reload nginx",
                    action="reload",
                    unit="nginx",
                    config_test=("nginx", "-t"),
                ),
                stage=1,
                because=("package:nginx",),
            ),
            HandlerRun(
                handler=Handler(name="tell", action="run", argv=("tell", "x"), no_log=True),
                stage=2,
                because=(),
                reason="an earlier run left it undone",
            ),
        ),
        unknowns=("something",),
    )
)
SITE = Site(
    domain="a.example",
    aliases=("b.example",),
    tls=Tls(issuer="internal", hsts_s=60),
    routes=(Route(path="/ws", websocket=True, upstreams=(Upstream(host="::1", port=1),)),),
    verify=(Check(path="/ws", send="ping", hold_s=1.5),),
)
WEB1 = Host(
    name="web1",
    hostname="192.0.2.1",
    port=2222,
    user="ada",
    vars={"ansible_password": "hunter2hunter2", "ansible_become": True},
)
WEB2 = Host(name="web2", hostname="web2.example")
WHOLE = SealedPlan(
    created_at="2026-11-21T09:00:00+00:00",
    who="ada",
    origin="desk",
    playbook="/srv/site.yml",
    inventories=("/srv/hosts.yml",),
    sealed_hosts=(
        SealedHost(
            host=WEB1,
            becomes_root=True,
            plan=PLAN,
            asked=(
                {"id": "file:/etc/a", "kind": "file", "name": "/etc/a", "query": {"sha256": "1"}},
                {"id": "package:nginx", "kind": "package", "name": "nginx", "query": {}},
            ),
            sites=(SITE,),
            roots={"a.example": b"-----BEGIN CERTIFICATE-----\n", "b.example": None},
            secrets=frozenset({"hunter2hunter2", "correct horse"}),
            displaces=frozenset({"old.example"}),
            leaving=frozenset({"gone.example"}),
            removed=(RemovedSite(domain="c.example", names=("c.example",), has_tls=True),),
            managed={"project": "desk:/srv/site.yml", "complete": True, "named": []},
        ),
        SealedHost(
            host=WEB2,
            becomes_root=False,
            plan=sealed(Plan(host="web2", created_at="2026-11-21T09:00:00+00:00", changes=())),
            roots={},
        ),
    ),
    planned_batches=(
        Batch(hosts=(WEB1,), max_fail_percentage=0.0),
        Batch(hosts=(WEB2,), max_fail_percentage=12.5),
    ),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sealed plan in a project's folder."""
    write_sealed(tmp_path / "p.plan", WHOLE, project=tmp_path)
    return tmp_path / "p.plan"


def refused(path: Path) -> str:
    """Why the plan at `path` is not taken, in words."""
    with pytest.raises(UsageError) as caught:
        read_sealed(path)
    assert caught.value.exit_code == 1
    assert "no host was touched" in str(caught.value)
    return str(caught.value)


def rewrite(path: Path, alter: Callable[[dict[str, Any]], object]) -> None:
    """Change the document as someone with an editor would, who keeps its form."""
    document = json.loads(path.read_bytes())
    alter(document)
    path.write_bytes(json.dumps(document, indent=1).encode() + b"\n")


# --- round trip -----------------------------------------------------------------------------------


def test_everything_comes_back(path: Path) -> None:
    assert read_sealed(path) == WHOLE
    assert is_sealed_file(path)


def test_the_round_trip_covers_every_field() -> None:
    """A field that is not set to something else than its default here could be lost unseen."""
    host = WHOLE.sealed_hosts[0]
    change, run = host.plan.changes[0], host.plan.handlers[1]
    for value, at_default in (
        (WHOLE, set()),
        (host, set()),
        (host.host, {"groups"}),
        (
            host.plan,
            {"format_version", "forecasts", "displaced", "side_effects", "notes", "left_over"},
        ),
        (change, set()),
        (run, {"because"}),
        (host.plan.handlers[0].handler, {"argv", "no_log", "source"}),
        (run.handler, {"config_test", "unit", "source"}),
    ):
        same = {
            each.name
            for each in dataclasses.fields(value)  # type: ignore[arg-type]
            if getattr(value, each.name) == each.default
            or (
                each.default_factory is not dataclasses.MISSING
                and getattr(value, each.name) == each.default_factory()
            )
            or getattr(value, each.name) == ()
        }
        assert same == at_default, value


def test_a_plan_on_the_wire_comes_back_but_for_what_the_agent_does_not_need() -> None:
    back = plan_from_json(json.loads(json.dumps(plan_to_json(PLAN))))
    assert back.digest == PLAN.digest
    assert sealed(dataclasses.replace(back, digest="")).digest == PLAN.digest
    assert back.changes[0].before_content is None
    assert dataclasses.replace(back.changes[0], before_content=b"old") == PLAN.changes[0]


def test_of_the_inventory_only_what_connects_is_kept() -> None:
    given = {
        "ansible_password": "x",
        "ansible_ssh_private_key_file": "keys/one",
        "deployer_known_hosts_file": "~/known",
        "database_password": "not needed",
    }
    host = dataclasses.replace(WEB1, vars=given, groups=("web",))
    kept = connection_host(host, folder=Path("/srv/p"))
    assert kept.vars == {
        "ansible_password": "x",
        "ansible_ssh_private_key_file": "/srv/p/keys/one",
        "deployer_known_hosts_file": "~/known",
    }
    assert (kept.name, kept.hostname, kept.port, kept.user) == ("web1", "192.0.2.1", 2222, "ada")


# --- alteration -----------------------------------------------------------------------------------


def test_no_byte_can_be_altered(path: Path) -> None:
    """Every byte in turn, and some that are missing or too many."""
    text, key = path.read_bytes(), (path.parent / ".deployer" / "seal" / "key").read_bytes()
    others = [
        text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :] for place in range(len(text))
    ]
    others += [text[:-cut] for cut in (1, 2, 10, len(text) // 2, len(text))]
    others += [text + more for more in (b"\n", b" ", b"{}")] + [b"\n" + text]
    for other in others:
        with pytest.raises(UsageError, match="no host was touched"):
            unsealed(other, name="p.plan", key=lambda claimed: key)
    assert unsealed(text, name="p.plan", key=lambda claimed: key)


def places(document: Any) -> list[tuple[Any, ...]]:
    """The way to every value of a document, at any depth."""
    items: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    return [
        way
        for key, value in items
        for way in ((key,), *((key, *deeper) for deeper in places(value)))
    ]


def test_no_entry_can_be_altered_removed_or_added(path: Path) -> None:
    text = path.read_bytes()
    ways = places(json.loads(text))
    assert len(ways) > 100

    def at(document: Any, way: tuple[Any, ...]) -> Any:
        for key in way[:-1]:
            document = document[key]
        return document

    def replaced(document: Any, way: tuple[Any, ...]) -> None:
        at(document, way)[way[-1]] = ["something", "else"]

    def removed(document: Any, way: tuple[Any, ...]) -> None:
        del at(document, way)[way[-1]]

    for way in ways:
        for alter in (replaced, removed):
            path.write_bytes(text)
            rewrite(path, lambda document, way=way, alter=alter: alter(document, way))  # type: ignore[misc]
            refused(path)
    path.write_bytes(text)
    rewrite(path, lambda document: document.update(more=1))
    refused(path)
    path.write_bytes(text.replace(b'"who"', b'"who": "eve",\n "who"', 1))
    assert "altered" in refused(path)


def test_the_same_document_in_another_form_is_refused(path: Path) -> None:
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document))
    assert "was altered after it was sealed" in refused(path)
    path.write_bytes(json.dumps(document, indent=1).encode("utf-16"))
    refused(path)


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity", "9" * 5000])
def test_numbers_in_an_unusual_form_are_refused(path: Path, number: str) -> None:
    text = path.read_text()
    path.write_text(text.replace('"port": 2222', f'"port": {number}'))
    assert "was altered after it was sealed" in refused(path)


def test_an_unusual_depth_is_refused(path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    path.write_text(path.read_text().replace('"port": 2222', f'"port": {deep}'))
    assert "was altered after it was sealed" in refused(path)


def test_a_truncated_file_is_reported_as_such(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])
    words = refused(path)
    assert "is incomplete" in words
    assert "Copy the file again" in words


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (2, "was made by a newer deployer (9.9)"),
        (0, "has format 0; this deployer reads format 1"),
        (None, "has format None"),
        ("2", "has format '2'"),
    ],
)
def test_a_different_format_is_reported_before_the_seal_is_checked(
    path: Path, version: object, words: str
) -> None:
    rewrite(path, lambda document: document.update(format_version=version, deployer="9.9"))
    assert words in refused(path)


def test_an_unknown_sealed_document_is_reported_with_its_version(path: Path) -> None:
    key = (path.parent / ".deployer" / "seal" / "key").read_bytes()
    path.write_bytes(sealed_text({"project": ".", "deployer": "0.9", "hosts": 5}, key=key))
    assert "was made by deployer 0.9" in refused(path)


# --- the key --------------------------------------------------------------------------------------


def test_another_key_is_another_controllers(path: Path) -> None:
    (path.parent / ".deployer" / "seal" / "key").write_bytes(b"k" * 32)
    assert "a different key: by a different controller" in refused(path)


def test_without_the_key_nothing_is_taken(path: Path) -> None:
    (path.parent / ".deployer" / "seal" / "key").unlink()
    words = refused(path)
    assert "sealed by a different controller, or its key is gone" in words
    assert not (path.parent / ".deployer" / "seal" / "key").exists()


@pytest.mark.parametrize("project", ["/nowhere", "\0", "x" * 5000, "../../..", 5, None])
def test_a_project_that_an_altered_file_names_is_no_way_in(path: Path, project: object) -> None:
    rewrite(path, lambda document: document.update(project=project))
    refused(path)


def test_a_key_that_others_can_read_seals_nothing(path: Path) -> None:
    key = path.parent / ".deployer" / "seal" / "key"
    key.chmod(0o640)
    assert "others on this machine may read or write" in refused(path)
    key.chmod(0o600)
    key.parent.chmod(0o770)
    assert "others on this machine may read or write" in refused(path)
    with pytest.raises(UsageError, match="has mode 0770"):
        write_sealed(path, WHOLE, project=path.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_someone_else_seals_nothing(path: Path) -> None:
    os.chown(path.parent / ".deployer" / "seal" / "key", 12345, 12345)
    assert "others on this machine may read or write" in refused(path)


def test_a_broken_key_is_reported_as_such(path: Path) -> None:
    key = path.parent / ".deployer" / "seal" / "key"
    key.write_bytes(b"")
    assert "is not a key that seals plans: it has 0 bytes" in refused(path)


def test_the_key_is_made_once_closed_and_out_of_repositories(path: Path) -> None:
    folder = path.parent / ".deployer" / "seal"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert (folder / ".gitignore").read_text() == "*\n"
    key = (folder / "key").read_bytes()
    assert len(key) == 32
    write_sealed(path.parent / "q.plan", WHOLE, project=path.parent)
    assert (folder / "key").read_bytes() == key
    assert read_sealed(path.parent / "q.plan") == WHOLE


def test_project_and_plan_can_be_moved_together(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "plans").mkdir(parents=True)
    write_sealed(folder / "plans" / "x", WHOLE, project=folder)
    folder.rename(tmp_path / "b")
    assert read_sealed(tmp_path / "b" / "plans" / "x") == WHOLE


def test_a_plan_elsewhere_finds_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    write_sealed(tmp_path / "out" / "x", WHOLE, project=Path())
    monkeypatch.chdir("/")
    assert read_sealed(tmp_path / "out" / "x") == WHOLE


# --- the file -------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert is_open_to_others(path)
    write_sealed(path, WHOLE, project=path.parent)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not is_open_to_others(path)
    assert sorted(each.name for each in path.parent.iterdir()) == [".deployer", "p.plan"]


def test_an_empty_file_is_replaced_too(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    write_sealed(path, WHOLE, project=tmp_path)
    assert read_sealed(path) == WHOLE


def test_what_is_no_sealed_plan_is_left_alone(tmp_path: Path) -> None:
    playbook = tmp_path / "site.yml"
    playbook.write_text("- hosts: all\n")
    (tmp_path / "link").symlink_to(playbook)
    for path, words in (
        (playbook, "exists and is not a sealed plan"),
        (tmp_path / "link", "not a regular file"),
        (tmp_path, "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path / "none" / "x", "does not exist"),
        (playbook / "x", "does not exist"),
        (tmp_path / ("x" * 300), "cannot write the sealed plan"),
    ):
        with pytest.raises(UsageError, match=words):
            check_writable(path)
        with pytest.raises(UsageError, match=words):
            write_sealed(path, WHOLE, project=tmp_path)
    assert playbook.read_text() == "- hosts: all\n"


def test_a_disk_that_fails_leaves_the_plan_of_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    other = dataclasses.replace(WHOLE, who="eve")
    with pytest.raises(UsageError, match="No space left on device"):
        write_sealed(path, other, project=path.parent)
    monkeypatch.undo()
    assert read_sealed(path) == WHOLE
    assert sorted(each.name for each in path.parent.iterdir()) == [".deployer", "p.plan"]


def test_a_sealed_plan_is_recognised_by_content_and_not_by_name(path: Path, tmp_path: Path) -> None:
    named = tmp_path / "site.yml"
    path.rename(named)
    assert is_sealed_file(named)
    for text in ("", "- hosts: all\n", "{", json.dumps({"x": MARK}), f"{MARK}: 1\n"):
        named.write_text(text)
        assert not is_sealed_file(named)
    assert not is_sealed_file(tmp_path)
    assert not is_sealed_file(tmp_path / "none")


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=5), "planned 5 s ago by ada on desk from /srv/site.yml"),
        (timedelta(minutes=119), "planned 119 min ago by"),
        (timedelta(hours=3), "planned 3 h ago by"),
        (timedelta(days=12), "planned 12 days ago by"),
        (timedelta(seconds=-60), "planned at 2026-11-21T09:00:00+00:00 by"),
    ],
)
def test_a_plan_says_how_old_it_is(age: timedelta, words: str) -> None:
    now = datetime(2026, 11, 21, 9, tzinfo=UTC) + age
    assert origin_words(WHOLE, now=now).startswith(words)
