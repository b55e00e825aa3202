"""Packages, services, users and reloads on a real Debian, and their exact revert."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.agent.on_host import agent_on
from tests.support.agent.process import AgentProcess, AgentRefusal, change, file_change
from tests.support.runs import differences, state_of

pytestmark = pytest.mark.lab

LabFactory = Callable[..., Lab]

SITE = b"server { listen 8081; location / { return 200 hello; } }\n"
GOACCESS_UNIT = b"""[Unit]
Description=Report

[Service]
User=goaccess
ExecStart=/usr/bin/goaccess /dev/null --no-global-config --log-format=COMBINED \
    --real-time-html --addr=127.0.0.1 -o /var/www/stats/index.html

[Install]
WantedBy=multi-user.target
"""
ROOTS = {"owner": "root", "group": "root", "mode": "0644"}


def handler(action: str, unit: str, *config_test: str, stage: int = 0) -> dict[str, Any]:
    return {
        "stage": stage,
        "because": [],
        "handler": {
            "name": f"{action} {unit}",
            "action": action,
            "unit": unit,
            "argv": [],
            "config_test": list(config_test),
        },
    }


RELOAD_NGINX = handler("reload", "nginx", "nginx", "-t", "-q")


def whole_service() -> list[dict[str, Any]]:
    """nginx and GoAccess with all that belongs to them."""
    account = {"comment": "Report", "system": True, "home": "/nonexistent", "create_home": False,
               "shell": "/usr/sbin/nologin"}  # fmt: skip
    folder = {"type": "directory", "mode": "0755", "owner": "goaccess", "group": "goaccess"}
    return [
        change("package:nginx", {}),
        change("package:goaccess", {}),
        change("user:goaccess", account),
        change("directory:/var/www/stats", folder),
        file_change("/etc/systemd/system/goaccess.service", GOACCESS_UNIT, **ROOTS),
        file_change("/etc/nginx/conf.d/hello.conf", SITE, **ROOTS),
        change("service:nginx", {"enabled": True, "active": True}),
        change("service:goaccess", {"enabled": True, "active": True}),
    ]


@pytest.fixture
def agent(host: LabHost) -> Iterator[AgentProcess]:
    running = agent_on(host)
    yield running
    running.end()


def on(host: LabHost, *argv: str) -> str:
    return host.exec(list(argv)).stdout.strip()


def port_8081(host: LabHost) -> str:
    program = (
        "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081').read().decode())"
    )
    return on(host, "python3", "-c", program)


@pytest.mark.parametrize("image_name", ["debian-11", "debian-12", "debian-13"])
def test_packages_users_and_services_leave_no_trace(labs: LabFactory, image_name: str) -> None:
    host = labs(1, image_name=image_name).hosts[0]
    agent = agent_on(host)
    before = state_of(host)
    reply = agent.apply(*whole_service(), handlers=[RELOAD_NGINX, handler("restart", "goaccess")])
    assert reply == {"commit": "c1", "state": "pending"}
    assert port_8081(host) == "hello"
    assert on(host, "systemctl", "is-active", "nginx", "goaccess") == "active\nactive"
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply == {
        "commit": "c1", "state": "reverted", "kept": [], "failed": [], "certificates_kept": []
    }  # fmt: skip
    assert differences(before, state_of(host)) == {}
    agent.end()


@pytest.fixture
def confirmed(host: LabHost, agent: AgentProcess) -> AgentProcess:
    """An agent on a host on which the whole service runs."""
    agent.apply(*whole_service(), handlers=[RELOAD_NGINX])
    assert agent.ask("confirm", commit="c1", verified=["hello"])["generation"] == 1
    return agent


def test_a_change_of_a_running_service_is_reverted(host: LabHost, confirmed: AgentProcess) -> None:
    before = state_of(host)
    main_pid = on(host, "systemctl", "show", "-P", "MainPID", "nginx")
    changed = SITE.replace(b"hello", b"changed")
    confirmed.apply(
        file_change("/etc/nginx/conf.d/hello.conf", changed, **ROOTS),
        commit="c2",
        handlers=[RELOAD_NGINX],
    )
    assert port_8081(host) == "changed"
    assert confirmed.ask("revert", commit="c2", why="a test")["state"] == "reverted"
    assert port_8081(host) == "hello"
    assert on(host, "systemctl", "show", "-P", "MainPID", "nginx") == main_pid
    assert differences(before, state_of(host)) == {}


def test_a_config_that_nginx_refuses_is_reverted(host: LabHost, confirmed: AgentProcess) -> None:
    before = state_of(host)
    with pytest.raises(AgentRefusal) as caught:
        confirmed.apply(
            file_change("/etc/nginx/conf.d/hello.conf", b"server { nonsense; }\n", **ROOTS),
            commit="c2",
            handlers=[RELOAD_NGINX],
        )
    assert caught.value.code == "config-test-failed"
    assert caught.value.error["resource_id"] == "handler:reload nginx"
    assert 'unknown directive "nonsense"' in caught.value.error["output"]
    assert caught.value.error["revert"]["state"] == "reverted"
    assert port_8081(host) == "hello"
    assert differences(before, state_of(host)) == {}


@pytest.mark.usefixtures("confirmed")
def test_a_reload_that_nginx_refuses_silently_is_noticed(host: LabHost) -> None:
    host.exec(
        ["systemd-run", "--unit=taken", "python3", "-m", "http.server", "-b", "127.0.0.1", "8082"]
    )
    host.exec(["sh", "-c", "until ss -ltn | grep -q :8082; do sleep 0.1; done"])
    before = state_of(host)
    taken = SITE.replace(b"8081", b"127.0.0.1:8082")
    unprepared = agent_on(host, readiness=False)
    with pytest.raises(AgentRefusal) as caught:
        unprepared.apply(
            file_change("/etc/nginx/conf.d/taken.conf", taken, **ROOTS),
            commit="c2",
            handlers=[RELOAD_NGINX],
        )
    assert caught.value.code == "step-failed"
    assert "rejected the new configuration during its reload" in caught.value.error["message"]
    assert "127.0.0.1:8082 failed" in caught.value.error["output"]
    assert caught.value.error["revert"]["state"] == "reverted"
    unprepared.end()
    assert port_8081(host) == "hello"
    assert differences(before, state_of(host)) == {}


def test_a_service_that_does_not_start_is_reverted(host: LabHost, agent: AgentProcess) -> None:
    before = state_of(host)
    unit = b"[Service]\nExecStart=/bin/sh -c 'echo no luck; exit 7'\nType=oneshot\n"
    with pytest.raises(AgentRefusal) as caught:
        agent.apply(
            file_change("/etc/systemd/system/broken.service", unit, **ROOTS),
            change("service:broken", {"active": True}),
        )
    assert caught.value.error["resource_id"] == "service:broken"
    assert "no luck" in caught.value.error["output"]
    assert caught.value.error["revert"]["state"] == "reverted"
    assert differences(before, state_of(host)) == {}
    assert on(host, "systemctl", "list-units", "--failed", "--no-legend", "broken*") == ""


def test_an_edit_in_between_survives_the_purge(host: LabHost, agent: AgentProcess) -> None:
    before = state_of(host)
    agent.apply(*whole_service(), handlers=[RELOAD_NGINX])
    host.exec(["sh", "-c", "echo '# mine' >> /etc/nginx/nginx.conf"])
    host.exec(["sh", "-c", "echo mine > /etc/nginx/conf.d/mine.conf; echo hi > /etc/motd.mine"])
    edited = on(host, "sha256sum", "/etc/nginx/nginx.conf")
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply["state"] == "revert-failed"
    assert reply["failed"] == []
    assert {"path": "/etc/nginx/nginx.conf", "why": "it was changed after the apply"} in reply[
        "kept"
    ]
    assert on(host, "sha256sum", "/etc/nginx/nginx.conf") == edited
    assert on(host, "cat", "/etc/nginx/conf.d/mine.conf", "/etc/motd.mine") == "mine\nhi"
    host.exec(["rm", "-r", "/etc/nginx", "/etc/motd.mine"])
    left = differences(before, state_of(host))
    assert set(left) <= {"/etc"}, "all but the edited files, and the time of their folder"
    assert agent.ask("history")["generations"][0]["state"] == "revert-failed"


def test_a_controller_that_disconnects_leaves_nothing(host: LabHost, agent: AgentProcess) -> None:
    before = state_of(host)
    leaving = agent_on(host)
    leaving.apply(*whole_service(), handlers=[RELOAD_NGINX], commit="gone")
    with pytest.raises(AgentRefusal, match="a different run is active") as caught:
        agent.apply(file_change("/etc/motd.mine", b"x"), commit="c2")
    assert caught.value.code == "locked"
    assert caught.value.error["holder"] == "ada from desk"
    leaving.end()
    assert agent.ask("history")["generations"][0]["state"] == "reverted"
    assert differences(before, state_of(host)) == {}


def test_a_controller_that_goes_during_the_apply(host: LabHost, agent: AgentProcess) -> None:
    before = state_of(host)
    leaving = agent_on(host)
    slow = change("command:wait", {"done": True, "argv": ["sleep", "50"], "creates": "/srv/never"})
    plan = leaving.plan(file_change("/etc/motd.mine", b"x"), slow)
    commit = {"id": "gone", "who": "ada", "from": "desk", "rollback_duration_s": 60}
    leaving.start("apply", plan=plan, commit=commit)
    while leaving.receive().get("resource_id") != "command:wait":
        pass
    leaving.end()
    record = agent.ask("history")["generations"][0]
    assert (record["commit"], record["state"]) == ("gone", "reverted")
    assert differences(before, state_of(host)) == {}


def test_a_removed_package_comes_back(host: LabHost, confirmed: AgentProcess) -> None:
    before = state_of(host)
    confirmed.apply(change("package:goaccess", None), commit="c2")
    assert confirmed.ask("facts", packages=["goaccess"])["packages"]["goaccess"] == {
        "installed": None,
        "candidate": before_version(before, "goaccess"),
    }
    assert confirmed.ask("revert", commit="c2", why="a test")["failed"] == []
    assert differences(before, state_of(host)) == {}


def before_version(state: dict[str, Any], package: str) -> str:
    return next(line.split()[1] for line in state["packages"] if line.startswith(package + " "))


def test_a_full_disk_is_refused_before_anything_is_changed(
    host: LabHost, agent: AgentProcess
) -> None:
    host.exec(["mkdir", "/srv/small"])
    host.exec(["mount", "-t", "tmpfs", "-o", "size=64k", "small", "/srv/small"])
    before = state_of(host)
    with pytest.raises(AgentRefusal) as caught:
        agent.apply(
            file_change("/etc/motd.mine", b"x"), file_change("/srv/small/big", b"x" * (1 << 17))
        )
    assert caught.value.code == "no-space"
    assert caught.value.error["path"] == "/srv/small"
    assert caught.value.error["needed_bytes"] > caught.value.error["free_bytes"]
    assert differences(before, state_of(host)) == {}


def test_a_disk_that_fills_up_during_the_apply(host: LabHost, agent: AgentProcess) -> None:
    host.exec(["mkdir", "/srv/small"])
    host.exec(["mount", "-t", "tmpfs", "-o", "size=64k", "small", "/srv/small"])
    before = state_of(host)
    fill = ["sh", "-c", "head -c 60000 /dev/zero > /srv/small/fill"]
    filling = change("command:fill", {"done": True, "argv": fill, "creates": "/srv/small/fill"})
    with pytest.raises(AgentRefusal) as caught:
        agent.apply(filling, file_change("/srv/small/new", b"x" * 20000))
    assert caught.value.code == "step-failed"
    assert "No space left on device" in caught.value.error["message"]
    assert caught.value.error["revert"]["state"] == "reverted"
    assert differences(before, state_of(host)) == {}


def test_a_controller_that_goes_during_an_install(host: LabHost, agent: AgentProcess) -> None:
    before = state_of(host)
    leaving = agent_on(host)
    plan = leaving.plan(*whole_service())
    commit = {"id": "gone", "who": "ada", "from": "desk", "rollback_duration_s": 60}
    leaving.start("apply", plan=plan, commit=commit)
    while "Unpacking" not in leaving.receive().get("text", ""):
        pass
    leaving.end()
    record = agent.ask("history")["generations"][0]
    assert (record["commit"], record["state"]) == ("gone", "reverted")
    assert differences(before, state_of(host)) == {}


def test_an_agent_killed_during_an_install(host: LabHost, agent: AgentProcess) -> None:
    before = state_of(host)
    dying = agent_on(host)
    plan = dying.plan(*whole_service())
    commit = {"id": "dead", "who": "ada", "from": "desk", "rollback_duration_s": 60}
    dying.start("apply", plan=plan, commit=commit)
    while "Setting up nginx-common" not in dying.receive().get("text", ""):
        pass
    host.exec(["kill", "-9", str(dying.hello["pid"])])
    host.exec(["sh", "-c", "kill -9 $(pgrep -x 'apt-get|dpkg')"])
    dying.end()
    assert agent.ask("facts", packages=[])["deployer"]["pending"]["commit"] == "dead"
    reply = agent.ask("revert", commit="dead", why="found")
    assert (reply["state"], reply["failed"], reply["kept"]) == ("reverted", [], [])
    assert differences(before, state_of(host)) == {}


def test_a_killed_revert_is_completed_by_the_next(host: LabHost, agent: AgentProcess) -> None:
    before = state_of(host)
    dying = agent_on(host)
    dying.apply(*whole_service(), handlers=[RELOAD_NGINX], commit="dead")
    host.exec(["sh", "-c", "echo mine > /etc/nginx/conf.d/mine.conf"])
    dying.start("revert", commit="dead", why="a test")
    while "Purging configuration files for nginx-common" not in dying.receive().get("text", ""):
        pass
    host.exec(["kill", "-9", str(dying.hello["pid"])])
    host.exec(["sh", "-c", "while pgrep -x 'apt-get|dpkg'; do sleep 0.1; done"])
    dying.end()
    reply = agent.ask("revert", commit="dead", why="found")
    assert reply["failed"] == []
    assert "/etc/nginx/conf.d/mine.conf" in {item["path"] for item in reply["kept"]}
    assert on(host, "cat", "/etc/nginx/conf.d/mine.conf") == "mine"
    host.exec(["rm", "-r", "/etc/nginx"])
    assert set(differences(before, state_of(host))) <= {"/etc"}
