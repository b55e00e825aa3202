"""What the playbook no longer names: found, listed, and removed only on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from deployer.model import Attributes, Handler, Observation, Resource
from deployer.plan.desired import DesiredState
from deployer.plan.leftovers import Leftovers
from deployer.plan.plan import make_plan
from deployer.plan.projects import ProjectId
from deployer.plan.prune import Prune
from deployer.plan.removal import without_leftovers
from deployer.resources import Origin, from_task
from deployer.sites.model import RemovedSite, Route, Site, Tls, Upstream

if TYPE_CHECKING:
    from deployer.agent.replies import Managed

ME = ProjectId(path="/work/shop/site.yml", origin="desk")
MINE, OTHER = ME.key, "desk:/work/blog/site.yml"
RELOAD = Handler(name="reload nginx", action="reload", unit="nginx", config_test=("nginx", "-t"))
RESTART = Handler(name="restart app", action="restart", unit="app")
CONF, LINK = "/etc/nginx/sites-available/b.example.conf", "/etc/nginx/sites-enabled/b.example.conf"
OF_SITE = {"site": "b.example", "notify": ["reload nginx"]}
FOLDER = {"type": "directory", "mode": "0755"}
FILE = {"type": "file", "sha256": "0" * 64, "size": 3}
ON, OFF = {"enabled": True, "active": True}, {"enabled": False, "active": False}


def entry(name: str, since: int = 1, by: Sequence[str] = (MINE,), **more: Any) -> dict[str, Any]:
    return {"id": name, "since": since, "by": list(by), **more}


def managed(*entries: dict[str, Any]) -> Managed:
    sites = {"b.example": {"names": ["b.example", "www.b.example"], "proxy": "nginx", "tls": True,
                           "paths": ["/ws"]}}  # fmt: skip
    handlers = {
        each.name: {"name": each.name, "action": each.action, "unit": each.unit}
        for each in (RELOAD, RESTART)
    }
    return cast("Managed", {"entries": list(entries), "sites": sites, "handlers": handlers})


def site(domain: str) -> Site:
    upstream = Upstream(host="127.0.0.1", port=1)
    route = Route(path="/ws", websocket=True, upstreams=(upstream,))
    return Site(domain=domain, tls=Tls(issuer="internal"), routes=(route,))


def copied(path: str, **origin: Any) -> Resource:
    (made,) = from_task("copy", {"dest": path, "content": b"new"}, Origin(**origin))
    return made


def wanting(*resources: Resource, **more: Any) -> DesiredState:
    return DesiredState(**{"resources": resources, "handlers": {}, "sites": (), **more})


def leftovers(
    inventory: Managed | None, desired: DesiredState, *, gone: Sequence[str] = (), **prune: bool
) -> Leftovers:
    return Leftovers(inventory, desired, ME, Prune(**prune), is_gone=lambda path: path in gone)


def seen(left: Leftovers, **attributes: Attributes | None) -> dict[str, Observation]:
    """Everything asked for is there, unless given otherwise, by the last word of its name."""
    found: dict[str, Observation] = {}
    for request in left.probe_requests():
        name = str(request["name"]).rpartition("/")[2].replace(".", "_")
        default = {"directory": FOLDER, "service": ON, "link": {"type": "link", "target": CONF}}
        now = attributes.get(name, default.get(str(request["kind"]), FILE))
        identity = str(request["id"])
        found[identity] = Observation(resource_id=identity, attributes=now, fingerprint="f")
    return found


def ids(left: Leftovers) -> list[str]:
    return [each["id"] for each in left.left]


def notes(left: Leftovers, **attributes: Attributes | None) -> list[str]:
    return list(left.notes(seen(left, **attributes).values()))


# --- what is left over ----------------------------------------------------------------------------


def test_only_what_this_playbook_created_and_names_no_longer_is_left_over() -> None:
    inventory = managed(
        entry("file:/named"),
        entry("file:/left"),
        entry("file:/of-another", by=[OTHER]),
        entry("file:/of-both", by=[MINE, OTHER]),
        entry("file:/of-an-earlier-version", by=[]),
    )
    assert ids(leftovers(inventory, wanting(copied("/named")))) == ["file:/left"]


def test_a_site_is_listed_as_one_thing_with_its_first_generation() -> None:
    inventory = managed(
        entry(f"file:{CONF}", 5, **OF_SITE),
        entry(f"link:{LINK}", 6, **OF_SITE),
        entry("user:app", 2),
    )
    assert notes(leftovers(inventory, wanting(sites=(site("a.example"),)))) == [
        "no longer in the playbook: site b.example, since generation 5",
        "no longer in the playbook: user app, since generation 2",
        "what is no longer in the playbook stays; --prune removes it",
    ]


def test_a_folder_is_listed_with_its_contents() -> None:
    inventory = managed(entry("directory:/srv/app", 3), entry("file:/srv/app/x", 4))
    assert notes(leftovers(inventory, wanting()))[0].endswith(
        "directory /srv/app, since generation 3"
    )
    assert len(notes(leftovers(inventory, wanting()))) == 2


def test_what_is_missing_on_the_host_is_not_listed_and_leaves_the_inventory() -> None:
    left = leftovers(managed(entry("file:/x"), entry("service:app")), wanting())
    observations = seen(left, x=None, app=OFF)
    assert list(left.notes(observations.values())) == []
    record = left.record(observations.values())
    assert record["gone"] == ["file:/x", "service:app"]
    assert left.needs_claim(record)


def test_a_skipped_task_and_a_run_with_tags_leave_nothing_over() -> None:
    inventory = managed(entry("file:/x", task="app/Settings"), entry("file:/y", task="/other"))
    assert ids(leftovers(inventory, wanting(skipped=frozenset({"app/Settings"})))) == ["file:/y"]
    assert ids(leftovers(inventory, wanting(is_part=True), everything=True)) == []


def test_releases_and_folders_of_named_files_are_not_left_over() -> None:
    (keep,) = from_task(
        "releases", {"path": "/srv/app/releases", "keep": 2, "link": "/srv/app/current"}, Origin()
    )
    inventory = managed(
        entry("directory:/srv/app/releases/abc", deep=True),
        entry("directory:/srv/app"),
        entry("directory:/srv/application"),
    )
    left = leftovers(inventory, wanting(keep, copied("/srv/app/conf")))
    assert ids(left) == ["directory:/srv/application"]


@pytest.mark.parametrize(
    ("key", "gone", "expected"),
    [
        ("ci-7:/work/shop/site.yml", (), True),  # the same path on a different machine
        ("desk:/work/shop/old.yml", ("/work/shop/old.yml",), True),  # renamed
        ("desk:/work/shop/old.yml", (), False),  # a second playbook of the folder
        ("desk:/work/blog/site.yml", ("/work/blog/site.yml",), False),
        ("name:shop", (), False),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_a_playbook_is_recognised_elsewhere_only_by_a_site_in_common(
    key: str, gone: tuple[str, ...], expected: bool, shared: bool
) -> None:
    inventory = managed(
        entry("file:/a", by=[key], site="a.example"), entry(f"file:{CONF}", by=[key], **OF_SITE)
    )
    desired = wanting(copied("/a"), sites=(site("a.example" if shared else "c.example"),))
    left = leftovers(inventory, desired, gone=gone)
    assert (f"file:{CONF}" in ids(left)) is (expected and shared)


def test_a_named_project_is_recognised_wherever_its_playbook_is() -> None:
    here = ProjectId(path="/builds/41/site.yml", origin="ci-7", name="shop")
    inventory = managed(entry("file:/x", by=["name:shop"]), entry("file:/y", by=["name:blog"]))
    left = Leftovers(inventory, wanting(), here, Prune(), is_gone=lambda path: True)
    assert ids(left) == ["file:/x"]
    unnamed = managed(entry("file:/x", by=["ci-7:/builds/41/site.yml"]))
    left = Leftovers(unnamed, wanting(), here, Prune(), is_gone=lambda path: False)
    assert ids(left) == ["file:/x"]
    assert left.record()["same"] == ["ci-7:/builds/41/site.yml"]


# --- the record -----------------------------------------------------------------------------------


def test_the_record_names_everything_that_is_desired() -> None:
    desired = wanting(
        copied("/x", notify=("reload nginx",), site="a.example", task="nginx/Site"),
        copied("/key", secret=True),
        *from_task("command", {"argv": ["true"], "creates": "/y"}, Origin()),
        sites=(site("a.example"),),
        handlers={"reload nginx": RELOAD},
    )
    record = leftovers(None, desired).record()
    assert record["named"] == [
        {"id": "file:/x", "site": "a.example", "task": "nginx/Site", "notify": ["reload nginx"]},
        {"id": "file:/key", "secret": True},
    ]
    assert record["sites"] == {
        "a.example": {"names": ["a.example"], "proxy": "nginx", "tls": True, "paths": ["/ws"]}
    }
    assert (record["project"], record["complete"]) == (MINE, True)


def test_a_release_is_recorded_as_one_folder() -> None:
    folder = {"state": "directory"}
    resources = [
        *from_task("file", {"path": "/srv/app/releases/abc", **folder}, Origin()),
        *from_task("file", {"path": "/srv/app/releases/abc/sub", **folder}, Origin()),
        copied("/srv/app/releases/abc/sub/x"),
        *from_task("releases", {"path": "/srv/app/releases", "keep": 2, "link": "/l"}, Origin()),
    ]
    record = leftovers(None, wanting(*resources)).record()
    assert record["named"] == [{"id": "directory:/srv/app/releases/abc", "deep": True}]


@pytest.mark.parametrize(
    ("by", "is_named", "needed"),
    [
        ([MINE], True, False),
        ([OTHER], True, True),  # named here too, and not recorded yet
        ([OTHER, MINE], True, False),
        ([], True, True),
        ([MINE], False, False),  # left over: it stays this playbook's
        ([MINE, OTHER], False, True),  # only the other one still names it
        ([OTHER], False, False),
    ],
)
def test_a_claim_is_needed_only_if_it_changes_the_inventory(
    by: list[str], is_named: bool, needed: bool
) -> None:
    left = leftovers(managed(entry("file:/x", by=by)), wanting(*[copied("/x")] * is_named))
    assert left.needs_claim(left.record()) is needed


# --- removal --------------------------------------------------------------------------------------

APP = (
    entry("user:app"),
    entry("directory:/srv/app"),
    entry("directory:/srv/app/conf"),
    entry("file:/srv/app/conf/x", notify=["restart app"]),
    entry("file:/etc/systemd/system/app.service", notify=["restart app"]),
    entry("service:app"),
    entry("package:curl"),
    entry("directory:/etc/ssl/deployer/b.example", site="b.example"),
    entry("file:/etc/ssl/deployer/b.example/privkey.pem", secret=True, **OF_SITE),
    entry(f"file:{CONF}", **OF_SITE),
    entry(f"link:{LINK}", **OF_SITE),
)


def test_everything_goes_in_reverse_order_and_only_what_runs_on_is_reloaded() -> None:
    inventory = managed(*APP)
    left = leftovers(inventory, wanting(), everything=True)
    observations = seen(left)
    observations["directory:/srv/app"] = Observation(
        resource_id="directory:/srv/app", attributes=FOLDER, fingerprint="f", entries=("conf",)
    )
    observations["directory:/srv/app/conf"] = Observation(
        resource_id="directory:/srv/app/conf", attributes=FOLDER, fingerprint="f", entries=("x",)
    )
    removal = without_leftovers(wanting(), left, observations)
    plan = make_plan(
        host="web1",
        created_at="",
        desired=removal.desired.resources,
        handlers=removal.desired.handlers,
        observations=observations,
    )
    assert [change.resource_id for change in plan.changes] == [
        "service:app",
        f"link:{LINK}",
        f"file:{CONF}",
        "file:/etc/systemd/system/app.service",
        "file:/srv/app/conf/x",
        "directory:/srv/app/conf",
        "directory:/srv/app",
        "user:app",
    ]
    assert plan.changes[0].after == OFF
    assert [change.if_empty for change in plan.changes] == [False] * 5 + [True] * 2 + [False]
    assert [run.handler.name for run in plan.handlers] == ["reload nginx"]
    assert removal.desired.removed == (
        RemovedSite(
            domain="b.example",
            names=("b.example", "www.b.example"),
            has_tls=True,
            paths=("/ws",),
        ),
    )
    assert removal.desired.leaving == {"b.example", "www.b.example"}


@pytest.mark.parametrize(
    ("prune", "removed"),
    [
        ({}, {"package:curl": False, "directory:/etc/ssl/deployer/b.example": False}),
        ({"packages": True}, {"package:curl": True}),
        ({"certificates": True}, {"file:/etc/ssl/deployer/b.example/privkey.pem": True}),
    ],
)
def test_packages_and_certificates_are_separate_choices(
    prune: dict[str, bool], removed: dict[str, bool]
) -> None:
    left = leftovers(managed(*APP), wanting(), everything=True, **prune)
    going = {each["id"] for each in left.removed}
    assert {name: name in going for name in removed} == removed
    hints = "".join(notes(left))
    assert ("--prune-packages" in hints) is not prune.get("packages", False)
    assert ("--prune-certificates" in hints) is not prune.get("certificates", False)


def test_the_service_of_a_proxy_is_not_stopped_with_the_last_site() -> None:
    inventory = managed(entry("service:nginx"), entry("service:app"))
    left = leftovers(inventory, wanting(), everything=True)
    assert [each["id"] for each in left.removed] == ["service:app"]


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        ({"attributes": FOLDER, "entries": ("data", "more")}, "it contains data, more"),
        ({"attributes": FILE}, "it is a file now"),
        ({"attributes": None, "problem": "/srv cannot be read"}, "/srv cannot be read"),
    ],
)
def test_a_folder_with_foreign_contents_stays_and_is_explained(
    observation: dict[str, Any], why: str
) -> None:
    left = leftovers(managed(entry("directory:/srv/app")), wanting(), everything=True)
    found = Observation(resource_id="directory:/srv/app", fingerprint="f", **observation)
    removal = without_leftovers(wanting(), left, {found.resource_id: found})
    assert removal.desired.resources == ()
    assert removal.notes == (f"directory /srv/app stays: {why}",)


def test_a_name_that_another_site_still_has_does_not_stop_answering() -> None:
    inventory = managed(entry(f"file:{CONF}", **OF_SITE))
    desired = wanting(sites=(site("www.b.example"),))
    left = leftovers(inventory, desired, everything=True)
    (gone,) = without_leftovers(desired, left, seen(left)).desired.removed
    assert gone.names == ("b.example",)


@pytest.mark.parametrize(("state", "handlers"), [(ON, ["reload nginx"]), (OFF, []), (None, [])])
def test_a_proxy_that_does_not_run_is_not_started_by_a_reload(
    state: Attributes | None, handlers: list[str]
) -> None:
    left = leftovers(managed(entry(f"file:{CONF}", **OF_SITE)), wanting(), everything=True)
    desired = without_leftovers(wanting(), left, seen(left, nginx=state)).desired
    assert list(desired.handlers) == handlers
    assert [resource.notify for resource in desired.resources] == [tuple(handlers)]


def test_programs_get_each_resource_and_whether_it_stays() -> None:
    left = leftovers(managed(*APP[-2:], entry("package:curl", 2)), wanting(), everything=True)
    assert [(each["resource_id"], each["stays"]) for each in left.documents(seen(left))] == [
        (f"file:{CONF}", False),
        (f"link:{LINK}", False),
        ("package:curl", True),
    ]
    assert left.documents(seen(left))[0]["site"] == "b.example"


# --- state: absent --------------------------------------------------------------------------------


def test_an_absent_site_goes_without_prune_and_nothing_else() -> None:
    inventory = managed(entry(f"file:{CONF}", **OF_SITE), entry("file:/other"))
    left = leftovers(inventory, wanting(absent_sites=frozenset({"b.example"})))
    assert [each["id"] for each in left.removed] == [f"file:{CONF}"]
    assert ids(left) == [f"file:{CONF}", "file:/other"]


def test_an_absent_task_removes_what_was_created_and_explains_what_was_not() -> None:
    unwanted = (copied("/created"), copied("/found"), copied("/missing"), copied("/still-named"))
    inventory = managed(entry("file:/created", by=[]), entry("file:/still-named"))
    desired = wanting(copied("/still-named"), unwanted=unwanted)
    left = leftovers(inventory, desired)
    assert [each["id"] for each in left.removed] == ["file:/created"]
    assert notes(left, missing=None) == [
        "/found stays: state: absent removes only what deployer created, and no generation here did"
    ]


def test_an_absent_role_does_not_remove_what_another_playbook_names() -> None:
    inventory = managed(entry("file:/shared", by=[MINE, OTHER]))
    left = leftovers(inventory, wanting(unwanted=(copied("/shared"),)))
    assert left.removed == []
    assert notes(left) == ["/shared stays: /work/blog/site.yml on desk names it too"]


def test_absent_tasks_apply_in_runs_with_tags_too() -> None:
    left = leftovers(managed(entry("file:/x")), wanting(unwanted=(copied("/x"),), is_part=True))
    assert [each["id"] for each in left.removed] == ["file:/x"]


def test_releases_go_with_the_role_that_created_them() -> None:
    keep = from_task(
        "releases", {"path": "/srv/app/releases", "keep": 2, "link": "/srv/app/current"}, Origin()
    )
    inventory = managed(entry("directory:/srv/app/releases/abc", deep=True))
    left = leftovers(inventory, wanting(unwanted=keep))
    removal = without_leftovers(wanting(), left, seen(left))
    (resource,) = removal.desired.resources
    assert (resource.name, resource.if_empty) == ("/srv/app/releases/abc", False)


def test_folders_that_were_made_above_something_go_with_the_last_of_it() -> None:
    made = {"implicit": True}
    inventory = managed(
        entry("directory:/etc/a", **made),
        entry("directory:/etc/a/b", **made),
        entry("file:/etc/a/b/one"),
        entry("directory:/etc/c", **made),
        entry("file:/etc/c/two", by=[OTHER]),
        entry("file:/etc/c/three"),
        entry("directory:/etc/d", **made),
        entry("file:/etc/d/four"),
    )
    desired = wanting(copied("/etc/d/named"))
    listed = notes(leftovers(inventory, desired))
    assert [each.partition(": ")[2] for each in listed[:-1]] == [
        "file /etc/a/b/one, since generation 1",
        "file /etc/c/three, since generation 1",
        "file /etc/d/four, since generation 1",
    ]
    left = leftovers(inventory, desired, everything=True)
    folders = [each["id"] for each in left.removed if each.get("implicit")]
    assert folders == ["directory:/etc/a", "directory:/etc/a/b"]


def test_a_folder_that_a_package_installs_stays_without_a_note() -> None:
    inventory = managed(entry("directory:/etc/a", implicit=True), entry("file:/etc/a/one"))
    left = leftovers(inventory, wanting(), everything=True)
    found = seen(left)
    (query,) = [each["query"] for each in left.probe_requests() if each["kind"] == "directory"]
    assert query == {"entries": True, "unowned": True}
    kept = replace(found["directory:/etc/a"], problem="nginx installs it")
    removal = without_leftovers(wanting(), left, {**found, "directory:/etc/a": kept})
    assert [each.id for each in removal.desired.resources] == ["file:/etc/a/one"]
    assert removal.notes == ()


def test_files_of_a_former_proxy_are_no_removal_of_the_site() -> None:
    stale = entry("file:/etc/haproxy/deployer/sites/b.example.json", **OF_SITE)
    inventory = managed(stale, entry(f"file:{CONF}", by=[OTHER], **OF_SITE))
    left = leftovers(inventory, wanting(), everything=True)
    removal = without_leftovers(wanting(), left, seen(left))
    assert [each.id for each in removal.desired.resources] == [stale["id"]]
    assert removal.desired.removed == ()
