"""The effect of a plan on the clients of a running proxy, as text and as data."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from deployer.model import Handler
from deployer.plan.diff import plan_lines
from deployer.plan.forecast import effects, forecast_words, forecasts, loads_proxy
from deployer.plan.model import Change, Forecast, ForecastAction, HandlerRun, Plan
from deployer.plan.wire import plan_for_output, plan_to_json, sealed
from deployer.sites.model import Site

HOUR = 3600.0


def change(resource_id: str, before: Any, after: Any, stage: int = 0) -> Change:
    action: Any = "create" if before is None else "delete" if after is None else "update"
    return Change(
        resource_id=resource_id,
        action="no-op" if before == after else action,
        before=before,
        after=after,
        fingerprint="",
        stage=stage,
    )


def run(unit: str, action: str = "reload", stage: int = 0) -> HandlerRun:
    handler = Handler(name=f"{action} {unit}", action=action, unit=unit)
    return HandlerRun(handler=handler, stage=stage, because=())


def plan(*parts: Change | HandlerRun) -> Plan:
    return sealed(
        Plan(
            host="web1",
            created_at="",
            changes=tuple(part for part in parts if isinstance(part, Change)),
            handlers=tuple(part for part in parts if isinstance(part, HandlerRun)),
        )
    )


ON, OFF = {"enabled": True, "active": True}, {"enabled": False, "active": False}
STOPPED = change("service:nginx", ON, OFF)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (plan(run("nginx")), {"nginx": "reload"}),
        (plan(run("nginx.service")), {"nginx": "reload"}),
        (plan(run("goaccess", "restart")), {}),
        (plan(run("nginx"), run("nginx", "restart", 1)), {"nginx": "restart"}),
        (plan(run("nginx", "restart"), run("nginx", stage=1)), {"nginx": "restart"}),
        (plan(STOPPED, run("haproxy")), {"nginx": "stop", "haproxy": "reload"}),
        (plan(STOPPED, run("nginx")), {"nginx": "stop"}),
        (plan(change("service:nginx", OFF, OFF)), {}),
        (plan(change("service:nginx", OFF, ON)), {}),
        (plan(change("service:nginx", {"active": True}, {"enabled": False})), {}),
        (plan(change("package:haproxy", {"version": "1"}, None)), {"haproxy": "stop"}),
        (plan(change("package:haproxy", None, {})), {}),
        (plan(change("file:/etc/nginx/x", None, {})), {}),
    ],
)
def test_the_effect_on_each_proxy(of: Plan, expected: dict[str, str]) -> None:
    assert effects(of) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (plan(run("nginx")), True),
        (plan(change("service:haproxy", None, ON)), True),
        (plan(change("service:haproxy", ON, ON)), False),
        (plan(change("file:/etc/x", None, {}), run("cron")), False),
    ],
)
def test_whether_a_proxy_reads_its_configuration(of: Plan, expected: bool) -> None:
    assert loads_proxy(of) is expected


def test_workers_that_hold_websockets_count_old_ones_too() -> None:
    counted = {
        "units": {
            "nginx": {
                "drain_s": HOUR,
                "workers": [
                    {"pid": 7, "websockets": 400, "connections": 410, "is_old": False},
                    {"pid": 8, "websockets": 31, "connections": 31, "is_old": True},
                    {"pid": 9, "websockets": 0, "connections": 5, "is_old": False},
                ],
            }
        }
    }
    (found,) = forecasts(plan(run("nginx")), connections=counted, sites=())
    assert found == Forecast(
        unit="nginx", action="reload", connections=431, workers=2, drain_s=HOUR
    )
    idle = {
        "units": {"nginx": {"drain_s": None, "workers": counted["units"]["nginx"]["workers"][2:]}}
    }  # type: ignore[index]
    assert forecasts(plan(run("nginx")), connections=idle, sites=()) == ()
    assert forecasts(plan(run("nginx")), connections={"units": {}}, sites=()) == ()


@pytest.mark.parametrize(
    ("drains", "expected"), [((HOUR, 60.0), HOUR), ((HOUR, None), None), ((), None)]
)
def test_apache_is_capped_by_its_sites(
    drains: tuple[float | None, ...], expected: float | None
) -> None:
    sites = [Site(domain="x.example", proxy="apache", drain_s=drain) for drain in drains]
    worker = {"pid": 7, "websockets": 1, "connections": 1, "is_old": False}
    counted = {"units": {"apache2": {"drain_s": None, "workers": [worker]}}}
    (found,) = forecasts(plan(run("apache2")), connections=counted, sites=sites)
    assert found.drain_s == expected


@pytest.mark.parametrize(
    ("connections", "workers", "drain_s", "words"),
    [
        (431, 2, HOUR, "431 open WebSocket connections on 2 old workers for at most 1 h"),
        (1, 1, 5400.0, "1 open WebSocket connection on 1 old worker for at most 1 h 30 min"),
        (2, 1, None, "2 open WebSocket connections on 1 old worker for as long as they last"),
        (2, 1, 0.25, "2 open WebSocket connections on 1 old worker for at most 1 s"),
    ],
)
def test_the_text_for_a_reload(
    connections: int, workers: int, drain_s: float | None, words: str
) -> None:
    forecast = Forecast(
        unit="nginx", action="reload", connections=connections, workers=workers, drain_s=drain_s
    )
    assert forecast_words(forecast) == f"this reload leaves {words}"


@pytest.mark.parametrize(
    ("action", "connections", "words"),
    [
        ("restart", 3, "this restart ends 3 open WebSocket connections"),
        ("stop", 1, "stopping nginx ends 1 open WebSocket connection"),
    ],
)
def test_the_text_for_a_restart_or_stop(
    action: ForecastAction, connections: int, words: str
) -> None:
    forecast = Forecast(unit="nginx", action=action, connections=connections, workers=1)
    assert forecast_words(forecast) == words


def test_a_forecast_is_shown_once_below_its_cause() -> None:
    reload = Forecast(unit="haproxy", action="reload", connections=3, workers=1, drain_s=HOUR)
    stop = Forecast(unit="nginx", action="stop", connections=2, workers=1)
    whole = plan(STOPPED, run("haproxy"), run("haproxy", stage=1))
    lines = [line.text for line in plan_lines(dataclasses.replace(whole, forecasts=(reload, stop)))]
    shown = [lines.index(forecast_words(each)) for each in (stop, reload)]
    assert lines[shown[0] - 1].startswith("~ service nginx")
    assert lines[shown[1] - 1].startswith("! handler reload haproxy")
    assert len(lines) == len(list(plan_lines(whole))) + 2


def test_a_forecast_is_in_the_json_but_not_part_of_the_plan() -> None:
    forecast = Forecast(unit="nginx", action="reload", connections=3, workers=1, drain_s=HOUR)
    bare = plan(run("nginx"))
    whole = dataclasses.replace(bare, forecasts=(forecast,))
    assert sealed(whole).digest == bare.digest
    assert plan_to_json(whole) == plan_to_json(bare)
    (shown,) = plan_for_output(whole)["forecasts"]
    assert shown == {**dataclasses.asdict(forecast), "words": forecast_words(forecast)}
    assert "forecasts" not in plan_for_output(bare)
