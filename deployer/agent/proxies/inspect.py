"""Inspection of the proxies on this host: files, tests, logs, processes. Nothing is changed.

A proxy is found by its processes first, regardless of who started them, and then by its program:
one that has exited still has a configuration and logs. Without root rights, parts are missing, and
that is reported. Each proxy has its own module for what differs: `parts.Inspection`.

Everything has a limit in size and time. Source: proc(5), journalctl(1).
"""

from __future__ import annotations

import os
import re
import time

from deployer.agent import settings
from deployer.agent.cgroups import cgroup_of, unit_in
from deployer.agent.errors import os_words
from deployer.agent.files import names_in, read_text
from deployer.agent.listeners import listening_sockets, listens, sockets_of
from deployer.agent.processes import TICK_NS, children_of, started_at, uptime_ns
from deployer.agent.proxies import BY_UNIT, PROXIES, UNITS, connections
from deployer.agent.proxies.files import FileReader, Hurry, NotAFileError, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.proxies import Proxy
    from deployer.agent.proxies.parts import Inspection
    from deployer.agent.session import Session
    from deployer.agent.settings import Json


#: The names of main processes in other distributions, and their usual name.
_ALSO_CALLED = {name: each.unit for each in PROXIES.values() for name in each.also_called}
_LOG_LINES = 200
#: Request logs are in the journal too: they would displace the line that matters.
_JOURNAL_LINES = 2000
_WORTH_TELLING = re.compile(
    r"\b(?:emerg|alert|crit)\]|\[ALERT\]|bind|Too many open files|are not enough"
    r"|AH(?:00072|00484|00485|00493|00494|00159|00161|03490|01144)|SIGUSR1"
    r"| is (?:DOWN|UP)\b|systemd\[1\]|Loading failure"
)
_LOG_BYTES = 128 << 10
_LOG_FILES = 6
_MOST_PROCESSES = 2000
_JOURNAL_LIMIT_S = 5.0
#: For all programs together, unless the request says otherwise: a commit may be pending.
_LIMIT_S = 20.0


def inspect(session: Session, request: Json) -> Json:
    """The reply to ``inspect``, about all or some ``proxies``, in ``limit_s`` or little more.

    With ``running``, it is about every running instance, without logs, and ``others`` are the
    addresses of web servers that are not inspected; ``unread`` are the files that were not read,
    and ``addresses`` those of this host.
    """
    children = Hurry(session.children, float(request.get("limit_s") or _LIMIT_S))
    wanted = [str(word) for word in request.get("proxies") or PROXIES]
    notes: list[str] = []
    reader = FileReader()
    if os.geteuid() != 0:
        notes.append(
            "without root rights on the host: unreadable configuration, logs and processes"
            " are missing"
        )
    only_running = bool(request.get("running"))
    mains = _main_processes(notes)
    if only_running:
        mains = {name: _trusted(pids, notes) for name, pids in mains.items()}
    found = []
    for proxy in (PROXIES[word] for word in wanted if word in PROXIES):
        pids = mains.get(proxy.unit, [])
        if len(pids) > 1 and not only_running:
            notes.append(f"{len(pids)} {proxy.unit}s are running; process {pids[0]} was inspected")
        for main in pids if only_running else (pids or [0])[:1]:
            state = _state_of(children, proxy, main, reader, notes, has_log=not only_running)
            if state is not None:
                found.append(state)
    reply: Json = {}
    if only_running:
        from deployer.agent.addresses import host_addresses
        from deployer.agent.proxies.others import other_servers

        others = other_servers((pid for pids in mains.values() for pid in pids), notes)
        reply = {"unread": reader.notes, "others": others, "addresses": host_addresses()}
    return {"proxies": found, "notes": [*notes, *reader.notes], **reply}


def _trusted(pids: list[int], notes: list[str]) -> list[int]:
    """The main processes whose program may be run: the files of others would be guessed."""
    for pid in pids:
        if not _is_trusted(pid):
            notes.append(f"process {pid} does not belong to root: its program was not run")
    return [pid for pid in pids if _is_trusted(pid)]


def _main_processes(notes: list[str]) -> dict[str, list[int]]:
    """The main processes of each proxy, by name: those whose parent is a different program.

    Trusted ones come first, older ones before newer ones.

    Those in a different mount namespace run in a container: their files are not read.
    """
    found: dict[str, list[int]] = {}
    for word in names_in("/proc"):
        if not word.isdigit():
            continue
        name = _name_of(int(word))
        is_main = name in BY_UNIT and _name_of(_stat(int(word))["ppid"]) != name
        if is_main and _is_serving(int(word)):
            found.setdefault(name, []).append(int(word))
    mains = {}
    for name, pids in found.items():
        own = [pid for pid in sorted(pids, key=started_at) if not _is_contained(pid)]
        own.sort(key=lambda pid: not _is_trusted(pid))
        if own:
            mains[name] = own
        for pid in sorted(set(pids) - set(own)):
            notes.append(f"{name} process {pid} runs in a container: it was not inspected")
    return mains


def _is_serving(pid: int) -> bool:
    """Whether this is a server, not a configuration test or a command that sends a signal."""
    return bool(children_of(pid)) or listens(pid, listening_sockets(pid))


def _name_of(pid: int) -> str:
    name = read_text(f"/proc/{pid}/comm").strip()
    return _ALSO_CALLED.get(name, name)


def _is_contained(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt") and not (
            os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/"))
        )
    except OSError:
        return False


def _state_of(
    children: Hurry,
    proxy: Proxy,
    main: int,
    reader: FileReader,
    notes: list[str],
    *,
    has_log: bool = True,
) -> Json | None:
    """The state of one proxy; `None` if it is neither running nor installed."""
    unit, module = proxy.unit, proxy.inspection
    # A program of a different user is not run: this may be root.
    asked_main = main if _is_trusted(main) else 0
    if main and not asked_main:
        notes.append(
            f"the running {unit}, process {main}, does not belong to root: its program was not run"
        )
    program = _program(asked_main, module.PROGRAMS)
    if not main and not program:
        return None
    asked = module.ask(children, program, asked_main, reader)
    processes, websockets = _processes(main, unit, module) if main else ([], 0)
    current = [
        each["age_s"] for each in processes if each["ppid"] == main and not each["is_leaving"]
    ]
    return {
        "proxy": proxy.name,
        "version": asked["version"],
        "is_running": bool(main),
        "unit": unit_in(cgroup_of(main)) if main else "",
        "unit_state": _unit_state(children, unit),
        "started_s_ago": _age_s(main) if main else None,
        "accepted_reload_s_ago": max(current) if current else None,
        "config": asked["config"],
        "dump": asked["dump"],
        "test_ok": asked["test_ok"],
        "test_output": asked["test_output"],
        "log": _log(children, unit, asked["logs"], notes) if has_log else [],
        "processes": processes,
        "listeners": _listeners(main, processes) if main else [],
        "websockets": websockets,
        "local_time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _is_trusted(pid: int) -> bool:
    """Whether a process belongs to root or to this user, so that its program may be run.

    Anyone can choose a name, also for a program with more rights than its user.
    """
    users = set(_users(pid)) if pid else set()
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe").replace(" (deleted)", ""))
    except OSError:
        program = _name_of(pid)  # without root rights there is nothing to gain
    return bool(users) and users <= {0, os.geteuid()} and program in UNITS


def _users(pid: int) -> list[int]:
    """Real, effective and saved user ID. Source: proc_pid_status(5)."""
    found = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)", read_text(f"/proc/{pid}/status"), re.M)
    return [int(number) for number in found.groups()] if found else []


def _program(main: int, programs: tuple[str, ...]) -> str:
    """The program of a process, even if its file has been replaced since."""
    if main:
        try:
            path = os.readlink(f"/proc/{main}/exe").replace(" (deleted)", "")
        except OSError:
            path = ""  # not root
        if path and os.access(path, os.X_OK):
            return path
    return next((path for path in programs if os.access(path, os.X_OK)), "")


def _unit_state(children: Hurry, unit: str) -> str:
    if not os.path.isdir(settings.SYSTEMD_RUNS):
        return ""
    code, output = children.run(["systemctl", "is-active", unit], limit_s=_JOURNAL_LIMIT_S)
    return output.split()[0] if code is not None and output.split() else ""


# --- processes ------------------------------------------------------------------------------------


def _stat(pid: int) -> Json:
    """Source: proc_pid_stat(5); the name in brackets may contain anything."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 22:
        return {"ppid": 0, "threads": 0, "rss_bytes": 0}
    pages = int(fields[21])
    return {
        "ppid": int(fields[1]),
        "threads": int(fields[17]),
        "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


def _age_s(pid: int) -> float:
    return round((uptime_ns() - started_at(pid) * TICK_NS) / 1e9, 2)


def _processes(main: int, unit: str, module: Inspection) -> tuple[list[Json], int]:
    """The main process and its children, and how many WebSockets they have."""
    workers = {each["pid"]: each for each in connections.worker_connections(main, unit)}
    found = []
    for pid in [main, *sorted(children_of(main))][:_MOST_PROCESSES]:
        title = read_text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        if not title:
            continue  # it has ended by now
        worker = workers.get(pid)
        found.append(
            {
                "pid": pid,
                "age_s": _age_s(pid),
                **_stat(pid),
                "open_files": _open_files(pid),
                "files_limit": _files_limit(pid),
                "is_leaving": worker is not None and module.is_leaving(worker, main, title),
                "title": title[:200],
            }
        )
    return found, sum(int(each["websockets"]) for each in workers.values())


def _open_files(pid: int) -> int | None:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def _files_limit(pid: int) -> int | None:
    for line in read_text(f"/proc/{pid}/limits").splitlines():
        if line.startswith("Max open files"):
            word = line[len("Max open files") :].split()[0]
            return int(word) if word.isdigit() else None
    return None


def _listeners(main: int, processes: list[Json]) -> list[str]:
    """The addresses on which the proxy's processes accept connections."""
    tables = connections.Tables(main)
    held: set[str] = set()
    for each in processes[:64]:
        held |= sockets_of(each["pid"]) & set(tables.listening)
        if len(held) == len(tables.listening):
            break
    addresses = {tables.listening[inode] for inode in held}
    return [
        f"[{host}]:{port}" if ":" in host else f"{host or '0.0.0.0'}:{port}"  # noqa: S104 - shown
        for host, port in sorted(addresses, key=lambda each: (each[1], each[0]))
    ]


# --- logs -----------------------------------------------------------------------------------------


def _log(children: Hurry, unit: str, paths: list[str], notes: list[str]) -> list[str]:
    """The last lines of the unit's journal, then of each log file."""
    lines = _journal(children, unit)
    for path in list(dict.fromkeys(paths))[:_LOG_FILES]:
        try:
            with opened(path) as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _LOG_BYTES))
                tail = (log.read(_LOG_BYTES) or b"").decode("utf-8", "replace").splitlines()
        except (FileNotFoundError, NotAFileError):
            continue
        except OSError as error:
            notes.append(f"{path} cannot be read: {os_words(error)}")
            continue
        lines += _telling(tail)
    return [line[:2000] for line in lines[-2 * _LOG_LINES :]]


def _telling(lines: list[str]) -> list[str]:
    """The last lines, and from those before the significant ones."""
    half = _LOG_LINES // 2
    before = [line for line in lines[:-half] if _WORTH_TELLING.search(line)]
    return before[-half:] + lines[-half:]


def _journal(children: Hurry, unit: str) -> list[str]:
    if not os.path.isdir(settings.SYSTEMD_RUNS):
        return []
    argv = [
        "journalctl",
        "--quiet",
        "--no-pager",
        "--output=short-iso",
        f"--lines={_JOURNAL_LINES}",
    ]
    code, output = children.run([*argv, "--unit", unit], limit_s=_JOURNAL_LIMIT_S)
    return _telling(output.splitlines()) if code == 0 else []
