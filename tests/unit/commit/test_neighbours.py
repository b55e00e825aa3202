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

from deployer.commit import neighbour_watch as neighbours
from deployer.commit.neighbours import Neighbourhood
from deployer.commit.outcome import HostReport
from deployer.commit.settle import BACK, but_not_restored
from deployer.errors import AgentError, HostError
from deployer.model import Handler
from deployer.plan.desired import DesiredState
from deployer.plan.model import Change, HandlerRun, Plan
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
    neighbours: bool = True
    state: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def options(self) -> Any:
        return SimpleNamespace(displaces=self.displaces, neighbours=self.neighbours)

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
        state = {"proxy": "nginx", "is_running": True, "config": config, "test_ok": True}
        empty = {"processes": [], "log": [], "listeners": []}
        return {"proxies": [{**state, **empty, **self.state}], "notes": [], **self.more}


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
        (answer("404 Not Found"), [""]),  # a service that has no first page
        (answer("404 Not Found", "<hr><center>nginx</center>"), []),
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
    monkeypatch.setattr(neighbours, "PATIENCE_S", 1.0)
    monkeypatch.setattr(neighbours, "AT_LEAST_S", 0.5)
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


def test_a_websocket_of_a_neighbour_is_opened_once_before_a_change_and_once_after_it() -> None:
    seen: list[str] = []

    def service(peer: Peer) -> None:
        upgrades = "upgrade: websocket" in peer.head.decode().lower()
        seen.append("handshake" if upgrades else "page")
        peer.answer("101 Switching" if upgrades else "426 Upgrade", "Content-Length: 0")

    with Server(service) as server:
        host = FakeHost(
            f"server {{ listen {server.port}; server_name a.com; location /vnc {{"
            " proxy_pass http://127.0.0.1:1; proxy_set_header Upgrade $http_upgrade; } }",
            more={"addresses": ["127.0.0.9"]},
        )
        watch = of(host).watch(RELOAD, desired())
        assert seen.count("handshake") == 1
        checks = watch.checks(changed_at=time.monotonic())
    assert all(each.ok for each in checks)
    assert seen.count("handshake") == 2


@dataclass
class OwnHost(FakeHost):
    """Every port is that of a server; nothing listens on the addresses in `dead`."""

    at: int = 0
    dead: frozenset[str] = frozenset()

    def open_stream(self, *, host: str, port: int, timeout_s: float) -> socket.socket:
        port = 1 if host in self.dead else self.at
        return super().open_stream(host="127.0.0.1", port=port, timeout_s=timeout_s)


def test_an_own_site_that_answers_differently_by_itself_is_asked_again() -> None:
    host = OwnHost("", more={"addresses": ["127.0.0.9"]})
    watch = of(host).watch(RELOAD, desired())
    with Server(statuses(itertools.chain(["200 OK", "502 Bad"], itertools.repeat("200 OK")))) as it:
        host.at = it.port
        assert [each.detail for each in watch.checks(changed_at=time.monotonic())] == []
        host.dead = frozenset({"127.0.0.9"})
        (check,) = watch.checks(changed_at=time.monotonic())
        assert check.finding is not None
        assert check.finding.code == "address-taken"


def test_a_neighbour_that_is_down_cannot_get_worse() -> None:
    with Server(statuses(itertools.repeat("502 Bad"))) as server:
        assert failed(serving(server), between=lambda: None) == []


def test_own_names_are_left_to_their_own_checks() -> None:
    status = ["200 OK"]
    with Server(lambda peer: peer.answer(status[0], "Content-Length: 0")) as server:
        host = serving(server, "own.example.com")
        assert failed(host, between=lambda: status.insert(0, "503 No")) == []


_LISTENS = ["0.0.0.0:80"]
_REJECTED = {
    "listeners": _LISTENS,
    "test_ok": False,
    "test_output": 'nginx: [emerg] unknown directive "x" in /etc/nginx/nginx.conf:3\n',
}


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (FakeHost("", fails=True), "    - no"),
        (FakeHost("", state=_REJECTED), 'unknown directive "x" in /etc/nginx/nginx.conf:3'),
        (
            FakeHost("", state={"listeners": _LISTENS, "test_ok": None, "test_output": "no time"}),
            "nginx: its configuration test could not be run: no time",
        ),
        (FakeHost("", state={"listeners": _LISTENS, "config": []}), "none of its configuration"),
        (FakeHost("server {", state={"listeners": _LISTENS}), "not understood: /etc/nginx/nginx.c"),
        (FakeHost("", more={"unread": ["/etc/x cannot be read"]}), "    - /etc/x cannot be read"),
    ],
)
def test_a_host_whose_sites_cannot_be_listed_is_not_changed(host: FakeHost, reason: str) -> None:
    with pytest.raises(HostError) as caught:
        of(host).watch(RELOAD, desired())
    assert reason in str(caught.value)
    assert "Nothing was changed" in str(caught.value)
    assert "--no-neighbours" in str(caught.value)
    neighbourhood = of(host)
    assert neighbourhood.refusal(neighbourhood.with_displaced(SWITCH, desired())) != ""

    host.neighbours = False
    neighbourhood = of(host)
    assert neighbourhood.refusal(neighbourhood.with_displaced(RELOAD, desired())) == ""
    check = neighbourhood.watch(RELOAD, desired()).checks(changed_at=time.monotonic())[0]
    assert (check.ok, check.skipped) == (True, True)
    assert reason.strip(" -") in check.detail


def test_files_that_the_commit_fixes_and_a_proxy_that_serves_nothing_stop_no_commit() -> None:
    fixed = change("file:/etc/nginx/nginx.conf", {"type": "file"}, {"type": "file"})
    plan = Plan(host="web1", created_at="", changes=(fixed,))
    of(FakeHost("", state=_REJECTED)).watch(plan, desired())
    of(FakeHost("", state={**_REJECTED, "listeners": []})).watch(RELOAD, desired())


def test_a_web_server_that_is_none_of_the_proxies_answers_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "PATIENCE_S", 0.2)
    monkeypatch.setattr(neighbours, "AT_LEAST_S", 0.1)
    status = ["404 Not Found"]
    with Server(lambda peer: peer.answer(status[0], "Content-Length: 0")) as server:
        about = {"process": "caddy", "pid": 7, "unit": "caddy"}
        other = {**about, "host": "127.0.0.1", "port": server.port}
        host = FakeHost("", more={"others": [other]})
        (found,) = failed(host, between=lambda: status.insert(0, "502 No"))
        assert found == (
            f"http://127.0.0.1:{server.port}/ (caddy, process 7 of caddy.service) answered 404"
            " before this change, and answered 502 after it"
        )
        status[0] = "200 OK"
        host.displaces = frozenset({"caddy"})
        assert failed(host, between=lambda: status.insert(0, "502 No")) == []
        host.displaces = frozenset()
        stopped = Plan(host="web1", created_at="", changes=(change("service:caddy", ON, OFF),))
        for undoes, number in ((False, 1), (True, 0)):
            status[0] = "200 OK"
            watch = of(host).watch(stopped, desired(undoes=undoes))
            status.insert(0, "502 No")
            checks = watch.checks(changed_at=time.monotonic())
            assert sum(not each.ok for each in checks) == number, "a rollback ends what it brought"
        # An address that the files of a proxy do not show: it has not loaded them.
        status[0] = "200 OK"
        host = FakeHost("", state={"listeners": [f"127.0.0.1:{server.port}"]})
        (found,) = failed(host, between=lambda: status.insert(0, "502 No"))
        assert "(nginx, process 0) answered 200" in found


def test_files_that_a_plan_loads_because_no_one_did_may_close_addresses() -> None:
    loading = HandlerRun(
        handler=Handler(name="reload nginx", action="reload", unit="nginx"),
        stage=0,
        because=(),
        reason="nginx still runs with the deleted /etc/nginx/conf.d/old.conf",
    )
    plan = Plan(host="web1", created_at="", changes=(), handlers=(loading,))
    with Server(statuses(itertools.repeat("200 OK"))) as server:
        host = FakeHost("", state={"listeners": [f"127.0.0.1:{server.port}"]})
        watch = of(host).watch(plan, desired())
        assert watch.checks(changed_at=time.monotonic()) == ()


def test_what_a_rollback_does_not_restore_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "RESTORED_S", 0.3)
    status = ["200 OK"]
    with Server(lambda peer: peer.answer(status[0], "Content-Length: 0")) as server:
        host = serving(server)
        watch = of(host).watch(RELOAD, desired())
        assert watch.not_restored() == ()
        status[0] = "502 No"
        (lost, default) = watch.not_restored()
        assert lost == (
            f"http://a.com:{server.port}/ answered 200 before this change, and answered 502 after"
            " it"
        )
        assert "any other name" in default
        report = HostReport(host="web1", state="reverted", message=f"no; {BACK}")
        report = but_not_restored(report, [lost] * 6)
        host.cancelled.set()
        assert watch.not_restored() == ()
    assert report.state == "stranded"
    assert report.message.count(lost) == 5
    assert "\n    - and 1 more\n" in report.message


def test_a_commit_that_has_no_time_to_ask_everything_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "BEFORE_S", 0.0)
    monkeypatch.setattr(neighbours, "EACH_S", 0.0)
    with Server(statuses(itertools.repeat("200 OK"))) as server:
        host = serving(server)
        with pytest.raises(HostError, match=r"2 of 2 requests to other sites .*http://a.com:"):
            of(host).watch(RELOAD, desired())
        host.neighbours = False
        (check,) = of(host).watch(RELOAD, desired()).checks(changed_at=time.monotonic())
        assert check.skipped


def test_a_slow_site_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(neighbours, "PATIENCE_S", 0.2)
    monkeypatch.setattr(neighbours, "AT_LEAST_S", 0.1)
    status = ["200 OK"]

    def slow(peer: Peer) -> None:
        time.sleep(0.5)
        peer.answer(status[0], "Content-Length: 0")

    with Server(slow) as server:
        found = failed(serving(server), between=lambda: status.insert(0, "502 No"))
        assert len(found) == 1
        monkeypatch.setattr(neighbours, "SLOW_S", 0.2)
        (check,) = of(serving(server)).watch(RELOAD, desired()).checks(changed_at=time.monotonic())
    assert check.detail == "not checked: 2 of 2 requests are not answered within 0.2 s"


def test_a_configuration_that_a_proxy_rejects_after_a_change_fails_the_commit() -> None:
    with Server(statuses(itertools.repeat("200 OK"))) as server:
        host = serving(server)
        watch = of(host).watch(RELOAD, desired())
        host.state = _REJECTED
        first = watch.checks(changed_at=time.monotonic())[0]
        host.fails = True
        lost = watch.checks(changed_at=time.monotonic())[0]
    assert (first.ok, lost.ok) == (False, False)
    assert first.finding
    assert first.finding.code == "config-invalid"
    assert 'unknown directive "x" in /etc/nginx/nginx.conf:3' in first.detail


def test_a_name_that_no_request_is_known_for_is_reported() -> None:
    with Server(statuses(itertools.repeat("200 OK"))) as server:
        host = serving(server, "~^(?=a)b$")
        first = of(host).watch(RELOAD, desired()).checks(changed_at=time.monotonic())[0]
    assert first.detail.startswith("not checked: no name is known that matches ~^(?=a)b$, /etc/ng")


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
