"""Which files a running proxy has loaded.

A proxy does not show its configuration. There are two sources: a record of the files as they were
before the agent made the proxy read them, valid as long as those processes live; otherwise the
start of the oldest current worker, compared with the times of the files."""

from __future__ import annotations

import os
import stat
import time

from deployer.agent import settings
from deployer.agent.encoding import canonical_json
from deployer.agent.errors import StepError
from deployer.agent.files import hash_of, look_at, read_json, type_of, write_synced
from deployer.agent.processes import is_proxy, main_pid, processes_of, start_ns, uptime_ns
from deployer.agent.services import Systemd, service_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployer.agent.children import Children
    from deployer.agent.settings import Json

#: The signature of a file that changed while it was read: no file ever matches it.
_UNKNOWN: Json = {"t": "unknown"}
_MAKE_IT_READ = ("reload", "restart", "start")


def sign_of(path: str) -> Json | None:
    """The signature of `path`: what a reader gets, and when that changed; `None` if it is missing.

    The time is the ctime: copying and moving may preserve the mtime, but nothing can set the ctime.
    """
    info = look_at(path)
    if info is None:
        return None
    sign: Json = {"t": type_of(info), "c": info.st_ctime_ns}
    if sign["t"] == "link":
        sign["to"] = os.readlink(path)
        path = os.path.realpath(path)
        try:
            info = os.stat(path)
        except OSError:
            return sign  # dangling
        sign["c"] = max(sign["c"], info.st_ctime_ns)
    if stat.S_ISREG(info.st_mode):
        sign["h"] = hash_of(path)
    return sign


def _same_content(one: Json | None, other: Json | None) -> bool:
    if one is None or other is None:
        return one is other
    return {**one, "c": 0} == {**other, "c": 0}


class LoadedFiles:
    """Which of some files a unit's running proxy has loaded, by the better of the two sources."""

    def __init__(self, unit: str, running: Json) -> None:
        record = read_json(_record_of(unit)) or {}
        self._known: dict[str, Json | None] = record.get("files", {})
        self.before = record.get("before", "")
        self.is_ours = _are_same(record, running)
        self._start_ns = start_ns(running)
        self._are_since_record = self._start_ns >= record.get("noted_ns", 0)
        # Two clocks that are read one after the other differ by too much rather than too little,
        # which makes files older, not newer.
        since_boot_ns = uptime_ns()
        self._boot_ns = time.time_ns() - since_boot_ns

    def has(self, path: str, now: Json | None) -> bool:
        """Whether `path`, with the signature `now`, is as the proxy read it."""
        if path in self._known:
            known = self._known[path]
            if self.is_ours:
                return _same_content(known, now)
            if known == now and self._are_since_record:
                return True  # unchanged since the record: later processes read this
        if now is None:
            return True  # it is unknown since when it is missing
        return bool(now["c"] - self._boot_ns < self._start_ns)

    def as_known(self, path: str) -> Json | None:
        """The signature to record for `path` as loaded by the present processes."""
        if self.is_ours and path in self._known:
            return self._known[path]
        now = sign_of(path)
        return now if self.has(path, now) else _UNKNOWN

    @property
    def names(self) -> set[str]:
        return set(self._known)


def _are_same(record: Json, running: Json) -> bool:
    """Whether the running processes have read nothing since `record` was written."""
    if record.get("main") != running["main"]:
        return False
    if running.get("read_ns"):
        return bool(record.get("read_ns") == running["read_ns"])
    workers = record.get("workers", [])
    return any(worker in workers for worker in running["workers"])


def _record_of(unit: str) -> str:
    return os.path.join(settings.LOADED, service_name(unit) + ".json")


def _write_record(
    unit: str, running: Json, files: Json, noted_ns: int, *, before: str = ""
) -> None:
    """Write a record; without one, the times of the files decide.

    `before` is the commit that has not yet made the unit read anything.
    """
    try:
        os.makedirs(settings.LOADED, 0o700, exist_ok=True)
        record = {**running, "noted_ns": noted_ns, "files": files, "before": before}
        write_synced(_record_of(unit), canonical_json(record))
    except OSError:
        pass


def loaded_attributes(shown: Json | None, unit: str, files: list[str]) -> Json | None:
    """Which of `files` the running proxy has not loaded in their present state; `None` if it is not
    running, or it cannot be determined."""
    running = processes_of(main_pid(shown)) if shown else None
    if running is None:
        return None
    loaded = LoadedFiles(unit, running)
    return {"not_loaded": [path for path in files if not loaded.has(path, sign_of(path))]}


def with_because(run: Json) -> Json:
    """The handler of a planned run, with the resources that cause it."""
    return {**run["handler"], "because": run["because"]}


def paths_because(handler: Json) -> list[str]:
    """The files that cause a handler."""
    asked = [resource_id.partition(":") for resource_id in handler.get("because", ())]
    return [name for kind, _, name in asked if kind in ("file", "link")]


def is_reload_for(run: Json, begun: set[Any]) -> bool:
    """Whether a planned run reloads because of something that changed: a unit that has read the
    changed files in between, at a log rotation for example, has to read the former ones again."""
    return run["handler"]["action"] == "reload" and not begun.isdisjoint(run["because"])


def has_loaded(children: Children, handler: Json) -> bool:
    """Whether a handler's unit certainly uses the present state of the files that it would read."""
    unit, paths = handler["unit"], paths_because(handler)
    if len(paths) < len(handler["because"]):
        return False  # it reads more than files
    try:
        attributes = loaded_attributes(Systemd(children).show([unit])[unit], unit, paths)
    except (StepError, OSError):
        return False
    return attributes is not None and not attributes["not_loaded"]


def is_as_before(children: Children, handler: Json, commit: str) -> bool:
    """Whether a handler's unit certainly uses what it had loaded before `commit` began."""
    unit = handler["unit"]
    try:
        running = processes_of(main_pid(Systemd(children).show([unit])[unit]))
    except StepError:
        return False
    loaded = LoadedFiles(unit, running) if running else None
    return loaded is not None and loaded.is_ours and loaded.before == commit


def note_loaded_before(children: Children, runs: list[Json], commit: str) -> None:
    """Record what the proxies have loaded before anything changes: restored files have new times,
    so only their content can show that nothing has to be read again."""
    handlers = [with_because(run) for run in runs if run["handler"]["action"] == "reload"]
    if not handlers or not os.path.isdir(settings.SYSTEMD_RUNS):
        return
    try:
        asked = dict.fromkeys(handler["unit"] for handler in handlers)
        units = Systemd(children).show(list(asked))
        for handler in handlers:
            unit = handler["unit"]
            running = processes_of(main_pid(units[unit]))
            if running is not None:
                noted_ns, loaded = uptime_ns(), LoadedFiles(unit, running)
                names = sorted({*loaded.names, *paths_because(handler)})
                files = {path: loaded.as_known(path) for path in names}
                _write_record(unit, running, files, noted_ns, before=commit)
    except (StepError, OSError):
        pass  # the times of the files decide


class Loading:
    """A unit that is about to read its files: made before the action, `done` after it.

    The signatures are from before: a file that changes in between never counts as loaded.
    """

    _LIMIT_S = 2.0

    def __init__(self, systemd: Systemd, handler: Json) -> None:
        self._systemd = systemd
        self._unit: str = handler.get("unit", "")
        self._noted_ns = uptime_ns()
        self._before: dict[str, Json | None] = {}
        self._is_of_use = bool(self._unit) and handler["action"] in _MAKE_IT_READ
        if self._is_of_use:
            known = (read_json(_record_of(self._unit)) or {}).get("files", {})
            self._before = {path: _sign_or_unknown(path) for path in paths_because(handler)}
            for path in known:
                sign = _sign_or_unknown(path)
                if sign is not None or known[path] is not None:
                    self._before.setdefault(path, sign)

    def done(self) -> None:
        """Record what was loaded, and by which processes."""
        running = self._running() if self._is_of_use else None
        if running is not None and start_ns(running) >= self._noted_ns:  # "start" may do nothing
            files = {
                path: sign if _sign_or_unknown(path) == sign else _UNKNOWN
                for path, sign in self._before.items()
            }
            _write_record(self._unit, running, files, self._noted_ns)

    def _running(self) -> Json | None:
        """The processes, once there are workers: a new one still has its parent's title."""
        deadline = time.monotonic() + self._LIMIT_S
        try:
            main = main_pid(self._systemd.show([self._unit])[self._unit])
        except StepError:
            return None  # the times of the files decide
        while is_proxy(main):
            running = processes_of(main)
            if running is not None or time.monotonic() > deadline:
                return running
            time.sleep(0.01)
        return None


def _sign_or_unknown(path: str) -> Json | None:
    try:
        return sign_of(path)
    except OSError:
        return _UNKNOWN
