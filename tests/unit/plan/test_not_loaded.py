"""Files that someone changed, and that a plan's reload loads."""

from __future__ import annotations

from dataclasses import replace

from deployer.model import Handler
from deployer.plan.model import Change, HandlerRun, Plan
from deployer.plan.not_loaded import not_loaded
from deployer.proxies.inspect.model import ConfigFile, ProxyState

_OLD = ConfigFile(path="/etc/nginx/nginx.conf", text="", changed_s_ago=900.0)
_EDITED = ConfigFile(path="/etc/nginx/conf.d/a.conf", text="", changed_s_ago=10.0)
_STATE = ProxyState(proxy="nginx", config=(_OLD, _EDITED), accepted_reload_s_ago=60.0)
_RUN = HandlerRun(
    handler=Handler(name="reload", action="reload", unit="nginx"), stage=0, because=("file:/x",)
)


def notes(state: ProxyState, run: HandlerRun, *changes: Change) -> list[str]:
    plan = Plan(host="web1", created_at="", changes=changes, handlers=(run,))
    return list(not_loaded([state], plan))


def test_what_a_reload_loads_in_addition() -> None:
    (note,) = notes(_STATE, _RUN)
    assert note == (
        "nginx has not loaded /etc/nginx/conf.d/a.conf since it was changed: this plan's reload"
        " does, and a rollback cannot undo it"
    )


def test_no_note_if_nothing_is_pending_or_the_plan_is_about_it() -> None:
    write = Change(
        resource_id=f"file:{_EDITED.path}", action="update", before={}, after={}, fingerprint=""
    )
    assert notes(replace(_STATE, accepted_reload_s_ago=11.0), _RUN) == []
    assert notes(replace(_STATE, accepted_reload_s_ago=None), _RUN) == []
    assert notes(_STATE, _RUN, write) == []
    assert notes(_STATE, replace(_RUN, reason="nginx still runs with an older a.conf")) == []
    stopped = replace(_RUN, handler=replace(_RUN.handler, unit="apache2"))
    assert notes(_STATE, stopped) == []
