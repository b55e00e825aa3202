"""What the agent says a proxy has loaded, over processes that look like one; and what is owed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.agent import settings
from deployer.agent.loaded import LoadedFiles, _write_record, loaded_attributes, sign_of
from deployer.agent.owed import _all_owed, _is_still_owed, note_owed, settle_owed
from deployer.agent.processes import processes_of, uptime_ns

#: Replaces a master: starts a child with each title that comes in, and says the child's number.
_MASTER = """
import subprocess, sys
for line in sys.stdin:
    print(subprocess.Popen([line.strip(), "-c", "import time; time.sleep(600)"],
                           executable=sys.argv[1]).pid, flush=True)
"""
WORKER = "nginx: worker process"
LEAVING = "nginx: worker process is shutting down"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> Iterator[None]:
    """The agent has folders of its own."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "state").mkdir()
    settings.configure(cache=str(tmp_path / "cache"), state=str(tmp_path / "state"))
    yield
    settings.configure()


class Proxy:
    """Processes with nginx's names and titles; Python's `-c` is no title, but follows it."""

    def __init__(self, folder: Path) -> None:
        program = folder / "nginx"
        program.symlink_to(sys.executable)
        self._master = subprocess.Popen(
            [str(program), "-c", _MASTER, sys.executable],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._master.pid
        self.workers: list[int] = []

    def start(self, title: str = WORKER) -> int:
        assert self._master.stdin is not None
        assert self._master.stdout is not None
        self._master.stdin.write(title + "\n")
        self._master.stdin.flush()
        pid = int(self._master.stdout.readline())
        self.workers.append(pid)
        while title.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
            time.sleep(0.001)
        return pid

    def stop(self, pid: int) -> None:
        os.kill(pid, 9)
        self.workers.remove(pid)
        while Path(f"/proc/{pid}/cmdline").read_bytes():
            time.sleep(0.001)

    def end(self) -> None:
        for pid in self.workers:
            os.kill(pid, 9)
        self._master.communicate()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    processes = Proxy(tmp_path)
    yield processes
    processes.end()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.conf"
    path.write_text("one")
    wait_for_a_tick()
    return path


def wait_for_a_tick() -> None:
    """Until the former times are certain to be past: a tick, and an interrupt of the clock."""
    until = time.monotonic() + 0.03
    while time.monotonic() < until:
        time.sleep(0.001)


def not_loaded(proxy: Proxy, *files: Path) -> Any:
    shown = {"MainPID": str(proxy.pid)}
    answer = loaded_attributes(shown, "nginx", [str(file) for file in files])
    return answer and answer["not_loaded"]


def note(proxy: Proxy, *files: Path) -> None:
    """What an apply notes before it begins."""
    running = processes_of(proxy.pid)
    loaded = LoadedFiles("nginx", running)
    signs = {str(file): loaded.as_known(str(file)) for file in files}
    _write_record("nginx", running, signs, uptime_ns())


# --- by the times ---------------------------------------------------------------------------------


def test_a_file_from_before_the_worker_is_loaded_and_a_later_one_is_not(
    proxy: Proxy, file: Path
) -> None:
    proxy.start()
    assert not_loaded(proxy, file) == []
    wait_for_a_tick()
    file.write_text("two")
    os.utime(file, (0, 0))
    assert not_loaded(proxy, file) == [str(file)]


def test_a_worker_that_was_started_again_has_read_nothing(proxy: Proxy, file: Path) -> None:
    proxy.start()
    victim = proxy.start()
    wait_for_a_tick()
    file.write_text("two")
    wait_for_a_tick()
    proxy.stop(victim)
    proxy.start()
    assert not_loaded(proxy, file) == [str(file)]


def test_workers_that_are_leaving_do_not_count(proxy: Proxy, file: Path) -> None:
    proxy.start(LEAVING)
    proxy.start("nginx: cache manager process")
    assert not_loaded(proxy, file) is None
    wait_for_a_tick()
    file.write_text("two")
    wait_for_a_tick()
    proxy.start()
    assert not_loaded(proxy, file) == []


def test_the_end_of_the_tick_decides(proxy: Proxy, file: Path) -> None:
    proxy.start()
    loaded = LoadedFiles("nginx", processes_of(proxy.pid))
    end_ns = loaded._boot_ns + loaded._start_ns
    assert loaded.has("/x", {"t": "file", "h": "1", "c": end_ns - 1})
    assert not loaded.has("/x", {"t": "file", "h": "1", "c": end_ns})


def test_a_link_is_as_young_as_what_it_leads_to(proxy: Proxy, file: Path) -> None:
    link, dangling = file.with_name("link"), file.with_name("dangling")
    link.symlink_to(file.name)
    dangling.symlink_to("nowhere")
    wait_for_a_tick()
    proxy.start()
    assert not_loaded(proxy, link, dangling) == []
    wait_for_a_tick()
    file.write_text("two")
    assert not_loaded(proxy, link, dangling) == [str(link)]


def test_what_is_gone_or_not_a_proxy_is_not_guessed_about(proxy: Proxy, file: Path) -> None:
    proxy.start()
    assert not_loaded(proxy, file.with_name("gone")) == []
    for shown in (None, {"MainPID": "0"}, {"MainPID": str(os.getpid())}):
        assert loaded_attributes(shown, "nginx", [str(file)]) is None


# --- by the record --------------------------------------------------------------------------------


def test_the_record_decides_by_content(proxy: Proxy, file: Path) -> None:
    """As long as one of its workers is there: times do not matter, and no change is too fast."""
    proxy.start()
    victim = proxy.start()
    note(proxy, file)
    proxy.stop(victim)
    wait_for_a_tick()
    file.chmod(0o600)
    assert not_loaded(proxy, file) == []
    file.write_text("two")
    assert not_loaded(proxy, file) == [str(file)]
    file.write_text("one")
    assert not_loaded(proxy, file) == []
    file.unlink()
    assert not_loaded(proxy, file) == [str(file)]


def test_a_file_that_was_not_there(proxy: Proxy, file: Path) -> None:
    file.unlink()
    proxy.start()
    note(proxy, file)
    assert not_loaded(proxy, file) == []
    file.write_text("x")
    assert not_loaded(proxy, file) == [str(file)]


def test_what_was_not_loaded_is_not_noted_as_loaded(proxy: Proxy, file: Path) -> None:
    proxy.start()
    wait_for_a_tick()
    file.write_text("two")
    note(proxy, file)
    assert not_loaded(proxy, file) == [str(file)]
    note(proxy, file)
    assert not_loaded(proxy, file) == [str(file)]


def test_later_processes_have_read_what_is_untouched_since_the_record(
    proxy: Proxy, file: Path
) -> None:
    """Whatever the clock says: it was set back by an hour, say."""
    worker = proxy.start()
    sign = sign_of(str(file))
    sign["c"] += 3600 * 10**9
    running = processes_of(proxy.pid)
    _write_record("nginx", running, {str(file): sign}, uptime_ns())
    wait_for_a_tick()
    proxy.start()
    proxy.stop(worker)
    loaded = LoadedFiles("nginx", processes_of(proxy.pid))
    assert loaded.has(str(file), sign)
    assert not loaded.has(str(file), {**sign, "c": sign["c"] + 1})
    assert not loaded.has(str(file), {**sign, "h": "other"})


def test_a_damaged_record_is_none(proxy: Proxy, file: Path) -> None:
    proxy.start()
    note(proxy, file)
    Path(settings.LOADED, "nginx.json").write_text('{"main": [')
    assert not_loaded(proxy, file) == []


def test_the_record_is_root_s_alone(proxy: Proxy, file: Path) -> None:
    proxy.start()
    note(proxy, file)
    record = Path(settings.LOADED, "nginx.json")
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700


# --- owed -----------------------------------------------------------------------------------------

RELOAD = {"name": "reload nginx", "action": "reload", "unit": "nginx", "argv": [],
          "config_test": ["nginx", "-t"]}  # fmt: skip
RESTART = {"name": "restart app", "action": "restart", "unit": "app", "argv": []}
COMMAND = {"name": "run it", "action": "run", "unit": "", "argv": ["it", "--secret=x"]}


@pytest.fixture
def commit(tmp_path: Path) -> str:
    folder = tmp_path / "c1"
    folder.mkdir()
    (folder / "meta.json").write_text(
        json.dumps({"commit": "c1", "who": "ada", "from": "desk", "time": "t"})
    )
    return str(folder)


def owed() -> list[str]:
    return [item["handler"]["name"] for item in _all_owed()]


def test_what_is_owed_is_noted_once_and_settled_by_its_success(commit: str) -> None:
    note_owed([RELOAD, RESTART, COMMAND], commit)
    (first, _) = _all_owed()
    note_owed([RELOAD], commit)
    assert _all_owed()[0] == first
    assert first["handler"] == {key: value for key, value in RELOAD.items() if key != "argv"}
    assert (first["commit"], first["who"], first["from"]) == ("c1", "ada", "desk")
    assert "secret" not in Path(settings.OWED).read_text()
    assert Path(settings.OWED).stat().st_mode & 0o777 == 0o600
    assert owed() == ["reload nginx", "restart app"]
    settle_owed({**RESTART, "action": "reload"})
    assert owed() == ["reload nginx", "restart app"], "a reload does not do for a restart"
    settle_owed(RESTART)
    assert owed() == ["reload nginx"]
    settle_owed({**RELOAD, "action": "restart", "name": "another"})
    assert not Path(settings.OWED).exists()
    settle_owed(RELOAD)


def test_nothing_owed_leaves_no_file(commit: str) -> None:
    note_owed([], commit)
    note_owed([COMMAND], commit)
    assert not Path(settings.OWED).exists()


def test_a_boot_pays_all(commit: str) -> None:
    note_owed([RELOAD], commit)
    document = json.loads(Path(settings.OWED).read_text())
    document["owed"][0]["boot_id"] = "another"
    Path(settings.OWED).write_text(json.dumps(document))
    assert owed() == []


def test_any_reload_settles_what_is_owed(proxy: Proxy, commit: str) -> None:
    worker = proxy.start()
    wait_for_a_tick()
    note_owed([RELOAD], commit)
    (item,) = _all_owed()
    shown = {"ActiveState": "active", "MainPID": str(proxy.pid)}
    assert _is_still_owed(item, shown)
    assert not _is_still_owed(item, {**shown, "ActiveState": "inactive"})
    wait_for_a_tick()
    proxy.start()
    assert _is_still_owed(item, shown), "the other worker crashed"
    proxy.stop(worker)
    assert not _is_still_owed(item, shown)
