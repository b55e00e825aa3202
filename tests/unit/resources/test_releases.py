"""Releases: their entries and id, which old ones are removed, and how a plan shows a new one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import SourceError
from deployer.model import Observation
from deployer.plan.diff import plan_lines
from deployer.plan.plan import make_plan
from deployer.playbook.load.library import Library
from deployer.playbook.render.release import Entry, entries_of, id_of
from deployer.playbook.yaml.source import SourceFile
from deployer.resources import Origin, from_task
from deployer.resources.releases import with_removals

SPOT = SourceFile("site.yml").spot((1, 1))
TOP = "/opt/app/releases"
FOLDER = {"type": "directory", "mode": "0755", "owner": "root", "group": "app"}


def entries(folder: Path, *exclude: str) -> tuple[Entry, ...]:
    return entries_of(folder, exclude=exclude, library=Library(folder.parent), spot=SPOT)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/run").write_text("#!/bin/sh\n")
    (folder / "bin/run").chmod(0o700)
    (folder / "data.txt").write_text("data\n")
    (folder / "data.txt").chmod(0o600)
    (folder / "latest").symlink_to("data.txt")
    return folder


def test_the_entries_of_a_release(app: Path) -> None:
    assert entries(app) == (
        Entry(path="bin", mode="0755"),
        Entry(path="bin/run", mode="0750", content=b"#!/bin/sh\n"),
        Entry(path="data.txt", mode="0640", content=b"data\n"),
        Entry(path="latest", mode="", target="data.txt"),
    )


def test_a_private_key_is_only_readable_by_the_service(app: Path) -> None:
    (app / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    assert {each.path: each.mode for each in entries(app)}["key.pem"] == "0640"


def test_private_files_stay_private(app: Path) -> None:
    (app / ".env").write_text("TOKEN=secret\n")
    (app / ".env").chmod(0o600)
    (app / "data.txt").chmod(0o644)
    modes = {each.path: each.mode for each in entries(app)}
    assert (modes[".env"], modes["data.txt"]) == ("0640", "0644")


def test_the_same_files_are_the_same_release_on_every_machine(app: Path) -> None:
    first = id_of(entries(app))
    assert len(first) == 12
    (app / "data.txt").chmod(0o664)
    os.utime(app / "data.txt", (0, 0))
    assert id_of(entries(app)) == first
    (app / "__pycache__").mkdir()
    (app / "__pycache__/a.pyc").write_bytes(b"\0")
    assert id_of(entries(app, "__pycache__")) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda app: (app / "data.txt").write_text("other\n"),
        lambda app: (app / "data.txt").rename(app / "data2.txt"),
        lambda app: (app / "data.txt").chmod(0o755),
        lambda app: (app / "empty").mkdir(),
        lambda app: (app / "more").symlink_to("bin/run"),
    ],
    ids=["content", "name", "executable", "folder", "link"],
)
def test_any_difference_gives_a_different_release(change: Any, app: Path) -> None:
    first = id_of(entries(app))
    change(app)
    assert id_of(entries(app)) != first


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "bin/../../secret"])
def test_a_link_that_points_outside_is_rejected(target: str, app: Path) -> None:
    (app / "astray").symlink_to(target)
    with pytest.raises(SourceError, match="points outside"):
        entries(app)


def test_links_within_the_release_remain_links(app: Path) -> None:
    (app / "bin/data").symlink_to("../data.txt")
    (app / "libs").symlink_to("bin")
    found = {each.path: each.target for each in entries(app)}
    assert (found["bin/data"], found["libs"]) == ("../data.txt", "bin")
    assert "libs/run" not in found


def test_an_empty_folder_is_rejected(app: Path) -> None:
    with pytest.raises(SourceError, match="is empty"):
        entries(app, "*")


# --- which go -------------------------------------------------------------------------------------


def removed(found: list[str], *, new: str, in_use: str | None, keep: int) -> list[str]:
    """The releases of `found` (newest first) that are removed."""
    link = from_task(
        "file",
        {"path": "/opt/app/current", "state": "link", "src": f"releases/{new}"},
        Origin(),
    )
    args = {"path": TOP, "keep": keep, "link": "/opt/app/current"}
    releases = from_task("releases", args, Origin(notify=("restart app",)))
    listed = [{"name": name, "attributes": FOLDER, "fingerprint": f"of {name}"} for name in found]
    target = None if in_use is None else {"type": "link", "target": f"releases/{in_use}"}
    observations = {
        f"releases:{TOP}": seen(f"releases:{TOP}", {"found": listed}),
        "link:/opt/app/current": seen("link:/opt/app/current", target),
    }
    resources, observed = with_removals([*link, *releases], observations)
    assert resources[0] == link[0]
    for resource in resources[1:]:
        assert (resource.kind, resource.attributes, resource.notify) == ("directory", None, ())
        name = resource.name.removeprefix(f"{TOP}/")
        assert observed[resource.id].fingerprint == f"of {name}"
    return [resource.name.removeprefix(f"{TOP}/") for resource in resources[1:]]


def seen(resource_id: str, attributes: Mapping[str, Any] | None) -> Observation:
    return Observation(resource_id=resource_id, attributes=attributes, fingerprint="f")


A, B, C, D, E = ("a" * 12, "b" * 12, "c" * 12, "d" * 12, "e" * 12)


@pytest.mark.parametrize(
    ("found", "new", "in_use", "keep", "gone"),
    [
        ([], A, None, 5, []),
        ([A], B, A, 2, []),
        ([B, A], C, B, 2, [A]),
        ([B, A], B, B, 2, []),
        ([D, C, B, A], E, D, 3, [B, A]),
        ([D, C, B, A], A, D, 2, [C, B]),  # back to an old one, as it is: it stays, and the former
        ([D, C, B, A], A, A, 2, [C, B]),  # and in the next run
        (["old.bak", B, A, "mine"], C, B, 2, [A]),  # what we did not make is not ours to remove
        ([B, A], C, None, 2, [A]),
    ],
)
def test_which_releases_are_removed(
    found: list[str], new: str, in_use: str | None, keep: int, gone: list[str]
) -> None:
    assert removed(found, new=new, in_use=in_use, keep=keep) == gone


# --- what a plan shows ----------------------------------------------------------------------------


def test_a_plan_shows_the_differences_from_the_active_release() -> None:
    resources, observations = [], {}
    for name, former in (("a", b"same\n"), ("b", b"was\n"), ("c", None), ("d", b"same\n")):
        content = b"is\n" if name == "b" else b"same\n"
        args = {
            "dest": f"{TOP}/{A}/{name}",
            "content": content,
            "former": f"/opt/app/current/{name}",
        }
        (resource,) = from_task("copy", args, Origin())
        assert resource.former == f"/opt/app/current/{name}"
        resources.append(resource)
        observations[resource.id] = dataclasses.replace(
            seen(resource.id, None),
            content=former if former != content else None,
            like_former=former == content,
        )
    plan = make_plan(
        host="web1", created_at="now", desired=resources, handlers={}, observations=observations
    )
    shown = [line.text for line in plan_lines(plan)]
    assert shown == [
        f"+ file {TOP}/{A}/a  (5 bytes)",
        f"+ file {TOP}/{A}/b  (3 bytes)",
        "@@ -1 +1 @@",
        "-was",
        "+is",
        f"+ file {TOP}/{A}/c  (5 bytes)",
        "@@ -0,0 +1 @@",
        "+same",
        f"+ file {TOP}/{A}/d  (5 bytes)",
    ]


def test_many_unchanged_files_are_one_line() -> None:
    resources, observations = [], {}
    for number in range(5):
        args = {"dest": f"{TOP}/{A}/{number}", "content": b"same\n", "former": f"/f/{number}"}
        (resource,) = from_task("copy", args, Origin())
        resources.append(resource)
        observations[resource.id] = dataclasses.replace(seen(resource.id, None), like_former=True)
    plan = make_plan(
        host="web1", created_at="now", desired=resources, handlers={}, observations=observations
    )
    assert [line.text for line in plan_lines(plan)] == [
        f"+ 5 files in {TOP}/{A}  (unchanged from the previous release)"
    ]
