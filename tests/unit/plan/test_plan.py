"""The computation of a plan: changes, their order, handlers, and conflicts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from deployer.errors import ConflictError
from deployer.model import Attributes, Handler, Observation, Resource
from deployer.plan.model import Plan
from deployer.plan.plan import make_plan
from deployer.resources import Origin, from_task

RELOAD = Handler(name="reload nginx", action="reload", unit="nginx")
RESTART = Handler(name="restart app", action="restart", unit="app")


def resource(module: str, args: dict[str, Any], **origin: Any) -> Resource:
    (made,) = from_task(module, args, Origin(**origin))
    return made


def page(content: bytes = b"new\n", **origin: Any) -> Resource:
    return resource("copy", {"dest": "/srv/page", "content": content, "mode": "0644"}, **origin)


def seen(
    resource: Resource, attributes: Attributes | None, *, problem: str = "", content: bytes = b""
) -> Observation:
    return Observation(
        resource_id=resource.id,
        attributes=attributes,
        fingerprint="f",
        content=content or None,
        problem=problem,
    )


def plan_of(*pairs: tuple[Resource, Attributes | None]) -> Plan:
    return make_plan(
        host="web1",
        created_at="2026-01-01T00:00:00+00:00",
        desired=[one for one, _ in pairs],
        handlers={handler.name: handler for handler in (RELOAD, RESTART)},
        observations={one.id: seen(one, attributes) for one, attributes in pairs},
    )


def actions(plan: Plan) -> list[str]:
    return [change.action for change in plan.changes]


def test_only_what_differs_is_changed() -> None:
    wanted = page()
    same = dict(wanted.attributes or {}, owner="root", group="root")
    assert actions(plan_of((wanted, None))) == ["create"]
    assert actions(plan_of((wanted, same))) == ["no-op"]
    assert actions(plan_of((wanted, {**same, "mode": "0600"}))) == ["update"]
    assert plan_of((wanted, same)).is_empty


def test_an_attribute_that_is_not_named_is_not_managed() -> None:
    unmanaged = resource("copy", {"dest": "/srv/page", "content": b"new\n"})
    there = {**(unmanaged.attributes or {}), "mode": "0640", "owner": "www-data"}
    assert plan_of((unmanaged, there)).is_empty


@pytest.mark.parametrize(
    ("module", "args", "there", "action"),
    [
        ("file", {"path": "/x", "state": "absent"}, {"type": "directory"}, "delete"),
        ("file", {"path": "/x", "state": "absent"}, None, "no-op"),
        ("package", {"names": ["nginx"], "state": "present"}, None, "create"),
        ("package", {"names": ["nginx"], "state": "present"}, {"version": "1"}, "no-op"),
        ("package", {"names": ["nginx"], "state": "absent"}, {"version": "1"}, "delete"),
        (
            "service",
            {"name": "a", "state": "started"},
            {"active": False, "enabled": True},
            "update",
        ),
        ("service", {"name": "a", "state": "started"}, {"active": True, "enabled": False}, "no-op"),
        ("service", {"name": "a", "state": "stopped", "enabled": False}, None, "no-op"),
        ("service", {"name": "a", "state": "stopped", "enabled": True}, None, "create"),
        ("command", {"argv": ["true"], "creates": "/x"}, {"done": True}, "no-op"),
        ("command", {"argv": ["true"], "creates": "/x"}, {"done": False}, "update"),
    ],
)
def test_actions_by_kind(
    module: str, args: dict[str, Any], there: Attributes | None, action: str
) -> None:
    assert actions(plan_of((resource(module, args), there))) == [action]


def test_appended_groups_keep_existing_groups() -> None:
    user = resource("user", {"name": "app", "groups": ["adm"], "append": True})
    there = {"uid": 999, "groups": ["adm", "sudo"], "shell": "/bin/sh"}
    assert plan_of((user, there)).is_empty
    (change,) = plan_of((user, {**there, "groups": ["sudo"]})).changes
    assert change.after == {"groups": ["adm", "sudo"]}


def test_a_handler_runs_once_for_all_its_notifications() -> None:
    first = page(notify=("reload nginx",))
    second = resource(
        "file", {"path": "/srv", "state": "directory"}, notify=("restart app", "reload nginx")
    )
    runs = plan_of((first, None), (second, None)).handlers
    assert [(run.handler.name, run.because) for run in runs] == [
        ("reload nginx", (first.id, second.id)),
        ("restart app", (second.id,)),
    ]
    assert plan_of((first, first.attributes), (second, second.attributes)).handlers == ()


def test_stages_come_in_order_and_keep_the_order_of_tasks() -> None:
    late = page(stage=1)
    early = resource("file", {"path": "/srv", "state": "directory"})
    assert [change.resource_id for change in plan_of((late, None), (early, None)).changes] == [
        early.id,
        late.id,
    ]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"type": "directory"}, "/srv/page is a directory, but should be a regular file"),
        ({"type": "link", "target": "/gone"}, "is a symbolic link to /gone"),
        ({"type": "fifo"}, "is a named pipe"),
    ],
)
def test_a_path_is_not_replaced_by_a_different_type(there: Attributes, words: str) -> None:
    with pytest.raises(ConflictError, match=words) as caught:
        plan_of((page(), there))
    assert caught.value.exit_code == 3


def test_all_conflicts_are_named_at_once() -> None:
    first, second = page(), resource("file", {"path": "/srv/d", "state": "directory"})
    with pytest.raises(ConflictError) as caught:
        plan_of((first, {"type": "directory"}), (second, {"type": "file"}))
    assert "/srv/page" in str(caught.value)
    assert "/srv/d" in str(caught.value)


def test_a_problem_of_the_probe_is_a_conflict() -> None:
    one = page()
    with pytest.raises(ConflictError, match="Not a directory"):
        make_plan(
            host="web1",
            created_at="",
            desired=[one],
            handlers={},
            observations={one.id: seen(one, None, problem="/srv/page: Not a directory")},
        )


def test_the_digest_covers_the_content() -> None:
    one, other = plan_of((page(b"one"), None)), plan_of((page(b"two"), None))
    assert one.digest != other.digest
    assert one.digest == plan_of((page(b"one"), None)).digest
    assert dataclasses.replace(one, digest="").digest == ""


def test_the_changes_of_a_new_package_are_reported_as_unknown() -> None:
    nginx = resource("package", {"names": ["nginx"], "state": "present"})
    (words,) = plan_of((nginx, None)).unknowns
    assert words.startswith("nginx: not installed yet")
    assert plan_of((nginx, {"version": "1.22"})).unknowns == ()


def test_a_second_stage_starts_from_the_result_of_the_first() -> None:
    first, second = page(b"one\n"), page(b"two\n", stage=2, notify=("reload nginx",))
    plan = make_plan(
        host="web1",
        created_at="2026-01-01T00:00:00+00:00",
        desired=[second, first],
        handlers={RELOAD.name: RELOAD},
        observations={first.id: seen(first, None)},
    )
    assert actions(plan) == ["create", "update"]
    assert [change.stage for change in plan.changes] == [0, 2]
    assert plan.changes[1].before_content == b"one\n"
    assert plan.changes[0].fingerprint == plan.changes[1].fingerprint
    assert [run.stage for run in plan.handlers] == [2]
