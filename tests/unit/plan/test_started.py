"""What a plan starts, and who has the ports of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deployer.model import Handler
from deployer.plan.diff import plan_lines
from deployer.plan.model import Change, HandlerRun, Plan
from deployer.plan.started import (
    asked_endpoints,
    holder_notes,
    is_started_by,
    may_start_more,
    started_services,
)
from deployer.sites.model import Upstream
from tests.support.sites.site_case import site

if TYPE_CHECKING:
    from deployer.agent.replies import Holder

OLD: Holder = {"pid": 812, "process": "python3", "unit": "old.service", "starts": ""}
SITE = site(
    domain="example.com",
    routes=[
        {"path": "/ws", "websocket": "http://127.0.0.1:8000"},
        {"path": "/api", "upstream": "unix:/run/api.sock"},
    ],
)


def change(resource_id: str, after: Any, before: Any = None, content: str = "") -> Change:
    same = before is not None and all(
        before.get(k) == v for k, v in after.items() if k != "listens"
    )
    return Change(
        resource_id=resource_id,
        action="no-op" if same else "create" if before is None else "update",
        before=before,
        after=after,
        fingerprint="",
        after_content=content.encode() if content else None,
    )


def service(name: str, *listens: str, runs: bool = False, declares: bool = True) -> Change:
    after: dict[str, Any] = {"enabled": True, "active": True}
    if declares:
        after["listens"] = list(listens)
    return change(f"service:{name}", after, {"enabled": True, "active": True} if runs else None)


def restart(unit: str, action: str = "restart") -> HandlerRun:
    return HandlerRun(handler=Handler(name="h", action=action, unit=unit), stage=0, because=())


def plan(*parts: Change | HandlerRun) -> Plan:
    return Plan(
        host="web1",
        created_at="",
        changes=tuple(part for part in parts if isinstance(part, Change)),
        handlers=tuple(part for part in parts if isinstance(part, HandlerRun)),
    )


def notes(of: Plan, *holders: list[Holder]) -> list[str]:
    return list(holder_notes(of, asked_endpoints(of, [SITE]), holders))


def test_services_that_are_started_or_restarted() -> None:
    made = plan(
        service("chat", "8000"),
        service("runs", "9000", runs=True),
        service("again.service", "9001", runs=True),
        restart("again"),
        service("nginx", declares=False),
        service("worker", declares=False),
    )
    assert started_services(made) == {"chat": ("8000",), "worker": None, "again": ("9001",)}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (service("chat", "8000"), False),
        (service("nginx", declares=False), False),
        (service("deployer-renew.timer", declares=False), False),
        (service("chat", declares=False, runs=True), False),
        (service("chat", declares=False), True),
        (restart("chat"), True),
        (restart("", "run"), True),
        (change("command:docker compose up -d", {"done": True}, {"done": False}), True),
        (
            change("command:x", {"done": True, "argv": ["nginx", "-t", "-q"]}, {"done": False}),
            False,
        ),
        (
            change(
                "command:x",
                {"done": True, "argv": ["npm", "ci"], "chdir": "/opt/a/releases/0123456789ab"},
                {"done": False},
            ),
            False,
        ),
        (change("package:redis", {}), True),
        (change("package:nginx", {}), False),
        (change("file:/etc/motd", {"sha256": "0"}, content="hello"), False),
    ],
)
def test_what_may_start_services_on_any_port(part: Change | HandlerRun, expected: bool) -> None:
    assert may_start_more(plan(part)) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (service("chat", "8000"), True),
        (service("chat", "8000", runs=True), False),
        (service("chat", "80"), False),
        (change("file:/etc/nginx/conf.d/x", {}, content="  listen 127.0.0.1:8000 ssl;\n"), True),
        (change("file:/etc/apache2/x", {}, content="Listen 8000\n"), True),
        (change("file:/etc/haproxy/x", {}, content="  bind :8000\n"), True),
        (change("file:/etc/systemd/system/x.socket", {}, content="ListenStream=8000\n"), True),
        (
            change("file:/etc/nginx/conf.d/x", {}, content="proxy_pass http://127.0.0.1:8000;"),
            False,
        ),
        (change("file:/etc/nginx/conf.d/x", {}, content="listen 18000;"), False),
    ],
)
def test_whether_the_plan_starts_what_listens_there(part: Change, expected: bool) -> None:
    assert is_started_by(plan(part), Upstream(host="127.0.0.1", port=8000)) == expected


def test_a_unix_socket_that_the_plan_starts() -> None:
    made = plan(service("api", "/run/api.sock"))
    assert is_started_by(made, Upstream(socket="/run/api.sock"))
    assert not is_started_by(made, Upstream(socket="/run/api"))


def test_a_plan_that_starts_nothing_asks_nothing() -> None:
    assert asked_endpoints(plan(service("chat", "8000", runs=True)), [SITE]) == []


def test_a_worker_that_is_restarted_is_no_reason_to_ask() -> None:
    worker = service("worker", declares=False, runs=True)
    assert asked_endpoints(plan(worker, restart("worker")), [SITE]) == []


def test_the_holder_of_a_declared_port() -> None:
    made = plan(service("chat", "8000"))
    (note,) = notes(made, [OLD])
    assert note.startswith("port 8000 is held by python3 (process 812 of old.service): chat cannot")
    assert notes(made, [{**OLD, "unit": "chat.service"}]) == []
    assert notes(made, []) == []


def test_a_socket_that_systemd_holds() -> None:
    held: Holder = {"pid": 1, "process": "systemd", "unit": "chat.socket", "starts": "chat.service"}
    assert notes(plan(service("chat", "8000")), [held]) == []
    (note,) = notes(plan(service("other", "8000")), [held])
    assert note.startswith("port 8000 is held by systemd (process 1 of chat.socket): other cannot")


def test_a_holder_that_the_plan_stops() -> None:
    stopped = change("service:old", {"active": False}, {"active": True})
    held = "port 8000 is held by python3 (process 812 of old.service), which this plan stops"
    assert notes(plan(stopped, service("chat", "8000")), [OLD]) == [held]
    (late,) = notes(plan(service("chat", "8000"), stopped), [OLD])
    assert late == f"{held} only after it starts chat: stop it in an earlier play"


def test_the_holders_of_upstreams_if_a_service_declares_nothing() -> None:
    made = plan(service("chat", declares=False))
    port, path = notes(made, [OLD], [{**OLD, "unit": "", "process": ""}])
    assert port.startswith("port 8000 is held by python3 (process 812 of old.service), which this")
    assert path.startswith("/run/api.sock is held by a process (process 812), which this plan does")


def test_a_holder_that_the_plan_restarts() -> None:
    made = plan(service("chat", "8000"), service("worker", declares=False))
    assert notes(made, [{**OLD, "unit": "worker.service"}], []) != []


def test_notes_are_shown_with_the_plan() -> None:
    made = Plan(host="web1", created_at="", changes=(), notes=("port 8000 is held by x",))
    assert [line.text for line in plan_lines(made)] == ["! port 8000 is held by x"]
