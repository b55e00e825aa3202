"""The watchdog reverts a commit after its run has died, on real hosts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.agent.on_host import agent_on
from tests.support.agent.process import AgentProcess, change, file_change
from tests.support.runs import deployer, differences, write_playbook
from tests.support.runs import state_of as whole_state_of
from tests.support.waiting import at_most, stretched, until

pytestmark = pytest.mark.lab

Start = Callable[[LabHost], AgentProcess]

UNIT = b"[Service]\nExecStart=/bin/sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n"
ROOTS = {"owner": "root", "group": "root", "mode": "0644"}


def state_of(host: LabHost) -> dict[str, Any]:
    """The host's state without the sessions of running agents."""
    state = whole_state_of(host)
    return {**state, "enabled": [line for line in state["enabled"] if ".scope" not in line]}


def settled_boot(host: LabHost) -> None:
    """Wait until all that starts at boot has started: sshd is there before the rest."""
    host.sh("systemctl is-system-running --wait", check=False)


def prepare(host: LabHost) -> None:
    """Our own folder is there before the state is looked at."""
    settled_boot(host)
    host.sh("mkdir -m 700 /var/lib/deployer")


def commit_for(seconds: float, name: str = "c1") -> dict[str, Any]:
    return {"id": name, "who": "ada", "from": "desk", "rollback_duration_s": seconds}


def app() -> list[dict[str, Any]]:
    """A service, enabled and running; systemd loads its unit during the apply."""
    return [
        file_change("/etc/app.conf", b"new\n", **ROOTS),
        file_change("/etc/systemd/system/app.service", UNIT, **ROOTS),
        change("service:app", {"enabled": True, "active": True}),
    ]


def apply(agent: AgentProcess, *changes: dict[str, Any], seconds: float = 60.0) -> None:
    agent.ask("apply", plan=agent.plan(*changes), commit=commit_for(seconds))


def is_settled(host: LabHost) -> bool:
    """Whether no commit is pending, none is being reverted, and nothing of the watchdog is left."""
    return not host.sh("cd /var/lib/deployer; ls -d pending reverting 2>&-", check=False)


def traces(host: LabHost) -> str:
    """Everything that a watchdog can leave behind; empty if there is nothing."""
    return host.sh(
        "systemctl list-units --all --plain --no-legend 'deployer*';"
        "systemctl list-unit-files --plain --no-legend 'deployer*';"
        "find /etc /run/systemd /var/lib/deployer/watchdog.py*"
        " -name '*deployer*' -o"
        " -name 'watchdog.py*' 2>&-; systemctl --failed --plain --no-legend",
        check=False,
    )


def said(host: LabHost) -> list[dict[str, Any]]:
    """The log entries of deployer since the last boot."""
    lines = host.sh("journalctl -b -o json -t deployer --no-pager").splitlines()
    return [json.loads(line) for line in lines]


def words_of(host: LabHost) -> str:
    return "\n".join(entry["MESSAGE"] for entry in said(host))


def kill_agent(host: LabHost, agent: AgentProcess) -> None:
    host.exec(["kill", "-KILL", str(agent.hello["pid"])])
    agent.end()


def last_of_history(host: LabHost) -> dict[str, Any]:
    agent = agent_on(host)
    try:
        entry: dict[str, Any] = agent.ask("history")["generations"][0]
        return entry
    finally:
        agent.end()


@pytest.fixture(scope="module")
def before(shared_lab: Lab) -> Iterator[dict[str, Any]]:
    """The shared host's state; it is the same after all tests of this module."""
    (host,) = shared_lab.hosts
    prepare(host)
    state = state_of(host)
    yield state
    assert differences(state, state_of(host)) == {}


@pytest.fixture
def shared(shared_lab: Lab, before: dict[str, Any]) -> LabHost:
    return shared_lab.hosts[0]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts agents, which end with the test."""
    started: list[AgentProcess] = []

    def on(host: LabHost) -> AgentProcess:
        started.append(agent_on(host))
        return started[-1]

    yield on
    for agent in started:
        agent.end()


# --- the agent dies ------------------------------------------------------------------------------


def test_the_commit_of_a_killed_agent_is_reverted_at_its_deadline(
    start: Start, shared: LabHost, before: dict[str, Any]
) -> None:
    agent = start(shared)
    apply(agent, *app(), seconds=stretched(3.0))
    began = time.monotonic()
    assert shared.sh("systemctl is-active app").strip() == "active"
    kill_agent(shared, agent)
    until(lambda: is_settled(shared))
    assert 1.5 < time.monotonic() - began < at_most(20)
    until(lambda: traces(shared) == "")
    assert differences(before, state_of(shared)) == {}
    assert words_of(shared).splitlines()[-1] == (
        "commit c1 of ada from desk: it was not confirmed by its deadline; "
        "it was reverted, and the host is as it was before"
    )
    entry = last_of_history(shared)
    assert (entry["commit"], entry["state"], entry["why"]) == ("c1", "reverted", "deadline")


def test_an_agent_killed_during_its_apply(
    start: Start, shared: LabHost, before: dict[str, Any]
) -> None:
    shared.sh("rm -f /run/under-way")
    agent = start(shared)
    endless = change(
        "command:wait",
        {"done": True, "argv": ["sh", "-c", "touch /run/under-way; sleep 600"],
         "creates": ["/etc/never"], "removes": [], "unless": [], "chdir": None, "environment": {}},
    )  # fmt: skip
    agent.start("apply", plan=agent.plan(*app(), endless), commit=commit_for(2.0))
    until(lambda: shared.sh("ls /run/under-way", check=False) != "")
    kill_agent(shared, agent)
    until(lambda: is_settled(shared) and traces(shared) == "")
    assert differences(before, state_of(shared)) == {}


def test_an_agent_killed_during_an_installation(start: Start, lab: Lab) -> None:
    """dpkg is killed or finishes alone; either way the packages are removed in the end."""
    (host,) = lab.hosts
    prepare(host)
    state = state_of(host)
    agent = start(host)
    plan = agent.plan(change("package:nginx", {}), change("package:goaccess", {}))
    agent.start("apply", plan=plan, commit=commit_for(2.0))
    until(lambda: host.sh("ls /usr/sbin/nginx /usr/sbin/nginx.dpkg-new", check=False) != "")
    kill_agent(host, agent)
    until(lambda: is_settled(host) and traces(host) == "")
    assert differences(state, state_of(host)) == {}, words_of(host)


def test_an_apply_longer_than_the_confirm_timeout(
    start: Start, shared: LabHost, before: dict[str, Any]
) -> None:
    """The timer is extended while the agent works: the commit is left alone."""
    at = len(said(shared))
    agent = start(shared)
    slow = change(
        "command:wait",
        {"done": True, "argv": ["sh", "-c", "sleep 4; touch /etc/done"], "creates": ["/etc/done"],
         "removes": [], "unless": [], "chdir": None, "environment": {}},
    )  # fmt: skip
    apply(agent, slow, seconds=2.0)
    assert agent.ask("revert", commit="c1", why="enough")["state"] == "reverted"
    agent.end()
    assert said(shared)[at:] == []
    assert differences(before, state_of(shared)) == {}


def test_a_live_agent_reverts_its_own_commit(
    start: Start, shared: LabHost, before: dict[str, Any]
) -> None:
    """Stopped at its deadline, it holds the lock; the timer logs that and keeps the commit."""
    agent = start(shared)
    apply(agent, *app(), seconds=stretched(2.0))
    pid = str(agent.hello["pid"])
    at = len(said(shared))
    shared.exec(["kill", "-STOP", pid])
    until(lambda: len(said(shared)) > at)
    assert "commit c1 is left alone: a different run is active" in words_of(shared)
    assert not is_settled(shared)
    shared.exec(["kill", "-CONT", pid])
    until(lambda: is_settled(shared) and traces(shared) == "")
    agent.end()
    assert last_of_history(shared)["why"] == "it was not confirmed in time"
    assert differences(before, state_of(shared)) == {}


def test_an_agent_that_hangs_loses_the_lock(
    start: Start, shared: LabHost, before: dict[str, Any]
) -> None:
    agent = start(shared)
    apply(agent, *app(), seconds=stretched(2.0))
    began = time.monotonic()
    shared.exec(["kill", "-STOP", str(agent.hello["pid"])])
    until(lambda: is_settled(shared))
    assert time.monotonic() - began > 20
    until(lambda: traces(shared) == "")
    assert "which hung and was killed" in words_of(shared)
    assert differences(before, state_of(shared)) == {}
    agent.end()


def test_a_failed_revert_is_retried(start: Start, shared: LabHost, before: dict[str, Any]) -> None:
    """The obstacle is gone by then; no request is needed."""
    agent = start(shared)
    apply(agent, *app(), seconds=stretched(2.0))
    shared.sh("mount --bind /etc/app.conf /etc/app.conf")
    try:
        kill_agent(shared, agent)
        until(lambda: "it could not be reverted: /etc/app.conf" in words_of(shared))
        asking = start(shared)
        pending = asking.ask("facts", packages=[])["deployer"]["pending"]
        assert (pending["commit"], pending["state"]) == ("c1", "revert-failed")
        assert "deployer-watchdog-c1-try2.timer" in traces(shared)
        assert "deployer-revert.service" in traces(shared)
    finally:
        shared.sh("umount /etc/app.conf")
    until(lambda: is_settled(shared) and traces(shared) == "")
    assert differences(before, state_of(shared)) == {}
    assert last_of_history(shared)["state"] == "reverted"


def test_the_timer_survives_a_daemon_reload(
    start: Start, shared: LabHost, before: dict[str, Any]
) -> None:
    """A daemon-reload at the deadline may drop the timer: it is armed again."""
    for _ in range(2):
        agent = start(shared)
        seconds = stretched(2.0)
        apply(agent, *app(), seconds=seconds)
        kill_agent(shared, agent)
        shared.sh(
            f"end=$(($(date +%s) + {seconds + 3:.0f})); while [ $(date +%s) -lt $end ]; do"
            " systemctl daemon-reload; done"
        )
        until(lambda: is_settled(shared) and traces(shared) == "")
        assert differences(before, state_of(shared)) == {}


# --- it ends in good order ------------------------------------------------------------------------


def test_a_confirm_leaves_nothing(start: Start, lab: Lab) -> None:
    (host,) = lab.hosts
    prepare(host)
    state = state_of(host)
    agent = start(host)
    apply(agent, *app())
    assert "deployer-watchdog-c1.timer" in traces(host)
    assert "/etc/systemd/system/deployer-revert.service" in traces(host)
    assert agent.ask("confirm", commit="c1", verified=[])["state"] == "confirmed"
    assert traces(host) == ""
    agent.end()
    etc = "/etc/systemd/system"
    wants = f"{etc}/multi-user.target.wants"
    changed = {"/etc", "/etc/app.conf", etc, f"{etc}/app.service", wants, f"{wants}/app.service"}
    changed |= {"enabled", "active"}
    assert set(differences(state, state_of(host))) == changed


def test_a_confirmed_commit_s_watchdog_leaves_no_times_in_etc(
    start: Start, shared: LabHost
) -> None:
    agent = start(shared)
    state = state_of(shared)
    apply(agent, file_change("/srv/page", b"hello", **ROOTS))
    assert "deployer-revert.service" in traces(shared)
    agent.ask("confirm", commit="c1", verified=[])
    agent.end()
    assert set(differences(state, state_of(shared))) == {"/srv", "/srv/page"}
    at = state["tree"]["/srv"][3]
    shared.sh("rm /srv/page")
    shared.exec(["python3", "-c", f"import os; os.utime('/srv', ns=({at}, {at}))"])


def test_a_revert_leaves_nothing(start: Start, shared: LabHost, before: dict[str, Any]) -> None:
    agent = start(shared)
    apply(agent, *app())
    agent.ask("revert", commit="c1", why="enough")
    assert traces(shared) == ""
    agent.end()
    assert differences(before, state_of(shared)) == {}


def test_setting_the_clock_does_not_affect_the_timer(start: Start, shared: LabHost) -> None:
    """It uses monotonic time only, to a tenth of a second, from when it was last armed."""
    agent = start(shared)
    apply(agent, *app(), seconds=300.0)
    shown = shared.sh("systemctl show --timestamp=us deployer-watchdog-c1.timer", check=False)
    shown = shown or shared.sh("systemctl show deployer-watchdog-c1.timer")
    properties = dict(
        line.partition("=")[::2] for line in shown.splitlines() if "Timers" not in line
    )
    assert properties["AccuracyUSec"] == "100ms"
    assert properties.get("NextElapseUSecRealtime", "") == ""
    assert "TimersCalendar" not in shown
    assert re.search(r"TimersMonotonic=.*OnActiveUSec=5min 1s", shown), shown
    assert properties["NextElapseUSecMonotonic"] not in ("", "infinity")
    agent.ask("revert", commit="c1", why="enough")
    agent.end()


# --- the host is switched off ---------------------------------------------------------------------


def test_a_host_that_is_booted_again_is_as_before_when_its_proxy_starts(
    start: Start, lab: Lab
) -> None:
    (host,) = lab.hosts
    agent = start(host)
    apply(agent, change("package:nginx", {}),
          change("service:nginx", {"enabled": True, "active": True}))  # fmt: skip
    agent.ask("confirm", commit="c1", verified=[])
    agent.end()
    host.kill()
    host.boot_again()
    settled_boot(host)
    state = state_of(host)
    assert "nginx.service" in state["active"]

    agent = start(host)
    broken = file_change("/etc/nginx/conf.d/broken.conf", b"this is no directive;\n", **ROOTS)
    plan = agent.plan(broken, *app(), change("package:goaccess", {}))
    agent.ask("apply", plan=plan, commit=commit_for(300.0, "c2"))
    host.kill()
    agent.end()
    host.boot_again()
    settled_boot(host)
    until(lambda: is_settled(host) and traces(host) == "")
    assert differences(state, state_of(host)) == {}
    (entry,) = said(host)
    assert entry["MESSAGE"] == (
        "commit c2 of ada from desk: the host was booted again; "
        "it was reverted, and the host is as it was before"
    )
    nginx_at = host.sh("systemctl show -P ExecMainStartTimestampMonotonic nginx")
    assert int(entry["__MONOTONIC_TIMESTAMP"]) < int(nginx_at)
    last = last_of_history(host)
    assert (last["commit"], last["state"], last["why"]) == ("c2", "reverted", "boot")


# --- the command ----------------------------------------------------------------------------------

TELLING = """- hosts: all
  tasks:
    - command:
        argv:
          - sh
          - -c
          - (systemctl list-units --all "deployer-*"; ls /etc/systemd/system) > {path}
        creates: {path}
"""


HELLO = "- hosts: all\n  tasks:\n    - copy: {dest: /etc/hello, content: hello}\n"


def test_an_apply_without_a_watchdog(start: Start, lab: Lab, workdir: Path) -> None:
    """Nothing is armed on the host, and the report says so."""
    (host,) = lab.hosts
    write_playbook(workdir, TELLING.format(path="/srv/with"), lab)
    ran = deployer("apply", "site.yml", "--yes")
    assert ran.code == 0, ran
    assert "watchdog" not in ran.out
    seen = host.sh("cat /srv/with")
    assert "deployer-watchdog-" in seen
    assert "deployer-revert.service" in seen

    write_playbook(workdir, TELLING.format(path="/srv/without"))
    ran = deployer("apply", "site.yml", "--yes", "--no-watchdog")
    assert ran.code == 0, ran
    assert "; the host had no watchdog" in ran.out
    assert "deployer-" not in host.sh("cat /srv/without")

    write_playbook(workdir, HELLO)
    assert deployer("apply", "site.yml", "--yes").code == 0
    ran = deployer("rollback", "site.yml", "--yes", "--no-watchdog", "--json")
    assert ran.code == 0, ran
    assert ran.document["hosts"]["web1"]["watchdog"] is False
    assert traces(host) == ""
