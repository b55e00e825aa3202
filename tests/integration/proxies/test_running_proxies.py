"""Proxies that are made to read their files: proof that they have, what is looked at before, what
becomes of open connections, and how all of it is reverted.

All tests share one host with all three; each leaves it as it was.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.agent.on_host import agent_on
from tests.support.agent.process import AgentProcess
from tests.support.lab_factory import LabFactory
from tests.support.proxies.three_proxies import (
    APACHE,
    HAPROXY,
    NGINX,
    PROXIES,
    RunningProxy,
    answers,
    apply,
    echoes,
    idle_client,
    occupy,
    set_up,
    web_socket,
)
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.lab

each_proxy = pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)


@pytest.fixture(scope="module")
def shared(shared_lab: Lab) -> LabHost:
    (host,) = shared_lab.hosts
    set_up(host)
    return host


@pytest.fixture
def host(shared: LabHost) -> Iterator[LabHost]:
    """The shared host, on which every proxy answers with its first configuration, also after."""
    yield shared
    shared.sh("systemctl stop other 2>/dev/null; true")
    changed = [each for each in PROXIES.values() if shared.sh(f"cat {each.path}") != each.config]
    for proxy in changed:
        shared.exec(["tee", proxy.path], stdin=proxy.config)
        shared.sh(f"systemctl restart {proxy.unit}")
    assert not changed
    for proxy in PROXIES.values():
        assert answers(shared, proxy), proxy.unit


@pytest.fixture
def agent(host: LabHost) -> Iterator[AgentProcess]:
    """An agent that reverts at its end what is still pending."""
    process = agent_on(host)
    yield process
    process.end()


def main_process(host: LabHost, proxy: RunningProxy) -> str:
    return host.sh(f"systemctl show -p MainPID --value {proxy.unit}").strip()


def not_loaded(agent: AgentProcess, proxy: RunningProxy) -> list[str] | None:
    """`None` while new workers are still to come."""
    seen = agent.probe("loaded", proxy.unit, files=[proxy.path])["attributes"]
    files: list[str] | None = seen and seen["not_loaded"]
    return files


# --- proof ----------------------------------------------------------------------------------------


@each_proxy
def test_a_reload_is_proved(host: LabHost, agent: AgentProcess, proxy: RunningProxy) -> None:
    """It is over when new clients are served by the new configuration, and old ones live on."""
    port = proxy.port + 100
    address = f":{port}" if proxy is HAPROXY else str(port)
    with web_socket(host, proxy) as line:
        main = main_process(host, proxy)
        assert apply(agent, proxy, proxy.listening(address)) == {}
        socket.create_connection((host.address, port), timeout=PATIENCE_S).close()
        assert not_loaded(agent, proxy) == []
        assert main_process(host, proxy) == main
        assert echoes(line)
        agent.ask("revert", commit="c1", why="a test")
        assert not_loaded(agent, proxy) == []
        assert echoes(line)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host.address, port), timeout=PATIENCE_S)


def fails_without_a_word(host: LabHost) -> None:
    """systemctl reports success, but Apache is gone. The revert starts it."""
    occupy(host, 8099)
    for proxy, address, words, reason in (
        (NGINX, "8099", "nginx rejected the new configuration", "Address already in use"),
        (APACHE, "8099", "Apache exited during its reload", "make_sock: could not bind to address"),
        (HAPROXY, ":8099", "HAProxy rejected the new configuration", "cannot bind socket"),
    ):
        agent = agent_on(host, readiness=False)  # which would have seen it before
        with web_socket(host, proxy) as line:
            error = apply(agent, proxy, proxy.listening(address))
            assert words in error["message"]
            assert reason in error["output"]
            assert error["revert"]["state"] == "reverted", error
            assert echoes(line) is (proxy is not APACHE)  # systemd ends what that has left
        assert answers(host, proxy)
        assert not_loaded(agent, proxy) == []
        assert apply(agent, proxy, proxy.config + "# more\n") == {}
        agent.end()
        assert answers(host, proxy)


def test_a_reload_that_fails_silently(host: LabHost) -> None:
    fails_without_a_word(host)


def test_debian_11_fails_in_the_same_cases(labs: LabFactory) -> None:
    """HAProxy 2.2 reports it differently than later ones."""
    (host,) = labs(1, image_name="debian-11").hosts
    set_up(host)
    fails_without_a_word(host)


@each_proxy
def test_a_revert_starts_a_proxy_that_is_gone(
    host: LabHost, agent: AgentProcess, proxy: RunningProxy
) -> None:
    assert apply(agent, proxy, proxy.config + "# more\n") == {}
    host.exec(["systemctl", "kill", "--signal=KILL", proxy.unit])
    until(lambda: main_process(host, proxy) == "0" or proxy.unit == "haproxy")
    reply = agent.ask("revert", commit="c1", why="a test")
    assert reply["state"] == "reverted", reply
    assert answers(host, proxy)


def test_haproxy_without_a_frontend(host: LabHost, agent: AgentProcess) -> None:
    """As Debian's package brings it: it listens nowhere, and runs all the same."""
    empty = HAPROXY.config.partition("frontend")[0]
    assert apply(agent, HAPROXY, empty) == {}
    assert not_loaded(agent, HAPROXY) == []
    host.sh("systemctl restart haproxy")
    assert agent.ask("revert", commit="c1", why="a test")["state"] == "reverted"


# --- what has been loaded -------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", [APACHE, HAPROXY], ids=["apache", "haproxy"])
def test_what_a_running_proxy_has_loaded(
    host: LabHost, agent: AgentProcess, proxy: RunningProxy
) -> None:
    """By the times of processes and files: there is no record of what people do by hand."""
    assert not_loaded(agent, proxy) == []
    with web_socket(host, proxy) as line:
        host.exec(["tee", "-a", proxy.path], stdin="# by hand\n")
        assert not_loaded(agent, proxy) == [proxy.path]
        host.sh(f"systemctl reload {proxy.unit}")
        until(lambda: not_loaded(agent, proxy) == [])
        host.exec(["tee", proxy.path], stdin=proxy.config)
        assert not_loaded(agent, proxy) == [proxy.path]
        host.sh(f"systemctl reload {proxy.unit}")
        until(lambda: not_loaded(agent, proxy) == [])
        assert echoes(line)


# --- before ---------------------------------------------------------------------------------------

OWN = "while it still has a different address on that port"
OTHER = "python3 (process {} of other.service) listens there"
NOWHERE = "no interface of this host has that address"
MAXCONN = "maxconn 700000 in /etc/haproxy/haproxy.cfg needs 1400040 open files"


@pytest.mark.parametrize(
    ("proxy", "config", "words"),
    [
        (NGINX, NGINX.listening("8099"), f"on *:8099 ({NGINX.path}:6): {OTHER}"),
        (NGINX, NGINX.config.replace("8081", "127.0.0.1:8081"), OWN),
        (APACHE, APACHE.listening("0.0.0.0:8099"), f"on 0.0.0.0:8099 ({APACHE.path}:3): {OTHER}"),
        (APACHE, APACHE.config.replace("8082", "127.0.0.1:8082"), OWN),
        (APACHE, APACHE.listening("192.0.2.1:8099"), NOWHERE),
        (HAPROXY, HAPROXY.listening(":8099"), f"on *:8099 ({HAPROXY.path}:15): {OTHER}"),
        (HAPROXY, HAPROXY.listening("192.0.2.1:8099"), NOWHERE),
        (HAPROXY, HAPROXY.config.replace("daemon", "maxconn 700000"), MAXCONN),
    ],
)  # fmt: skip
def test_a_reload_that_would_fail_is_refused(
    host: LabHost, agent: AgentProcess, proxy: RunningProxy, config: str, words: str
) -> None:
    """The proxy is not even signalled: its processes are the old ones."""
    occupy(host, 8099)
    holder = host.sh("systemctl show -p MainPID --value other").strip()
    before = host.sh(f"pgrep -x {proxy.unit}")
    error = apply(agent, proxy, config)
    assert words.format(holder) in error["message"]
    assert error["revert"]["state"] == "reverted", error
    assert host.sh(f"pgrep -x {proxy.unit}") == before


def test_what_is_no_trouble_passes(host: LabHost, agent: AgentProcess) -> None:
    """nginx has one socket for a port; HAProxy's processes share; a restart closes first."""
    for proxy, config, action in (
        (NGINX, NGINX.listening("127.0.0.1:8081"), "reload"),
        (HAPROXY, HAPROXY.config.replace(":8083", "127.0.0.1:8083"), "reload"),
        (APACHE, APACHE.config.replace("8082", "127.0.0.1:8082"), "restart"),
    ):
        assert apply(agent, proxy, config, action=action) == {}
        agent.ask("revert", commit="c1", why="a test")


def test_a_limit_that_is_merely_tight_is_reported(host: LabHost, agent: AgentProcess) -> None:
    path, number = "/etc/nginx/nginx.conf", 300
    config = host.sh(f"cat {path}")
    tight = RunningProxy(
        unit="nginx", port=8081, path=path, config=config, test=NGINX.test, listen=""
    )
    assert apply(agent, tight, f"worker_rlimit_nofile {number};\n{config}") == {}
    (said,) = [event["text"] for event in agent.events if event["event"] == "said"]
    assert "worker_connections is 768, but a worker may open 300 files" in said
    assert "set worker_rlimit_nofile" in said
    agent.ask("revert", commit="c1", why="a test")


def test_apache_that_has_no_room_left(host: LabHost, agent: AgentProcess) -> None:
    """Each reload leaves a process to its connections; at the limit, Apache would hang silently."""
    with ExitStack() as stack:
        lines = []
        for number in range(3):
            lines.append(stack.enter_context(web_socket(host, APACHE)))
            assert agent.ask("places") == {"places": 3, "stay": number + 1}
            error = apply(agent, APACHE, f"{APACHE.config}# {number}\n")
            if number < 2:
                assert error == {}
                agent.ask("confirm", commit="c1", verified=[])
        assert "Apache has room for 3 processes (ServerLimit), and 3" in error["message"]
        assert "(3 WebSockets)" in error["message"]
        assert "systemctl restart apache2" in error["message"]
        assert error["revert"]["state"] == "reverted"
        assert answers(host, APACHE)
        assert all(map(echoes, lines))
    until(lambda: apply(agent, APACHE, APACHE.config) == {})
    agent.ask("confirm", commit="c1", verified=[])


# --- open connections -----------------------------------------------------------------------------


@each_proxy
def test_websockets_are_counted_and_idle_clients_are_not(
    host: LabHost, agent: AgentProcess, proxy: RunningProxy
) -> None:
    def counted() -> dict[str, Any]:
        about: dict[str, Any] = agent.ask("connections", units=[proxy.unit])["units"][proxy.unit]
        return about

    def websockets(*, old: bool) -> int:
        workers = [worker for worker in counted()["workers"] if worker["is_old"] is old]
        return sum(worker["websockets"] for worker in workers)

    with ExitStack() as stack:
        lines = [stack.enter_context(web_socket(host, proxy)) for _ in range(5)]
        for _ in range(4):
            stack.enter_context(idle_client(host, proxy))
        assert (websockets(old=False), websockets(old=True)) == (5, 0)
        assert sum(worker["connections"] for worker in counted()["workers"]) == 9
        host.sh(f"systemctl reload {proxy.unit}")
        until(lambda: websockets(old=True) == 5)
        assert websockets(old=False) == 0
        lines.append(stack.enter_context(web_socket(host, proxy)))
        assert (websockets(old=False), websockets(old=True)) == (1, 5)
        assert all(map(echoes, lines))
    assert counted()["drain_s"] == (5400.0 if proxy is HAPROXY else None)


def test_what_does_not_run_is_left_out(agent: AgentProcess) -> None:
    assert agent.ask("connections", units=["nginx", "cron", "gone"])["units"].keys() == {"nginx"}
