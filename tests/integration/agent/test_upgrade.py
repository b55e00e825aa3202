"""Hosts on which the agent of earlier versions has left a commit and its watchdog."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.lab.lab import Lab
from tests.integration.agent.test_watchdog import (
    app,
    apply,
    is_settled,
    kill_agent,
    last_of_history,
    prepare,
    state_of,
    traces,
    words_of,
)
from tests.support.agent.on_host import agent_on
from tests.support.agent.one_file import old_agent_on
from tests.support.agent.process import file_change
from tests.support.runs import deployer, differences, write_playbook
from tests.support.waiting import stretched, until

pytestmark = pytest.mark.lab


def test_recover_reverts_its_commit_and_removes_its_watchdog(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    prepare(host)
    before = state_of(host)
    write_playbook(workdir, "- hosts: all\n", lab)
    agent = old_agent_on(host)
    apply(agent, *app(), seconds=600.0)
    kill_agent(host, agent)
    assert "/var/lib/deployer/watchdog.py\n" in traces(host)
    ran = deployer("recover", "site.yml")
    assert ran.code == 0, ran
    assert last_of_history(host)["state"] == "reverted"
    assert traces(host) == ""
    host.sh("rm -rf /var/lib/deployer/cache")
    assert differences(before, state_of(host)) == {}


def test_its_watchdog_acts_at_the_deadline_and_at_the_next_boot(lab: Lab) -> None:
    (host,) = lab.hosts
    prepare(host)
    before = state_of(host)
    agent = old_agent_on(host)
    apply(agent, *app(), seconds=stretched(2.0))
    kill_agent(host, agent)
    until(lambda: is_settled(host) and traces(host) == "")
    assert last_of_history(host)["why"] == "deadline"
    assert differences(before, state_of(host)) == {}

    agent = old_agent_on(host)
    apply(agent, *app(), seconds=600.0)
    host.kill()
    agent.process.kill()
    agent.end()
    host.boot_again()
    until(lambda: is_settled(host))
    assert "the host was booted again" in words_of(host)
    assert last_of_history(host)["why"] == "boot"
    assert not host.sh("cat /etc/app.conf", check=False)
    agent = agent_on(host)
    agent.ask("tidy")
    agent.end()
    until(lambda: traces(host) == "")


def test_a_revert_that_fails_is_tried_again_by_the_old_watchdog(lab: Lab) -> None:
    """The present agent arms it again, with the program that the old one left."""
    (host,) = lab.hosts
    prepare(host)
    before = state_of(host)
    agent = old_agent_on(host)
    apply(agent, file_change("/etc/app/new", b"new\n"), seconds=600.0)
    kill_agent(host, agent)
    host.sh("mount --bind /etc/app /etc/app && mount -o remount,bind,ro /etc/app")
    agent = agent_on(host)
    assert agent.ask("revert", commit="c1", why="recovered")["state"] == "revert-failed"
    agent.end()
    assert "deployer-watchdog-c1-try2.timer" in traces(host)
    host.sh("umount /etc/app")
    until(lambda: is_settled(host) and traces(host) == "")
    assert last_of_history(host)["state"] == "reverted"
    assert differences(before, state_of(host)) == {}
