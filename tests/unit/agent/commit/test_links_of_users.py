"""Root changes nothing through a link that an unprivileged user made, whenever it was made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.agent.commit.replace import (
    change_attributes,
    make_folder,
    make_parents,
    remove_entry,
    replace_file,
    replace_link,
)
from deployer.agent.files import remove_tree, write_all
from deployer.agent.reach import LinkError, Reached, has_links_of_others, refusal
from tests.support.agent.process import AgentProcess, AgentRefusal, file_change, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for other users")

USER, OTHER = 4242, 4343
ROOTS = {"m": 0o644, "u": 0, "g": 0}
USERS = {"m": 0o644, "u": USER, "g": USER}


class Host:
    """Folders of root and of a user."""

    def __init__(self, top: Path) -> None:
        top.chmod(0o755)
        self.etc = self._folder(top / "etc", 0)
        self.home = self._folder(top / "home", USER)
        self.secret = self.etc / "secret"
        self.secret.write_text("secret\n")

    @staticmethod
    def _folder(path: Path, owner: int) -> Path:
        path.mkdir()
        os.chown(path, owner, owner)
        return path

    def folder(self, name: str, owner: int = USER) -> Path:
        return self._folder(self.home / name, owner)

    def link(self, name: str, target: Path | str, owner: int = USER) -> Path:
        path = self.home / name
        path.symlink_to(target)
        os.chown(path, owner, owner, follow_symlinks=False)
        return path

    def state(self) -> dict[str, tuple[int, int, str]]:
        """Everything of root."""
        found = {}
        for path in sorted(self.etc.rglob("*")):
            info = path.lstat()
            found[str(path)] = (info.st_mode, info.st_uid, path.read_text())
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def write(path: Path, like: dict[str, int], text: str = "new\n") -> None:
    replace_file(str(path), lambda descriptor: write_all(descriptor, text.encode()), like)


@pytest.mark.parametrize(
    "act",
    [
        lambda path: write(path / "secret", ROOTS),
        lambda path: write(path / "secret", USERS),
        lambda path: write(path / "new", ROOTS),
        lambda path: write(path / "new", USERS),
        lambda path: write(path / "new", {**USERS, "u": OTHER}),
        lambda path: replace_link(str(path / "new"), "/x"),
        lambda path: make_folder(str(path / "new"), ROOTS),
        lambda path: make_folder(str(path / "new"), USERS),
        lambda path: make_parents(str(path / "new/deep/file"), 0),
        lambda path: make_parents(str(path / "new/deep/file"), USER),
        lambda path: change_attributes(str(path / "secret"), ROOTS),
        lambda path: change_attributes(str(path / "secret"), USERS),
        lambda path: remove_entry(str(path / "secret")),
        lambda path: remove_tree(str(path / "secret")),
    ],
)
def test_a_link_of_a_user_is_not_followed(host: Host, act: Callable[[Path], None]) -> None:
    before = host.state()
    with pytest.raises(LinkError, match="can redirect"):
        act(host.link("www", host.etc))
    assert host.state() == before


def test_links_of_root_are_followed(host: Host) -> None:
    real = host.folder("real")
    write(host.link("by-root", real, owner=0) / "file", ROOTS)
    assert (real / "file").read_text() == "new\n"


def test_a_users_own_link_serves_for_the_users_files(host: Host) -> None:
    release = host.folder("releases")
    current = host.link("current", "releases")
    write(current / "config", USERS)
    assert (release / "config").stat().st_uid == USER
    make_parents(str(current / "a/b/file"), USER)
    assert (release / "a/b").stat().st_uid == USER
    remove_tree(str(current / "a"))
    assert not (release / "a").exists()
    with pytest.raises(LinkError, match="belongs to root"):
        write(current / "config", ROOTS)


def test_a_users_link_may_lead_to_roots_folder_next_to_it(host: Host) -> None:
    release = host.folder("releases", owner=0)
    write(host.link("current", "releases") / "config", USERS)
    assert (release / "config").stat().st_uid == USER


def test_links_to_links_are_judged_one_by_one(host: Host) -> None:
    host.link("inner", host.etc)
    host.link("outer", "inner", owner=0)
    with pytest.raises(LinkError, match="home/inner"):
        write(host.home / "outer/new", ROOTS)
    host.link("loop", "loop")
    with pytest.raises(OSError, match="Too many levels"):
        write(host.home / "loop/new", ROOTS)


def test_a_folder_that_becomes_a_link_during_the_write(host: Host) -> None:
    www = host.folder("www")
    before = host.state()

    def swap(descriptor: int) -> None:
        www.rename(host.home / "moved")
        host.link("www", host.etc)
        write_all(descriptor, b"new\n")

    replace_file(str(www / "secret"), swap, ROOTS)
    assert host.state() == before
    assert (host.home / "moved/secret").read_text() == "new\n"


def test_a_file_that_becomes_a_link_keeps_its_owner(host: Host) -> None:
    host.link("file", host.secret)
    before = host.state()
    with pytest.raises(OSError, match="Too many levels"):
        change_attributes(str(host.home / "file"), USERS)
    assert host.state() == before


def test_a_tree_is_removed_without_what_its_links_lead_to(host: Host) -> None:
    tree = host.folder("tree")
    (tree / "link").symlink_to(host.etc)
    (tree / "deep").mkdir()
    (tree / "deep/file").write_text("x")
    before = host.state()
    remove_tree(str(tree))
    assert not tree.exists()
    assert host.state() == before


def test_a_plan_can_ask_before_anything_is_written(host: Host) -> None:
    link = host.link("www", host.etc)
    assert not has_links_of_others(str(host.etc / "new"))
    assert has_links_of_others(str(link / "missing/new"))
    assert "can redirect" in refusal(str(link / "missing/new"), 0)
    assert refusal(str(host.etc / "new"), 0) == ""
    with Reached(str(host.etc / "new")) as place:
        place.admit(0)


def test_an_apply_through_a_users_link_is_refused_and_reverted(
    agent: AgentProcess, world: Path
) -> None:
    link = world / "srv/data/www"
    link.symlink_to(world / "etc")
    os.chown(link, USER, USER, follow_symlinks=False)
    seen = agent.probe("file", str(link / "app/new.conf"))
    assert "a link that the user 4242 can redirect" in seen["unsafe"]
    assert "unsafe" not in agent.probe("file", str(world / "etc/app/new.conf"))
    before = snapshot(world, without=("deployer", "cache"))
    first = file_change(world / "etc/app/main.conf", b"new\n")
    with pytest.raises(AgentRefusal, match="can redirect") as refused:
        agent.apply(first, file_change(link / "app/new.conf", b"evil\n"))
    assert refused.value.error["revert"]["state"] == "reverted"
    assert snapshot(world, without=("deployer", "cache")) == before


def test_a_revert_does_not_follow_a_link_that_came_later(agent: AgentProcess, world: Path) -> None:
    data = world / "srv/data"
    os.chown(data, USER, USER)
    (world / "etc/kept").write_text("of root\n")
    agent.apply(file_change(data / "kept", b"new\n"))
    data.rename(world / "srv/moved")
    data.symlink_to(world / "etc")
    os.chown(data, USER, USER, follow_symlinks=False)
    agent.ask("revert", commit="c1", why="a test")
    assert (world / "etc/kept").read_text() == "of root\n"
