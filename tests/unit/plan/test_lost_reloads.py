"""Lost and pending reloads: the probe requests about them, and the resulting plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from deployer.model import Handler, Observation, Resource
from deployer.plan.diff import plan_lines
from deployer.plan.lost_reloads import loaded_requests
from deployer.plan.model import Owed, Plan
from deployer.plan.plan import make_plan
from deployer.plan.wire import owed_from_json, plan_for_output, plan_to_json
from deployer.resources import Origin, from_task

TEST = ("nginx", "-t")
RELOAD = Handler(name="reload nginx", action="reload", unit="nginx", config_test=TEST)
RESTART = Handler(name="restart nginx", action="restart", unit="nginx")
APP = Handler(name="reload app", action="reload", unit="app")
HANDLERS = {handler.name: handler for handler in (RELOAD, RESTART, APP)}
OWED = Owed(handler=RELOAD, since="2026-01-01T00:00:00Z", who="ada", origin="desk")
ONE, TWO = "/etc/nginx/one.conf", "/etc/nginx/two.conf"


def resource(module: str, args: dict[str, Any], **origin: Any) -> Resource:
    (made,) = from_task(module, args, Origin(**origin))
    return made


def conf(path: str = ONE, *notify: str, stage: int = 0) -> Resource:
    notify = notify or (RELOAD.name,)
    return resource("copy", {"dest": path, "content": b"x"}, notify=notify, stage=stage)


def absent(path: str) -> Resource:
    return resource("file", {"path": path, "state": "absent"}, notify=(RELOAD.name,))


def plan_of(
    *resources: Resource,
    not_loaded: Sequence[str] | None = (),
    changed: Sequence[Resource] = (),
    owed: Sequence[Owed] = (),
) -> Plan:
    """A plan without changes except `changed`; `not_loaded` are files that nginx has not loaded."""
    seen = {
        one.id: Observation(
            resource_id=one.id,
            attributes=None if one in changed else one.attributes,
            fingerprint="f",
        )
        for one in resources
    }
    answer = None if not_loaded is None else {"not_loaded": list(not_loaded)}
    seen["loaded:nginx"] = Observation(
        resource_id="loaded:nginx", attributes=answer, fingerprint="f"
    )
    return make_plan(
        host="web1",
        created_at="2026-01-01T00:00:00+00:00",
        desired=resources,
        handlers=HANDLERS,
        observations=seen,
        owed=owed,
    )


def shown(plan: Plan) -> list[str]:
    return [line.text for line in plan_lines(plan)]


def test_each_proxy_is_probed_once_with_the_files_that_reload_it() -> None:
    link = resource("file", {"path": TWO, "src": ONE, "state": "link"}, notify=(RELOAD.name,))
    folder = resource("file", {"path": "/etc/x", "state": "directory"}, notify=(RELOAD.name,))
    unread = conf("/srv/page", RESTART.name, APP.name)
    assert loaded_requests([conf(), link, folder, unread], HANDLERS) == [
        {"id": "loaded:nginx", "kind": "loaded", "name": "nginx", "query": {"files": [ONE, TWO]}}
    ]
    assert loaded_requests([folder, unread], HANDLERS) == []


def test_a_file_that_is_not_loaded_causes_a_reload_with_a_reason() -> None:
    plan = plan_of(conf(), conf(TWO, stage=1), not_loaded=[TWO])
    (run,) = plan.handlers
    assert (run.handler, run.stage, run.because) == (RELOAD, 1, (f"file:{TWO}",))
    assert not plan.is_empty
    words = f"nginx still runs with an older {TWO}"
    assert shown(plan) == [f"! handler reload nginx  (because {words})"]
    (run_of,) = plan_for_output(plan)["handlers"]
    assert run_of["reason"] == words


@pytest.mark.parametrize("not_loaded", [(), None, ["/etc/nginx/not-ours.conf"]])
def test_nothing_to_do(not_loaded: Sequence[str] | None) -> None:
    """Everything is loaded; unknown; or the files not loaded do not notify this handler."""
    plan = plan_of(conf(), not_loaded=not_loaded)
    assert plan.is_empty
    assert plan.handlers == ()


@pytest.mark.parametrize("handler", [RELOAD, RESTART])
def test_no_second_reload_if_a_change_causes_one(handler: Handler) -> None:
    changes = conf(TWO, handler.name)
    plan = plan_of(conf(), changes, not_loaded=[ONE, TWO], changed=[changes], owed=[OWED])
    (run,) = plan.handlers
    assert (run.handler, run.because, run.reason) == (handler, (changes.id,), "")


def test_a_unit_to_be_stopped_is_not_reloaded() -> None:
    stopped = resource("service", {"name": "nginx", "state": "stopped"})
    plan = plan_of(conf(), stopped, not_loaded=[ONE], owed=[OWED])
    assert plan.handlers == ()
    running = resource("service", {"name": "nginx", "state": "started"})
    assert len(plan_of(conf(), running, not_loaded=[ONE]).handlers) == 1


def test_a_deleted_file_is_named_as_such() -> None:
    gone = absent(TWO)
    (run,) = plan_of(gone, not_loaded=[TWO]).handlers
    assert run.reason == f"nginx still runs with the deleted {TWO}"
    (run,) = plan_of(conf(), gone, not_loaded=[ONE, TWO]).handlers
    assert run.reason == f"nginx still runs with an older {ONE} and the deleted {TWO}"


def test_many_files_are_counted() -> None:
    files = [conf(f"/etc/nginx/{number}") for number in range(5)]
    (run,) = plan_of(*files, not_loaded=[one.name for one in files]).handlers
    assert run.reason.endswith("an older /etc/nginx/0, /etc/nginx/1, /etc/nginx/2 and 2 more")
    assert len(run.because) == 5


def test_a_pending_handler_runs_in_the_next_run() -> None:
    words = "pending since 2026-01-01T00:00:00Z from the run of ada from desk"
    (run,) = plan_of(conf(), owed=[OWED]).handlers
    assert (run.handler, run.because, run.reason) == (RELOAD, (), words)
    (run,) = plan_of(conf(), not_loaded=[ONE], owed=[OWED]).handlers
    assert run.because == (f"file:{ONE}",)
    assert run.reason == f"{words}, and nginx still runs with an older {ONE}"


def test_a_pending_restart_replaces_a_lost_reload() -> None:
    owed = Owed(handler=RESTART, since="s", who="ada", origin="desk")
    (run,) = plan_of(conf(), not_loaded=[ONE], owed=[owed]).handlers
    assert run.handler == RESTART


def test_pending_handlers_of_other_playbooks() -> None:
    other = Handler(name="reload haproxy", action="reload", unit="haproxy")
    owed = Owed(handler=other, since="s", who="ada", origin="desk")
    runs = plan_of(conf(), not_loaded=[ONE], owed=[owed]).handlers
    assert [run.handler for run in runs] == [RELOAD, other]


def test_a_pending_handler_in_a_reply_of_the_agent() -> None:
    handler = {"name": "reload nginx", "action": "reload", "unit": "nginx", "config_test": [*TEST]}
    document = {
        "handler": handler,
        "since": OWED.since,
        "commit": "c",
        "who": "ada",
        "from": "desk",
    }
    assert owed_from_json(document) == OWED


def test_the_digest_covers_the_reason_and_other_digests_are_unchanged() -> None:
    changes = conf()
    (run_of,) = plan_to_json(plan_of(changes, changed=[changes]))["handlers"]
    assert set(run_of) == {"stage", "because", "handler"}
    assert plan_of(conf(), not_loaded=[ONE]).digest != plan_of(conf(), owed=[OWED]).digest
