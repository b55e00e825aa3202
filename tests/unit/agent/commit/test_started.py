"""Services that a commit starts: up by themselves, or not confirmed.

systemctl is played by a text; the sockets and processes are those of this machine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.agent import settings
from deployer.agent.commit import port_owners, started, unit_states
from deployer.agent.commit.port_owners import mentions
from deployer.agent.commit.started import Confirmation, StartedServices
from deployer.agent.errors import Refusal, StepError
from deployer.agent.processes import TICK_NS, started_at

CHAT, OLD = "/system.slice/chat.service", "/system.slice/old.service"


class Host:
    """systemctl about one unit, chat, and the cgroup of each process."""

    def __init__(self) -> None:
        self.cgroups = {os.getpid(): CHAT}
        self.listen = ""
        self.others: list[dict[str, str]] = []
        self.chat: dict[str, str] = {
            "Id": "chat.service",
            "LoadState": "loaded",
            "ActiveState": "inactive",
            "SubState": "dead",
            "Result": "success",
            "Type": "simple",
            "MainPID": "0",
            "InvocationID": "",
            "NRestarts": "0",
            "ControlGroup": "",
            "TriggeredBy": "",
            "InactiveExitTimestampMonotonic": "0",
        }

    def start(self, **more: str) -> None:
        self.chat.update(
            ActiveState="active",
            SubState="running",
            MainPID=str(os.getpid()),
            InvocationID=f"{int(self.chat['InvocationID'] or '0') + 1}",
            ControlGroup=CHAT,
        )
        self.chat.update(more)

    def run(self, argv: list[str], **_: Any) -> tuple[int, str]:
        if argv[-1] == "*.socket":
            return 0, f"Id=chat.socket\n{self.listen}\nTriggers=chat.service"
        if argv[:2] == ["systemctl", "show"]:
            every = [self.chat, *self.others]
            names = [each.partition(".")[0] for each in argv[argv.index("--") + 1 :]]
            shown = [u for u in every if names == ["*"] or u["Id"].partition(".")[0] in names]
            rows = ["\n".join(f"{key}={value}" for key, value in u.items()) for u in shown]
            return 0, "\n\n".join(rows)
        return 0, "its last words"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(settings, "SYSTEMD_RUNS", "/")
    monkeypatch.setattr(port_owners, "cgroup_of", lambda pid: made.cgroups.get(pid, "/elsewhere"))
    for name in ("_PATIENCE_S", "_HANDOVER_S", "_SETTLED_S", "_WATCHED_S"):
        monkeypatch.setattr(started, name, 0.2)
    monkeypatch.setattr(started, "_WATCH_PAUSE_S", 0.01)
    return made


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def other() -> Iterator[tuple[int, int]]:
    """A different process that listens: its ID, and its port."""
    program = "import socket; s = socket.create_server(('127.0.0.1', 0)); "
    program += "print(s.getsockname()[1], flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.pid, int(process.stdout.readline())
    process.communicate("\n")


def plan(listens: list[str] | None = None, action: str = "update") -> dict[str, Any]:
    after: dict[str, Any] = {"active": True, "enabled": True}
    if listens is not None:
        after["listens"] = listens
    change = {"resource_id": "service:chat", "action": action, "after": after, "stage": 0}
    return {"changes": [change], "handlers": []}


def sites(*ports: int) -> list[dict[str, Any]]:
    upstreams = [{"host": "127.0.0.1", "port": port, "socket": ""} for port in ports]
    return [{"routes": [{"upstreams": upstreams}]}]


def commit(host: Host, folder: Path, *, listens: list[str] | None = None, to: int = 0) -> None:
    """Start chat as a commit does, up to the confirmation."""
    watched = StartedServices(host, plan(listens), sites(to) if to else [])  # type: ignore[arg-type]
    host.start()
    watched.check()
    watched.record(str(folder))


def confirm(host: Host, folder: Path) -> None:
    Confirmation(host, str(folder)).check()  # type: ignore[arg-type]


def refusal(host: Host, folder: Path) -> str:
    with pytest.raises(Refusal) as refused:
        confirm(host, folder)
    assert refused.value.reply["code"] == "not-up"
    assert refused.value.reply["output"]
    return str(refused.value.reply["message"])


def test_a_service_with_its_own_port(host: Host, port: int, tmp_path: Path) -> None:
    commit(host, tmp_path, listens=[str(port)], to=port)
    confirm(host, tmp_path)


def test_a_process_in_a_cgroup_below(host: Host, port: int, tmp_path: Path) -> None:
    host.cgroups[os.getpid()] = CHAT + "/worker-1"
    commit(host, tmp_path, listens=[str(port)])
    confirm(host, tmp_path)


def test_a_stranger_on_the_declared_port_fails_the_apply(
    host: Host, other: tuple[int, int], tmp_path: Path
) -> None:
    pid, port = other
    host.cgroups[pid] = OLD
    with pytest.raises(StepError) as failed:
        commit(host, tmp_path, listens=[str(port)], to=port)
    words = failed.value.message
    assert f"chat does not have 127.0.0.1:{port}: " in words
    assert f"(process {pid}" in words


def test_a_stranger_that_comes_during_the_verification(
    host: Host, other: tuple[int, int], tmp_path: Path
) -> None:
    pid, port = other
    host.cgroups[pid] = CHAT
    commit(host, tmp_path, listens=[str(port)], to=port)
    host.cgroups[pid] = OLD
    assert f"chat does not have 127.0.0.1:{port}" in refusal(host, tmp_path)


def test_a_process_that_the_last_stop_left_running(host: Host, port: int, tmp_path: Path) -> None:
    """``KillMode=process``: it is in the unit's cgroup, but older than its start."""
    watched = StartedServices(host, plan([str(port)]), sites(port))  # type: ignore[arg-type]
    now_us = time.monotonic_ns() // 1000
    host.start(
        InactiveEnterTimestampMonotonic=str(now_us + 1_000_000),
        InactiveExitTimestampMonotonic=str(now_us + 1_000_000),
    )
    with pytest.raises(StepError):
        watched.check()


@pytest.mark.parametrize(
    ("inactive_s", "start_s"),
    [(None, 1), (-1, 1), (1, -1)],
    ids=["the first start", "a later start", "a one-shot unit that is done"],
)
def test_a_process_of_this_start(
    inactive_s: int | None, start_s: int, host: Host, port: int
) -> None:
    """Times since the process was created: a busy host notes the start of a unit after that."""
    suspended_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    created_us = (started_at(os.getpid()) * TICK_NS - suspended_ns) // 1000
    inactive_us = 0 if inactive_s is None else created_us + inactive_s * 1_000_000
    watched = StartedServices(host, plan([str(port)]), sites(port))  # type: ignore[arg-type]
    host.start(
        InactiveEnterTimestampMonotonic=str(inactive_us),
        InactiveExitTimestampMonotonic=str(created_us + start_s * 1_000_000),
    )
    watched.check()


def test_nothing_listens(host: Host, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    commit(host, tmp_path, listens=[str(port)])
    assert refusal(host, tmp_path) == f"chat is active, but does not listen on port {port}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"NRestarts": "1"}, "chat does not stay up: it ended, and systemd restarted it 1 time"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "chat does not stay up"),
        ({"ActiveState": "failed", "Result": "exit-code"}, "it is failed (exit-code)"),
        ({"ActiveState": "inactive"}, "chat is not running: it is inactive"),
        ({"InvocationID": "99"}, "chat was restarted while its sites were verified"),
        ({"MainPID": "0"}, "the main process of chat changed while its sites were verified"),
    ],
)
def test_a_service_that_does_not_stay_up(
    change: dict[str, str], words: str, host: Host, tmp_path: Path
) -> None:
    commit(host, tmp_path, listens=[])
    host.chat.update(change)
    assert words in refusal(host, tmp_path)


def test_a_process_that_already_ran_becomes_the_main_one(host: Host, tmp_path: Path) -> None:
    commit(host, tmp_path, listens=[])
    host.chat["MainPID"] = str(os.getppid())
    confirm(host, tmp_path)


def test_a_main_process_that_is_newer(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(host, tmp_path, listens=[])
    monkeypatch.setattr(unit_states, "started_at", lambda pid: 1 << 40)
    host.chat["MainPID"] = "4321"
    assert "the main process of chat changed" in refusal(host, tmp_path)


def test_a_crash_some_seconds_after_the_start(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has passed every check by then."""
    host.chat["InactiveExitTimestampMonotonic"] = str(time.monotonic_ns() // 1000)
    commit(host, tmp_path, listens=[])
    monkeypatch.setattr(started, "_SETTLED_S", 60.0)
    looks = iter(range(100))
    run = host.run

    def crashes(argv: list[str], **given: Any) -> tuple[int, str]:
        if "show" in argv and next(looks) == 3:
            host.chat["NRestarts"] = "1"
        return run(argv, **given)

    monkeypatch.setattr(host, "run", crashes)
    assert "chat does not stay up" in refusal(host, tmp_path)


def test_a_site_whose_service_is_gone(host: Host, tmp_path: Path) -> None:
    """A one-shot unit that started a daemon stays active when that ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        commit(host, tmp_path, to=port)
    assert f"nothing listens on 127.0.0.1:{port} any more" in refusal(host, tmp_path)


@pytest.mark.parametrize(
    ("worker", "is_watched"),
    [
        ({"FragmentPath": "/etc/systemd/system/worker.service"}, True),
        ({"FragmentPath": "/lib/systemd/system/worker.service"}, False),
        ({"FragmentPath": "/etc/systemd/system/worker.service", "Type": "oneshot"}, False),
    ],
)
def test_a_service_that_a_target_starts(
    worker: dict[str, str], is_watched: bool, host: Host, tmp_path: Path
) -> None:
    watched = StartedServices(host, plan(), [])  # type: ignore[arg-type]
    host.start()
    host.others = [{**host.chat, "Id": "worker.service", "InvocationID": "77", **worker}]
    watched.record(str(tmp_path))
    host.others[0].update(ActiveState="failed", Result="exit-code")
    if is_watched:
        assert "worker is not running: it is failed (exit-code)" in refusal(host, tmp_path)
    else:
        confirm(host, tmp_path)


def test_a_crash_during_the_apply_fails_it_before_a_reload(host: Host, tmp_path: Path) -> None:
    watched = StartedServices(host, plan([]), [])  # type: ignore[arg-type]
    host.start()
    watched.check()
    host.chat["NRestarts"] = "2"
    with pytest.raises(StepError, match="systemd restarted it 2 times"):
        watched.check()


def test_a_restart_by_hand_during_the_apply_is_none(host: Host, tmp_path: Path) -> None:
    """A package that is installed later may restart services."""
    watched = StartedServices(host, plan([]), [])  # type: ignore[arg-type]
    host.start()
    watched.check()
    host.start()
    watched.record(str(tmp_path))
    confirm(host, tmp_path)


def test_a_service_that_its_socket_starts(
    host: Host, other: tuple[int, int], tmp_path: Path
) -> None:
    """systemd listens for it; the service ends when it is idle."""
    host.cgroups[os.getpid()] = "/init.scope"
    pid, port = other
    host.cgroups[pid] = CHAT
    commit(host, tmp_path, listens=[str(port)])
    host.chat.update(ActiveState="inactive", TriggeredBy="chat.socket", InvocationID="7")
    confirm(host, tmp_path)


@pytest.mark.parametrize(
    ("listen", "is_its_own"),
    [
        ("Listen=[::]:1 (Stream)\nListen=127.0.0.1:{port} (Stream)", True),
        ("Listen=[::]:1 (Stream)", False),
        ("Listen=[::1]:{port} (Stream)", False),
    ],
)
def test_a_socket_that_systemd_holds(
    listen: str,
    is_its_own: bool,
    host: Host,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(port_owners, "SYSTEMD_PID", os.getpid())
    host.listen = listen.format(port=port)
    host.chat["TriggeredBy"] = "chat.socket"
    if is_its_own:
        commit(host, tmp_path, listens=[str(port)], to=port)
        confirm(host, tmp_path)
    else:
        with pytest.raises(StepError):
            commit(host, tmp_path, listens=[str(port)], to=port)


@pytest.mark.parametrize("runtime", [(), (Path(sys.executable).name, "pytest")])
def test_a_port_behind_address_translation(
    runtime: tuple[str, ...], host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something answers, but no process here accepts it: the unit has to run a container."""
    monkeypatch.setattr(port_owners, "answers", lambda _: True)
    monkeypatch.setattr(port_owners, "_RUNTIMES", runtime)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    if runtime:
        commit(host, tmp_path, listens=[str(port)])
        confirm(host, tmp_path)
    else:
        with pytest.raises(StepError, match="a process that cannot be seen"):
            commit(host, tmp_path, listens=[str(port)])


def test_a_one_shot_service_is_done(host: Host, tmp_path: Path) -> None:
    commit(host, tmp_path)
    host.chat.update(ActiveState="inactive", Type="oneshot", MainPID="0")
    confirm(host, tmp_path)


# --- services that declare no port ----------------------------------------------------------------


def test_a_port_that_the_service_had_is_taken(
    host: Host, other: tuple[int, int], tmp_path: Path
) -> None:
    pid, port = other
    host.start()
    host.cgroups[pid] = CHAT
    watched = StartedServices(host, plan(), sites(port))  # type: ignore[arg-type]
    host.start()
    watched.record(str(tmp_path))
    host.cgroups[pid] = OLD
    words = refusal(host, tmp_path)
    assert f"chat does not have 127.0.0.1:{port}" in words
    assert "add listens: [] to its service task" in words


def test_a_port_that_its_command_line_names(
    host: Host, other: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = other
    commit(host, tmp_path, to=port)
    monkeypatch.setattr(started, "mentions", lambda pids, endpoint: endpoint["port"] == port)
    assert f"chat does not have 127.0.0.1:{port}" in refusal(host, tmp_path)


def test_a_service_that_finds_out_late_that_its_port_is_taken(
    host: Host, other: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts no connections, so it is watched for a while."""
    _, port = other
    now_us = time.monotonic_ns() // 1000
    host.chat["InactiveExitTimestampMonotonic"] = str(now_us)
    commit(host, tmp_path, to=port)
    began = time.monotonic()
    monkeypatch.setattr(started, "_WATCHED_S", 60.0)
    looks = iter(range(100))
    run = host.run

    def dies(argv: list[str], **given: Any) -> tuple[int, str]:
        if next(looks) == 3:
            host.chat["NRestarts"] = "1"
        return run(argv, **given)

    monkeypatch.setattr(host, "run", dies)
    assert "chat does not stay up" in refusal(host, tmp_path)
    assert time.monotonic() - began < 30


def test_a_worker_that_ran_before_is_not_waited_for(
    host: Host, other: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = other
    host.start()
    host.chat["InactiveExitTimestampMonotonic"] = str(time.monotonic_ns() // 1000)
    watched = StartedServices(host, plan(), sites(port))  # type: ignore[arg-type]
    host.start()
    watched.record(str(tmp_path))
    monkeypatch.setattr(started, "_WATCHED_S", 60.0)
    began = time.monotonic()
    confirm(host, tmp_path)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("words", "is_named"),
    [
        (["node", "server.js", "8000"], True),
        (["gunicorn", "-b", "127.0.0.1:8000", "app"], True),
        (["gunicorn", "--bind=:8000"], True),
        (["uvicorn", "--port", "8000"], True),
        (["daphne", "-p", "8000"], True),
        (["puma", "-b", "tcp://127.0.0.1:8000"], True),
        (["env", "PORT=8000"], True),
        (["worker", "--api", "http://127.0.0.1:8000/"], False),
        (["worker", "--memory", "8000"], False),
        (["worker", "--port", "18000"], False),
        (["worker", "--redis", "redis://localhost:8000/0"], False),
    ],
)
def test_what_names_a_port(words: list[str], is_named: bool) -> None:
    program = "import sys; print('up', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", program, *words]
    given = dict(each.split("=", 1) for each in words if each.startswith("PORT="))
    with subprocess.Popen(
        argv if not given else argv[:3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=given,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert mentions([process.pid], {"host": "127.0.0.1", "port": 8000}) == is_named
        assert process.stdin is not None
        process.stdin.close()
