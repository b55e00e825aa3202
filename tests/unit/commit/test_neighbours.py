"""The names of a host around a commit: what a plan removes, and which answers got worse."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from deployer.commit import neighbours
from deployer.commit.neighbours import Neighbourhood
from deployer.errors import AgentError, HostError
from deployer.plan.desired import DesiredState
from deployer.plan.model import Change, Plan
from deployer.plan.removal import REASON
from deployer.plan.wire import sealed
from tests.support.servers.scripted import Peer, Server
from tests.support.sites import site_case as cases

ON, OFF = {"enabled": True, "active": True}, {"enabled": False, "active": False}
OWN = cases.site(domain="own.example.com", proxy="haproxy", tls={"issuer": "none"})


def change(resource_id: str, before: Any, after: Any) -> Change:
    return Change(
        resource_id=resource_id, action="update", before=before, after=after, fingerprint=""
    )


SWITCH = sealed(Plan(host="web1", created_at="", changes=(change("service:nginx", ON, OFF),)))
RELOAD = sealed(Plan(host="web1", created_at="", changes=()))


@dataclass
class FakeHost:
    """Answers `inspect` and `history`, and is reached on this machine."""

    text: str
    displaces: frozenset[str] = frozenset()
    sites: list[dict[str, Any]] = field(default_factory=list)
    fails: bool = False
    asked: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def options(self) -> Any:
        return SimpleNamespace(displaces=self.displaces)

    @property
    def host(self) -> Any:
        return SimpleNamespace(name="web1")

    def doing(self, what: str) -> None:
        self.asked.append(what)

    def link(self) -> Any:
        return self

    def open_stream(self, *, host: str, port: int, timeout_s: float) -> socket.socket:
        return socket.create_connection((host, port), timeout=timeout_s)

    def history(self) -> list[dict[str, Any]]:
        return [{"sites": self.sites}]

    def request(self, name: str, **fields: Any) -> Any:
        assert (name, fields["running"]) == ("inspect", True)
        if self.fails:
            raise AgentError("no", host="web1", code="failed")
        config = [{"path": "/etc/nginx/nginx.conf", "text": f"http {{ {self.text} }}"}]
        state = {"proxy": "nginx", "is_running": True, "config": config}
        empty = {"processes": [], "log": [], "listeners": []}
        return {"proxies": [{**state, **empty}], "notes": []}


def of(host: FakeHost) -> Neighbourhood:
    return Neighbourhood(host)  # type: ignore[arg-type]


def desired(**more: Any) -> DesiredState:
    return DesiredState(resources=(), handlers={}, sites=(OWN,), **more)


def lost(host: FakeHost, plan: Plan = SWITCH, **more: Any) -> list[str]:
    return [each.name for each in of(host).with_displaced(plan, desired(**more)).displaced]


NAMES = "server { listen 80; server_name a.com own.example.com; } server { server_name b.com; }"


def test_a_switch_removes_the_names_of_others() -> None:
    neighbourhood = of(FakeHost(NAMES))
    plan = neighbourhood.with_displaced(SWITCH, desired())
    assert "would remove 2 names" in neighbourhood.refusal(plan)
    assert neighbourhood.refusal(SWITCH) == ""


def test_consent_from_the_playbook_and_from_the_command_line() -> None:
    neighbourhood = of(FakeHost(NAMES, displaces=frozenset({"b.com"})))
    plan = neighbourhood.with_displaced(SWITCH, desired(displaces=frozenset({"a.com"})))
    assert len(plan.displaced) == 2
    assert neighbourhood.refusal(plan) == ""


def test_former_aliases_of_own_sites_and_what_a_rollback_undoes_are_not_refused() -> None:
    sites = [{"domain": "own.example.com", "aliases": ["a.com"]}, {"domain": "x", "aliases": []}]
    neighbourhood = of(FakeHost(NAMES, sites=sites))
    plan = neighbourhood.with_displaced(SWITCH, desired(leaving=frozenset({"b.com"})))
    assert [each.name for each in plan.displaced] == ["a.com", "b.com"]
    assert neighbourhood.refusal(plan) == ""


def test_a_plan_that_changes_nothing_that_exists_asks_nothing() -> None:
    host = FakeHost(NAMES)
    created = Change(
        resource_id="file:/etc/x", action="create", before=None, after={}, fingerprint=""
    )
    for changes in ((), (created,)):
        assert lost(host, Plan(host="web1", created_at="", changes=changes)) == []
    assert host.asked == []


def test_a_default_server_counts_if_it_serves_something() -> None:
    def answer(status: str, body: str = "page") -> Callable[[Peer], None]:
        return lambda peer: peer.answer(status, f"Content-Length: {len(body)}", body=body)

    for script, expected in (
        (answer("200 OK"), [""]),
        (answer("401 Unauthorized"), [""]),
        (answer("404 Not Found"), []),
        (answer("200 OK", "<title>Welcome to nginx!</title>"), []),
    ):
        with Server(script) as server:
            text = f"server {{ listen {server.port} default_server; server_name _; }}"
            assert lost(FakeHost(text)) == expected


# --- before and after -----------------------------------------------------------------------------


def failed(host: FakeHost, *, between: Callable[[], object]) -> list[str]:
    """The symptoms of the checks that fail if `between` happens during the commit."""
    watch = of(host).watch(RELOAD, desired())
    between()
    checks = watch.checks(changed_at=time.monotonic())
    return [each.finding.symptom for each in checks if each.finding]


def serving(server: Server, name: str = "a.com") -> FakeHost:
    return FakeHost(f"server {{ listen {server.port}; server_name {name}; }}")


def statuses(values: Iterable[str]) -> Callable[[Peer], None]:
    """A service that answers with each status in turn."""
    left = iter(values)
    return lambda peer: peer.answer(next(left), "Content-Length: 0")


def test_an_answer_that_got_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(neighbours, "_AT_LEAST_S", 0.5)
    status = ["200 OK"]
    with Server(lambda peer: peer.answer(status[0], "Content-Length: 0")) as server:
        found = failed(serving(server), between=lambda: status.insert(0, "503 No"))
    assert len(found) == 1
    assert found[0].startswith(f"http://a.com:{server.port}/ answered 200 before this change")


def test_an_answer_that_changes_by_itself_is_no_failure() -> None:
    with Server(statuses(itertools.cycle(["200 OK", "502 Bad"]))) as server:
        assert failed(serving(server), between=lambda: None) == []


def test_an_answer_that_recovers_is_no_failure() -> None:
    answers = itertools.chain(["200 OK"] * 4, ["502 Bad"] * 3, itertools.repeat("200 OK"))
    with Server(statuses(answers)) as server:
        assert failed(serving(server), between=lambda: None) == []


def test_a_neighbour_that_is_down_cannot_get_worse() -> None:
    with Server(statuses(itertools.repeat("502 Bad"))) as server:
        assert failed(serving(server), between=lambda: None) == []


def test_own_names_are_left_to_their_own_checks() -> None:
    status = ["200 OK"]
    with Server(lambda peer: peer.answer(status[0], "Content-Length: 0")) as server:
        host = serving(server, "own.example.com")
        assert failed(host, between=lambda: status.insert(0, "503 No")) == []


def test_what_could_not_be_listed_is_reported() -> None:
    watch = of(FakeHost("", fails=True)).watch(RELOAD, desired())
    (check,) = watch.checks(changed_at=time.monotonic())
    assert check.ok
    assert check.skipped
    assert check.detail == "not checked: no"


def test_an_interrupt_before_the_change_changes_nothing() -> None:
    with Server(statuses(itertools.repeat("200 OK"))) as server:
        host = serving(server)
        host.cancelled.set()
        with pytest.raises(HostError, match="nothing was changed"):
            of(host).watch(RELOAD, desired())


def test_a_rollback_or_a_prune_removes_the_names_in_files_of_earlier_generations() -> None:
    removed = change("file:/etc/nginx/nginx.conf", {"type": "file"}, None)
    plan = Plan(host="web1", created_at="", changes=(removed,))
    left_over = replace(plan, changes=(replace(removed, reason=REASON),))
    for made, undoes, refuses in (
        (plan, True, False),
        (plan, False, True),
        (left_over, False, False),
    ):
        neighbourhood = of(FakeHost(NAMES))
        found = neighbourhood.with_displaced(made, desired(undoes=undoes))
        assert [each.name for each in found.displaced] == ["a.com", "b.com"]
        assert bool(neighbourhood.refusal(found)) is refuses


def test_names_in_a_file_that_the_playbook_wrote_before_are_its_own_to_remove() -> None:
    changed = change("file:/etc/nginx/nginx.conf", {"type": "file"}, None)
    plan = Plan(host="web1", created_at="", changes=(changed,))
    record = {"project": "p", "same": []}
    for by, refuses in ((["p"], False), (["q"], True), (["p", "q"], True)):
        entry = {"id": "file:/etc/nginx/nginx.conf", "by": by}
        managed: Any = {"entries": [entry], "sites": {}, "handlers": {}}
        neighbourhood = of(FakeHost(NAMES))
        found = neighbourhood.with_displaced(plan, desired(managed=record), managed)
        assert bool(neighbourhood.refusal(found)) is refuses, by


def test_names_that_a_rollback_gives_back_to_other_files_are_not_watched() -> None:
    status = ["200 OK"]
    with Server(lambda peer: peer.answer(status[0], "Content-Length: 0")) as server:
        host = serving(server)
        neighbourhood = of(host)
        restored = change("file:/etc/nginx/nginx.conf", {"type": "file"}, {"type": "file"})
        plan = Plan(host="web1", created_at="", changes=(restored,))
        made = desired(undoes=True)
        watch = neighbourhood.watch(neighbourhood.with_displaced(plan, made), made)
        status.insert(0, "503 No")
        assert watch.checks(changed_at=time.monotonic()) == ()
