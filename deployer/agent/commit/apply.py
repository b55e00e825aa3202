"""The part of deployer that works on the host: sent over standard input, needs Python 3.8 alone.

Theory of operation
===================

The agent answers requests that arrive as length-framed JSON on standard input, as described in
docs/reference/protocol.md. One
thread reads them and passes relayed bytes on; a second works on one request at a time, so that the
end of standard input, which means that the controller is gone, is noticed amid an apply.

An apply is a commit that must be confirmed. Before the first change, everything that is needed to
take it back is on the disk, in ``/var/lib/deployer/pending``:

``before.json``    a manifest of all of /etc, of /var/lib within bounds, and of every path that the
                   plan touches: type, mode, owner, time, link target, hash
``after.json``     the same manifest as the apply left it
``journal.jsonl``  one line an event, on the disk before the thing itself is done; each line holds
                   the hash of all lines up to it
``plan.json``      the plan, without contents
``meta.json``      who, when, from where, and what has become of it
``reserve``        room on the disk that a revert can count on

The contents of files that may change are in ``/var/lib/deployer/images``, each once.

A revert compares each path in three states: before, as we left it, now. What is as we left it goes
back, times included; what someone else has changed since stays and is reported. Packages are purged
by the package manager first, so that the files then only have to be put right. Confirm and revert
begin with the rename of ``pending``: only one of them can succeed. The states and what moves a
commit between them are those of `deployer/commit.py`.

Should the runner die, a watchdog takes its commit back: a timer of systemd at the deadline, a unit
in /etc at the next boot. Both are there before the first change, run a copy of this file with
``--revert``, and are gone when the commit has ended. A runner that lives has the lock, and decides.

What only some plans need, as certificates, comes in modules by the request ``load``. They add kinds
of resources and requests, and find this file as ``deployer.agent.commit.apply``.

Sections: settings, words, framing, children, looking at things, facts, probe, manifests, images,
state folder, journal, package managers, services, loaded, owed, steps, added, watchdog, apply,
putting back, revert, undo, relays, main loop, on its own.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import json
import os
import select
import signal
import stat
import struct
import sys
import threading
import time

TYPE_CHECKING = False  # typing itself is not worth its 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from hashlib import sha256
    from typing import Any

    Json = dict[str, Any]
    Entry = dict[str, Any]
    Manifest = dict[str, Entry]
else:
    try:
        from _sha256 import sha256  # hashlib loads OpenSSL, which takes longer than a whole probe
    except ImportError:
        from hashlib import sha256

# --- settings -------------------------------------------------------------------------------------

_SETTINGS: Json = {
    "state": "/var/lib/deployer",
    "etc": "/etc",
    "var_lib": "/var/lib",
    "cache": "/run/deployer",
    "alive_every_s": 5.0,
    "watchdog": True,
    "systemd": "/run/systemd/system",
    **globals().get("__settings__", {}),
}
STATE: str = _SETTINGS["state"]
ETC: str = _SETTINGS["etc"]
VAR_LIB: str = _SETTINGS["var_lib"]
CACHE: str = _SETTINGS["cache"]
ALIVE_EVERY_S: float = _SETTINGS["alive_every_s"]
WATCHDOG: bool = _SETTINGS["watchdog"]
SYSTEMD_RUNS: str = _SETTINGS["systemd"]  # there where systemd is init: sd_booted(3)

UNITS = os.path.join(ETC, "systemd/system")
BOOT_NAME = "deployer-revert.service"
BOOT_UNIT = os.path.join(UNITS, BOOT_NAME)
BOOT_WANTS = os.path.join(UNITS, "multi-user.target.wants")
BOOT_LINK = os.path.join(BOOT_WANTS, BOOT_NAME)

PROTOCOL = 1
MAX_MESSAGE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 16
SHOWN_BYTES = 1 << 20
OUTPUT_TAIL_BYTES = 16 << 10

CHILD_LIMIT_S = 60.0
COMMAND_LIMIT_S = 600.0
PACKAGE_LIMIT_S = 1800.0

# --- words: how a request ends when it does not succeed -------------------------------------------


class Refusal(Exception):  # noqa: N818 - an answer
    """A request that ends with an error of docs/reference/protocol.md."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(code, message)
        self.reply: Json = {"code": code, "message": message, **details}


class StepError(Exception):
    """A change that did not succeed; `output` is what the tool said."""

    code = "step-failed"

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.output = output


class ConfigTestError(StepError):
    """A proxy's own check has refused the configuration."""

    code = "config-test-failed"


class Gone(Exception):  # noqa: N818 - an event
    """The controller is gone, and what is under way must be taken back."""


def os_words(error: OSError) -> str:
    """An `OSError` without its number."""
    return os.strerror(error.errno) if error.errno else str(error)


# --- framing --------------------------------------------------------------------------------------


class Bell:
    """Wakes one thread that waits for it, or lets its time pass.

    The waits of `threading` follow the wall clock before Python 3.10: a clock that is set back
    makes them last longer. Those of select(2) do not.
    """

    def __init__(self) -> None:
        self._heard, self._rope = os.pipe()

    def ring(self) -> None:
        os.write(self._rope, b"!")

    def wait(self, timeout_s: float | None) -> bool:
        """Whether it was rung, before or meanwhile."""
        is_rung = bool(select.select([self._heard], [], [], timeout_s)[0])
        if is_rung:
            os.read(self._heard, 1 << 12)
        return is_rung

    def remove(self) -> None:
        os.close(self._heard)
        os.close(self._rope)


class Channel:
    """Length-framed JSON over two file descriptors; `send` may be called from any thread."""

    def __init__(self, in_fd: int, out_fd: int) -> None:
        self.in_fd = in_fd
        self._out_fd = out_fd
        self._lock = threading.Lock()
        self._received = bytearray()
        self.gone = threading.Event()

    def send(self, message: Json) -> None:
        """Send one message; a controller that is gone is noted, not raised."""
        body = json.dumps(message, separators=(",", ":")).encode()
        frame = memoryview(struct.pack(">I", len(body)) + body)
        with self._lock:
            try:
                while frame:
                    frame = frame[os.write(self._out_fd, frame) :]
            except OSError:
                self.gone.set()

    def receive(self) -> Iterator[Json]:
        """The messages that one read completes; sets `gone` at the end of the input."""
        data = os.read(self.in_fd, 1 << 18)
        if not data:
            self.gone.set()
            return
        self._received += data
        while len(self._received) >= 4:
            (length,) = struct.unpack_from(">I", self._received)
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes is too long")
            if len(self._received) < 4 + length:
                return
            body = bytes(self._received[4 : 4 + length])
            del self._received[: 4 + length]
            message = json.loads(body)
            if not isinstance(message, dict):
                raise ValueError("a message must be an object")
            yield message


def to_b64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


# --- children -------------------------------------------------------------------------------------

CHILD_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}


class Children:
    """Runs programs without a shell, each in a session of its own, each with a time limit."""

    def __init__(self, gone: Callable[[], bool]) -> None:
        self._gone = gone
        self.commit = ""  # for which they work: who takes it back has to find them

    def run(
        self,
        argv: list[str],
        *,
        limit_s: float = CHILD_LIMIT_S,
        environment: dict[str, str] | None = None,
        chdir: str | None = None,
        interruptible: bool = True,
        on_output: Callable[[str], None] | None = None,
    ) -> tuple[int, str]:
        """The exit code and the end of the output, both streams in one.

        Raises:
            StepError: the program does not exist, or took longer than `limit_s`.
            Gone: the controller went away meanwhile, and the program was ended for it.
        """
        if (
            chdir
        ):  # posix_spawn has no working directory; the words stay words for this constant script
            argv = ["/bin/sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh", chdir, *argv]
        read_end, write_end = os.pipe()
        around = {**CHILD_ENVIRONMENT, **(environment or {})}
        if self.commit:
            around[_ENDED_WITH if interruptible else _WAITED_FOR] = _marked(self.commit)
        try:
            pid = self._spawn(argv, write_end, around)
        except OSError as error:
            os.close(read_end)
            raise StepError(f"{argv[0]} cannot be run: {os_words(error)}") from None
        finally:
            os.close(write_end)
        try:
            return self._follow(pid, argv, read_end, limit_s, interruptible, on_output)
        finally:
            os.close(read_end)

    @staticmethod
    def _spawn(argv: list[str], output: int, environment: dict[str, str]) -> int:
        return os.posix_spawnp(
            argv[0],
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGHUP],
        )

    def _follow(
        self,
        pid: int,
        argv: list[str],
        read_end: int,
        limit_s: float,
        interruptible: bool,
        on_output: Callable[[str], None] | None,
    ) -> tuple[int, str]:
        tail = bytearray()
        deadline = time.monotonic() + limit_s
        reading = True
        while True:
            # A program that leaves a daemon behind ends without closing the pipe: hence the poll.
            ready = select.select([read_end] if reading else [], [], [], 0.1 if reading else 0.005)
            if ready[0]:
                data = os.read(read_end, CHUNK_BYTES)
                reading = bool(data)
                tail = (tail + data)[-OUTPUT_TAIL_BYTES:]
                if data and on_output:
                    on_output(data.decode("utf-8", "replace"))
                if data:
                    continue
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return _exit_code(status), tail.decode("utf-8", "replace").strip()
            if interruptible and self._gone():
                _end_group(pid)
                raise Gone
            if time.monotonic() > deadline:
                _end_group(pid)
                text = tail.decode("utf-8", "replace").strip()
                raise StepError(f"{argv[0]} did not end within {limit_s:g} s and was killed", text)

    def succeed(self, argv: list[str], **options: Any) -> str:
        """The output of a program that must exit with 0.

        Raises:
            StepError: it did not.
        """
        code, output = self.run(argv, **options)
        if code != 0:
            raise StepError(f"{' '.join(argv[:3])} ended with exit code {code}", output)
        return output


#: In the environment of all that works for a commit: whether it may be cut off.
_ENDED_WITH, _WAITED_FOR = "DEPLOYER_COMMIT", "DEPLOYER_COMMIT_UNCUT"


def end_leftovers(commit: str) -> None:
    """End what a runner that is no more has left at work on `commit`; package tools are waited for.

    Raises:
        StepError: something goes on.
    """
    began = time.monotonic()
    while True:
        ended, waited = _at_work(_ENDED_WITH, commit), _at_work(_WAITED_FOR, commit)
        if not ended and not waited:
            return
        passed_s = time.monotonic() - began
        for pid in ended if passed_s < 20.0 else []:
            try:
                os.kill(pid, signal.SIGTERM if passed_s < 3.0 else signal.SIGKILL)
            except ProcessLookupError:
                pass
        if passed_s > (PACKAGE_LIMIT_S if waited else 20.0):
            pids = ", ".join(map(str, ended + waited))
            raise StepError(f"what the dead run had started does not end: processes {pids}")
        time.sleep(0.05)


def _marked(commit: str) -> str:
    return commit + " in " + STATE


def _at_work(mark: str, commit: str) -> list[int]:
    """The processes with `mark` for `commit` in their environment."""
    wanted = (mark + "=" + _marked(commit)).encode()
    found = []
    for name in names_in("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def _exit_code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _end_group(pid: int) -> None:
    """Ask the child's process group to end, then make it."""
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            pass
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.01)


# --- looking at things ----------------------------------------------------------------------------

_TYPES = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "link"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
)


def type_of(info: os.stat_result) -> str:
    for is_type, word in _TYPES:
        if is_type(info.st_mode):
            return word
    return "device"


def look_at(path: str) -> os.stat_result | None:
    """What is at `path`, links not followed; `None` where there is nothing."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_path(path: Any) -> str:
    """`path`, absolute and normalised.

    Raises:
        Refusal: it is not.
    """
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise Refusal("bad-request", f"{path!r} is not an absolute path")
    if os.path.normpath(path) != path or path.startswith("//"):
        raise Refusal("bad-request", f"{path!r} is not a normalised path")
    return path


def open_regular(path: str) -> int:
    """Open a regular file for reading, whatever takes its place meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def chunks_of(path: str) -> Iterator[bytes]:
    descriptor = open_regular(path)
    try:
        while True:
            data = os.read(descriptor, CHUNK_BYTES)
            if not data:
                return
            yield data
    finally:
        os.close(descriptor)


def hash_of(path: str) -> str:
    digest = sha256()
    for data in chunks_of(path):
        digest.update(data)
    return digest.hexdigest()


def read_text(path: str) -> str:
    """A small file of the system as text; empty where it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_id(name: str) -> int:
    """The number of a user given by name or number."""
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        if name.isdigit():
            return int(name)
        raise StepError(f"there is no user {name} on the host") from None


def group_id(name: str) -> int:
    """The number of a group given by name or number."""
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isdigit():
            return int(name)
        raise StepError(f"there is no group {name} on the host") from None


# --- facts ----------------------------------------------------------------------------------------

_DISTRIBUTIONS = {
    "debian": ("Debian", "Debian"),
    "ubuntu": ("Ubuntu", "Debian"),
    "linuxmint": ("Linux Mint", "Debian"),
    "fedora": ("Fedora", "RedHat"),
    "rhel": ("RedHat", "RedHat"),
    "centos": ("CentOS", "RedHat"),
    "rocky": ("Rocky", "RedHat"),
    "almalinux": ("AlmaLinux", "RedHat"),
    "alpine": ("Alpine", "Alpine"),
    "arch": ("Archlinux", "Archlinux"),
}


def facts() -> Json:
    """Ansible's facts, read from files alone: no program is started, no name is looked up."""
    system = os.uname()
    return {
        **_distribution(),
        "ansible_hostname": system.nodename.partition(".")[0],
        "ansible_fqdn": _fqdn(system.nodename),
        "ansible_architecture": system.machine,
        "ansible_kernel": system.release,
        "ansible_processor_vcpus": os.cpu_count() or 1,
        "ansible_memtotal_mb": _memory_mb(),
        "ansible_default_ipv4": _default_ipv4(),
        "ansible_all_ipv6_addresses": _ipv6_addresses(),
        "ansible_service_mgr": "systemd" if os.path.isdir("/run/systemd/system") else _init_name(),
        "ansible_pkg_mgr": _package_manager(),
        "ansible_python_version": ".".join(map(str, sys.version_info[:3])),
        "ansible_user_id": user_name(os.geteuid()),
    }


def _distribution() -> Json:
    release: dict[str, str] = {}
    for line in (read_text("/etc/os-release") or read_text("/usr/lib/os-release")).splitlines():
        key, _, value = line.partition("=")
        release[key.strip()] = value.strip().strip("\"'")
    word = release.get("ID", "")
    name, family = _DISTRIBUTIONS.get(word, (release.get("NAME", word).partition(" ")[0], ""))
    version = release.get("VERSION_ID", "")
    if word == "debian":  # 12 in os-release, 12.9 here; a test release has words instead
        exact = read_text("/etc/debian_version").strip()
        version = exact if exact[:1].isdigit() else version
    like = release.get("ID_LIKE", "").split()
    family = family or ("Debian" if "debian" in like else "RedHat" if "rhel" in like else name)
    return {
        "ansible_distribution": name,
        "ansible_distribution_release": release.get("VERSION_CODENAME", ""),
        "ansible_distribution_version": version,
        "ansible_distribution_major_version": version.partition(".")[0],
        "ansible_os_family": family,
    }


def _fqdn(nodename: str) -> str:
    """The host's full name by /etc/hosts; DNS could hang."""
    if "." in nodename:
        return nodename
    for line in read_text("/etc/hosts").splitlines():
        names = line.partition("#")[0].split()[1:]
        if nodename in names:
            return next((name for name in names if name.startswith(nodename + ".")), names[0])
    return nodename


def _memory_mb() -> int:
    for line in read_text("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def _default_ipv4() -> Json:
    for line in read_text("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and int(fields[3], 16) & 1:
            import _socket

            gateway = _socket.inet_ntoa(struct.pack("=I", int(fields[2], 16)))
            return {"address": _own_address(), "interface": fields[0], "gateway": gateway}
    return {}


def _own_address() -> str:
    """The address that packets to the outside would carry; connecting UDP sends none."""
    import _socket

    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    except OSError:
        return ""
    finally:
        probe.close()


def _ipv6_addresses() -> list[str]:
    lines = read_text("/proc/net/if_inet6").splitlines()
    found = [fields[0] for fields in map(str.split, lines) if len(fields) > 5 and fields[5] != "lo"]
    if not found:
        return []
    import _socket

    return [_socket.inet_ntop(_socket.AF_INET6, binascii.unhexlify(text)) for text in found]


def _init_name() -> str:
    return read_text("/proc/1/comm").strip() or "unknown"


def _package_manager() -> str:
    for word in ("apt-get", "dnf", "yum", "apk", "pacman", "zypper"):
        if any(os.path.exists(f"{folder}/{word}") for folder in ("/usr/bin", "/sbin")):
            return {"apt-get": "apt"}.get(word, word)
    return "unknown"


# --- listeners: who takes connections at a port ---------------------------------------------------


def listeners(ports: list[int]) -> list[Json]:
    """Which processes listen on TCP ports, on whichever address; one entry for a unit and port.

    Source: proc_pid_net(5), proc_pid_fd(5), proc_pid_cgroup(5).
    """
    sockets = {inode: port for port, inode in _listening() if port in ports}
    found: dict[tuple[int, str], Json] = {}
    for pid, inodes in _holders(set(sockets)):
        process = read_text(f"/proc/{pid}/comm").strip()
        unit = unit_of(pid)
        for inode in inodes:
            port = sockets[inode]
            about = {"port": port, "pid": pid, "process": process, "unit": unit}
            first = found.setdefault((port, unit or process), about)
            first["pid"] = min(first["pid"], pid)  # the main process is older than its workers
    return sorted(found.values(), key=lambda each: (each["port"], each["pid"]))


def _listening(pid: int | str = "self") -> Iterator[tuple[int, str]]:
    """Port and inode of each TCP socket in the state LISTEN, in the network that `pid` sees."""
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}", encoding="ascii") as lines:
                next(lines, None)
                for line in lines:
                    fields = line.split()
                    if fields[3] != "0A":
                        break  # those that listen come first, before thousands of others
                    yield int(fields[1].rpartition(":")[2], 16), fields[9]
        except OSError:
            continue


def _holders(inodes: set[str]) -> Iterator[tuple[int, set[str]]]:
    """The processes that have some of the sockets, proxies first, until each socket has one."""
    pids = [int(name) for name in names_in("/proc") if name.isdigit()] if inodes else []
    pids.sort(key=lambda pid: (read_text(f"/proc/{pid}/comm").strip() not in _PROXIES, pid))
    missing = set(inodes)
    for pid in pids:
        if not missing:
            return
        held = sockets_of(pid) & inodes
        if held:
            missing -= held
            yield pid, held


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's open sockets."""
    return set(_sockets_of(pid))


def _sockets_of(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    for name in names_in(folder):
        try:
            target = os.readlink(os.path.join(folder, name))
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            yield target[8:-1]


def listening_sockets(pid: int) -> set[str]:
    """The inodes of all TCP sockets that take connections, in the network that `pid` sees."""
    return {inode for _, inode in _listening(pid)}


def listens(pid: int, listening: set[str]) -> bool:
    """Whether a process has one of the sockets `listening`, which are among the first it opened."""
    return any(inode in listening for inode in _sockets_of(pid))


def unit_of(pid: int) -> str:
    """The systemd service that a process belongs to, without its suffix; empty for none."""
    for part in reversed(read_text(f"/proc/{pid}/cgroup").strip().rpartition("::")[2].split("/")):
        if part.endswith(".service"):
            return part[: -len(".service")]
    return ""


# --- probe ----------------------------------------------------------------------------------------

_PROBE_KINDS = ("file", "directory", "link", "package", "service", "user", "command")
#: What is asked for and never changed: what a running proxy has loaded.
_ASKED_KINDS = (*_PROBE_KINDS, "loaded", "releases")
#: The main processes of the proxies that we know.
_PROXIES = ("nginx", "apache2", "haproxy")
#: Kinds and requests of loaded modules, by name, and what they look at before a unit loads its
#: configuration: see `load_modules`.
ADDED_KINDS: dict[str, Any] = {}
ADDED_REQUESTS: dict[str, Any] = {}
ADDED_CHECKS: list[Any] = []


class Probe:
    """Looks at resources; what one tool can tell of many is asked once."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def observe(self, resources: list[Json]) -> list[Json]:
        """One observation a resource, in order."""
        for resource in resources:
            if resource.get("kind") not in (*_ASKED_KINDS, *ADDED_KINDS):
                raise Refusal("bad-request", "unknown kind {!r}".format(resource.get("kind")))
            if resource["kind"] in ("file", "directory", "link", "releases"):
                check_path(resource["name"])
            elif resource["kind"] == "loaded":
                check_name(resource["name"])
                for path in resource["query"]["files"]:
                    check_path(path)
        named = {kind: [r["name"] for r in resources if r["kind"] == kind] for kind in _ASKED_KINDS}
        packages = installed_packages(named["package"]) if named["package"] else {}
        asked = named["service"] + (named["loaded"] if os.path.isdir(SYSTEMD_RUNS) else [])
        units = Systemd(self._children).show(list(dict.fromkeys(asked))) if asked else {}
        return [self._observe(resource, packages, units) for resource in resources]

    def _observe(self, resource: Json, packages: dict[str, str], units: dict[str, Json]) -> Json:
        kind, name, query = resource["kind"], resource["name"], resource.get("query") or {}
        observation: Json = {"id": resource["id"]}
        attributes: Json | None = None
        try:
            if kind == "package":
                attributes = {"version": packages[name]} if name in packages else None
            elif kind == "service":
                attributes = service_attributes(units.get(name))
            elif kind == "user":
                attributes = user_attributes(name)
            elif kind == "command":
                attributes = {"done": self._is_done(query)}
            elif kind == "loaded":
                attributes = loaded_attributes(units.get(name), name, query["files"])
            elif kind == "releases":
                attributes = {"found": releases_in(name)}
            elif kind in ADDED_KINDS:
                attributes = ADDED_KINDS[kind].observe(name)
            else:
                attributes = path_attributes(name)
                if attributes is None and query.get("former"):
                    name, former = query["former"], _former_attributes(query["former"])
                    observation["like_former"] = (former or {}).get("sha256") == query["sha256"]
                    content = _wanted_content(name, former, query)
                else:
                    content = _wanted_content(name, attributes, query)
                if content is not None:
                    observation["content_b64"] = to_b64(content)
        except StepError as error:
            observation["problem"] = error.message
        except OSError as error:
            observation["problem"] = f"{name} cannot be looked at: {os_words(error)}"
        observation["attributes"] = attributes
        observation["fingerprint"] = sha256(canonical(attributes)).hexdigest()
        return observation

    def _is_done(self, query: Json) -> bool:
        """Whether a guarded command has nothing to do, by Ansible's rules for its guards."""
        chdir = query.get("chdir") or "/"
        if query.get("creates") and all(map(_matches(chdir), _listed(query["creates"]))):
            return True
        if query.get("removes") and not any(map(_matches(chdir), _listed(query["removes"]))):
            return True
        if query.get("unless"):
            return self._children.run(list(query["unless"]), chdir=query.get("chdir"))[0] == 0
        return False


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _matches(chdir: str) -> Callable[[str], bool]:
    def anything_at(pattern: str) -> bool:
        path = os.path.join(chdir, pattern)
        if os.path.lexists(path):
            return True
        if not any(sign in pattern for sign in "*?["):
            return False
        import glob

        return bool(glob.glob(path))

    return anything_at


def path_attributes(path: str) -> Json | None:
    """The attributes of what is at `path`; files are hashed, special files stay closed."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise StepError(
            f"nothing can be at {path}: {_first_non_folder(path)} is not a folder"
        ) from None
    kind = type_of(info)
    if kind == "link":
        return {"type": "link", "target": os.readlink(path)}
    attributes: Json = {
        "type": kind,
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "owner": user_name(info.st_uid),
        "group": group_name(info.st_gid),
    }
    if kind == "file":
        attributes["sha256"] = hash_of(path)
        attributes["size"] = info.st_size
    return attributes


def _first_non_folder(path: str) -> str:
    parts = path.split("/")
    for count in range(2, len(parts)):
        folder = "/".join(parts[:count])
        if not os.path.isdir(folder):
            return folder
    return os.path.dirname(path)


def releases_in(top: str) -> list[Json]:
    """The folders in `top`, the newest first, each with its attributes and their fingerprint."""
    found = []
    for name in names_in(top):
        info = look_at(os.path.join(top, name))
        if info is not None and stat.S_ISDIR(info.st_mode):
            found.append((info.st_mtime_ns, name))
    listed = []
    for _, name in sorted(found, reverse=True):
        attributes = path_attributes(os.path.join(top, name))
        print_of = sha256(canonical(attributes)).hexdigest()
        listed.append({"name": name, "attributes": attributes, "fingerprint": print_of})
    return listed


def _former_attributes(path: str) -> Json | None:
    """The attributes of the file whose place another one takes; `None` where there is none."""
    try:
        return path_attributes(check_path(path))
    except (StepError, OSError):
        return None


def _wanted_content(path: str, attributes: Json | None, query: Json) -> bytes | None:
    if not query.get("want_content") or not attributes or attributes["type"] != "file":
        return None
    if attributes["size"] > SHOWN_BYTES or attributes["sha256"] == query.get("sha256"):
        return None
    return b"".join(chunks_of(path))


def user_attributes(name: str) -> Json | None:
    import grp
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return {
        "uid": entry.pw_uid,
        "group": group_name(entry.pw_gid),
        "groups": sorted(group.gr_name for group in grp.getgrall() if name in group.gr_mem),
        "home": entry.pw_dir,
        "shell": entry.pw_shell,
        "comment": entry.pw_gecos,
    }


def service_attributes(unit: Json | None) -> Json | None:
    """`enabled` and `active` of what `systemctl show` said; `None` where there is no such unit."""
    if unit is None or unit.get("LoadState") in (None, "", "not-found"):
        return None
    state = unit.get("UnitFileState", "")
    name = unit.get("Id", "").rpartition(".")[0]
    enabled = state in ("enabled", "enabled-runtime")
    if state == "generated":  # an init script, which is enabled by links of its own
        enabled = any(
            entry[:1] == "S" and entry[3:] == name
            for folder in ("rc2.d", "rc3.d", "rc5.d")
            for entry in names_in(os.path.join(ETC, folder))
        )
    return {"enabled": enabled, "active": unit.get("ActiveState") in ("active", "reloading")}


def names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


# --- manifests: what a host's folders looked like at one moment -----------------------------------

#: Below /var/lib: what changes by itself, is a database with a keeper of its own, or is not ours.
NOT_LOOKED_INTO = frozenset(
    [
        "apt",
        "dpkg",
        "docker",
        "containers",
        "containerd",
        "deployer",
        "lxc",
        "lxd",
        "machines",
        "libvirt",
        "kubelet",
        "snapd",
        "flatpak",
        "mysql",
        "postgresql",
        "mongodb",
        "redis",
    ]
)
#: Below /var/lib: small files of package scripts, which a purge does not always bring back.
_KEPT_IN_VAR_LIB = ("ucf", "pam", "systemd/deb-systemd-", "misc", "python", "shells.state")
_VAR_LIB_DEPTH = 4
_VAR_LIB_NAMES = 500
#: What web servers' packages put there by script, and leave behind when they are purged.
_LEFT_BY_PURGES = ("/var/www/html/index.html", "/var/www/html/index.nginx-debian.html")


def entry_of(path: str) -> Entry | None:
    """What a manifest says of one path: ``t`` type, ``m`` mode, ``u`` and ``g`` owner, ``s`` size,
    ``n`` time in ns, ``to`` target of a link, ``k`` hash of a folder's names, ``x`` attributes."""
    info = look_at(path)
    if info is None:
        return None
    kind = type_of(info)
    entry: Entry = {"t": kind, "u": info.st_uid, "g": info.st_gid, "n": info.st_mtime_ns}
    if kind == "link":
        entry["to"] = os.readlink(path)
        return entry
    entry["m"] = stat.S_IMODE(info.st_mode)
    if kind == "file":
        entry["s"] = info.st_size
    elif kind == "directory":
        entry["k"] = _names_hash(path)
    extended = _extended_attributes(path)
    if extended:
        entry["x"] = extended
    return entry


def _others_in(folder: str) -> list[str]:
    """The names in a folder without the watchdog's own, which no manifest knows."""
    names = names_in(folder)
    if folder in (UNITS, BOOT_WANTS):
        return [name for name in names if name not in (BOOT_NAME, BOOT_NAME + ".new")]
    return names


def _names_hash(folder: str) -> str:
    names = sorted(os.fsencode(name) for name in _others_in(folder))
    return sha256(b"\0".join(names)).hexdigest()[:16]


def _extended_attributes(path: str) -> Json:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {name: to_b64(os.getxattr(path, name, follow_symlinks=False)) for name in names}
    except OSError:
        return {}


def tree_of(top: str, manifest: Manifest, *, depth: int = 1000, names: int = 1 << 30) -> None:
    """Add `top` and all below it, but not what is in folders of more than `names` entries."""
    entry = entry_of(top)
    if entry is None:
        return
    manifest[top] = entry
    if entry["t"] != "directory" or depth <= 0:
        return
    found = _others_in(top)
    if len(found) > names:
        return
    for name in found:
        if not (top == VAR_LIB and name in NOT_LOOKED_INTO) and os.path.join(top, name) != STATE:
            tree_of(os.path.join(top, name), manifest, depth=depth - 1, names=names)


def manifest_of(touched: dict[str, bool]) -> Manifest:
    """/etc, /var/lib within bounds, and the touched paths with all below and the folders above."""
    manifest: Manifest = {}
    tree_of(ETC, manifest)
    tree_of(VAR_LIB, manifest, depth=_VAR_LIB_DEPTH, names=_VAR_LIB_NAMES)
    folders = {folder for path in touched for folder in folders_above(path)}
    for folder in sorted(folders.union(_local_folders()) - set(manifest)):
        entry = entry_of(folder)
        if entry is not None:
            manifest[folder] = entry
    for path, is_deep in touched.items():
        if is_deep or path not in manifest:
            tree_of(path, manifest, depth=1000 if is_deep else 0)
    return manifest


def _local_folders() -> Iterator[str]:
    """Folders of /usr/local, in which package scripts make and remove empty ones."""
    yield "/usr/local"
    for name in names_in("/usr/local"):
        folder = os.path.join("/usr/local", name)
        if os.path.isdir(folder) and not os.path.islink(folder):
            yield folder


def folders_above(path: str) -> list[str]:
    """The folders that hold `path`, outermost first, without the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def has_kept_content(path: str) -> bool:
    """Whether the contents of a file are kept when package tools may change it."""
    if is_below(path, ETC):
        return True
    if not is_below(path, VAR_LIB):
        return False
    return path[len(VAR_LIB) + 1 :].startswith(_KEPT_IN_VAR_LIB)


def same_meta(one: Entry, other: Entry) -> bool:
    """Whether two entries are alike in all but time and content."""
    return all(one.get(key) == other.get(key) for key in ("t", "m", "u", "g", "s", "to", "x"))


def same_stamp(one: Entry, other: Entry) -> bool:
    return same_meta(one, other) and one["n"] == other["n"]


def content_hash(path: str, entry: Entry, known: Entry | None) -> str | None:
    """The hash of the file of `entry`, from `known` where that is the same by its stamp."""
    if entry["t"] != "file":
        return None
    if known is not None and known.get("h") and same_stamp(entry, known):
        return str(known["h"])
    try:
        return hash_of(path)
    except OSError:
        return None


def is_same(path: str, now: Entry | None, then: Entry | None) -> bool:
    """Whether `path` is as it was `then`, its time aside: content, mode, owner, target."""
    if now is None or then is None:
        return now is None and then is None
    if not same_meta(now, then):
        return False
    if now["t"] != "file" or now["n"] == then["n"]:
        return True
    return bool(then.get("h")) and content_hash(path, now, None) == then["h"]


# --- images: the contents that a revert needs -----------------------------------------------------

IMAGES = os.path.join(STATE, "images")


class ImageWriter:
    """Appends compressed contents to one pack, each content once.

    A content that `known` has already, in an older pack, is not written again.
    """

    def __init__(self, path: str, known: Images | None = None) -> None:
        self.name = os.path.basename(path)
        self._known = known
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._end = 0
        self.index: dict[str, list[Any]] = {}

    def add(self, path: str) -> str:
        """Keep the content of `path`; returns its hash."""
        import zlib

        start, digest, packer = self._end, sha256(), zlib.compressobj(1)
        for data in chunks_of(path):
            digest.update(data)
            self._write(packer.compress(data))
        self._write(packer.flush())
        name = digest.hexdigest()
        if name not in self.index:
            older = self._known.intact(name) if self._known else None
            self.index[name] = older or [self.name, start, self._end - start]
            if older is None:
                return name
        os.ftruncate(self._fd, start)
        os.lseek(self._fd, start, os.SEEK_SET)
        self._end = start
        return name

    def _write(self, data: bytes) -> None:
        write_all(self._fd, data)
        self._end += len(data)

    def close(self) -> None:
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)


class Images:
    """Reads contents back from the packs in `folder`, each checked against its hash."""

    def __init__(self, folder: str, index: dict[str, list[Any]]) -> None:
        self._folder = folder
        self._index = index

    def has(self, name: str | None) -> bool:
        return name in self._index

    def intact(self, name: str) -> list[Any] | None:
        """Where a content is, if it is there and whole."""
        if name not in self._index:
            return None
        try:
            for _ in self._read(name):
                pass
        except StepError:
            return None
        return self._index[name]

    def write(self, name: str, out: int) -> None:
        """Write one content to the descriptor `out`.

        Raises:
            StepError: it is not what was kept.
        """
        for data in self._read(name):
            write_all(out, data)

    def read(self, name: str) -> bytes:
        """One content as a whole.

        Raises:
            StepError: it is not what was kept.
        """
        return b"".join(self._read(name))

    def _read(self, name: str) -> Iterator[bytes]:
        import zlib

        pack_name, start, left = self._index[name]
        digest, unpacker = sha256(), zlib.decompressobj()
        try:
            with open(os.path.join(self._folder, pack_name), "rb") as pack:
                pack.seek(start)
                while left > 0:
                    packed = pack.read(min(left, CHUNK_BYTES))
                    if not packed:
                        break
                    left -= len(packed)
                    data = unpacker.decompress(packed)
                    digest.update(data)
                    yield data
            data = unpacker.flush()
            digest.update(data)
            yield data
        except (OSError, zlib.error) as error:
            raise StepError(f"its kept content cannot be read: {error}") from None
        if digest.hexdigest() != name:
            raise StepError("its kept content is damaged, so it is left as it is now")


def known_images() -> Images:
    """All contents that earlier commits have kept."""
    index: dict[str, list[Any]] = {}
    for name in sorted(names_in(IMAGES)):
        if name.endswith(".json"):
            index.update(read_json(os.path.join(IMAGES, name)) or {})
    return Images(IMAGES, index)


def read_record(folder: str, name: str, wanted: str | None) -> Json:
    """A record beside a journal, which must be what the journal says.

    Raises:
        StepError: it is not, or cannot be read.
    """
    try:
        with open(os.path.join(folder, name), "rb") as file:
            text = file.read()
    except OSError as error:
        raise StepError(f"{name} cannot be read: {os_words(error)}") from None
    if sha256(text).hexdigest() != wanted:
        raise StepError(f"{name} is not what the journal says")
    value: Json = json.loads(text)
    return value


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


# --- state folder ---------------------------------------------------------------------------------


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: str, data: bytes, mode: int = 0o600) -> None:
    """A file of our own, whole or not at all."""
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(path + ".new", path)


def read_json(path: str) -> Json | None:
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def now_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def note(folder: str, **details: Any) -> None:
    """Add to a commit's ``meta.json``; a damaged one is kept beside it for a person to look at."""
    path = os.path.join(folder, "meta.json")
    meta = read_json(path)
    if meta is None:
        meta = {"commit": commit_of_journal(folder)}
        if look_at(path) is not None:
            os.rename(path, path + ".damaged")
    write_synced(path, canonical_json({**meta, **details}))


def remove_tree(path: str) -> None:
    """Remove `path` and all below it, links not followed; a mount point below is an error."""
    info = look_at(path)
    if info is None:
        return
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(path)
        return
    if os.path.ismount(path):
        raise OSError(errno.EBUSY, f"a file system is mounted at {path}")
    for name in os.listdir(path):
        remove_tree(os.path.join(path, name))
    os.rmdir(path)


#: State and event → the next state, as in `deployer/commit.py`.
TRANSITIONS = {
    ("pending", "confirm"): "confirmed",
    ("pending", "revert"): "reverting",
    ("pending", "deadline"): "reverting",
    ("pending", "boot"): "reverting",
    ("reverting", "revert"): "reverting",
    ("reverting", "deadline"): "reverting",
    ("reverting", "boot"): "reverting",
    ("reverting", "done"): "reverted",
    ("reverting", "fail"): "revert-failed",
    ("revert-failed", "revert"): "reverting",
    ("revert-failed", "deadline"): "reverting",
    ("revert-failed", "boot"): "reverting",
    ("revert-failed", "abandon"): "abandoned",
}
#: The folder of each state; the last three hold a folder or a record for each commit.
FOLDERS = {
    "pending": "pending",
    "reverting": "reverting",
    "revert-failed": "reverting",
    "confirmed": "generations",
    "reverted": "reverted",
    "abandoned": "abandoned",
}
UNKNOWN_COMMIT = "unknown"
#: What every record of the history has, also where a commit's own was damaged.
_EMPTY_RECORD: Json = {
    **dict.fromkeys(("who", "from", "time", "digest", "state"), ""),
    "changes": [],
    "verified": [],
    "generation": None,
    "sequence": 0,
}
#: Records of reverted commits are small; the newest so many are kept.
KEPT_RECORDS = 200


class StateFolder:
    """``/var/lib/deployer``: the lock, the one commit under way, and what became of all others."""

    def __init__(self) -> None:
        self.pending = os.path.join(STATE, "pending")
        self.reverting = os.path.join(STATE, "reverting")
        self.generations = os.path.join(STATE, "generations")
        self.reverted = os.path.join(STATE, "reverted")
        self.abandoned = os.path.join(STATE, "abandoned")
        self._lock_fd: int | None = None

    def make(self) -> None:
        """Make the folders; the time of the folder around them stays as it was."""
        if not os.path.isdir(STATE):
            around = os.path.dirname(STATE)
            info = os.stat(around)
            os.mkdir(STATE, 0o700)
            os.utime(around, ns=(info.st_atime_ns, info.st_mtime_ns))
        if stat.S_IMODE(os.stat(STATE).st_mode) != 0o700:
            os.chmod(STATE, 0o700)
        for folder in (self.generations, self.reverted, self.abandoned, IMAGES, CACHE):
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)

    # the lock

    def lock(self, holder: Json) -> None:
        """Take the lock for as long as this process lives, or until `unlock`.

        Raises:
            Refusal: another run has it.
        """
        if self._lock_fd is not None:
            return
        path = os.path.join(STATE, "lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            by = read_json(path) or {}
            who = "{} from {}".format(by.get("who", "someone"), by.get("from", "somewhere"))
            raise Refusal(
                "locked",
                "another run is at work on this host: {}, since {}".format(
                    who, by.get("since", "?")
                ),
                holder=who,
                since=by.get("since", ""),
                pid=by.get("pid"),
                started=by.get("started"),
            ) from None
        self._lock_fd = descriptor
        self._say_holder(holder)
        self._sweep()

    def _say_holder(self, holder: Json) -> None:
        """Note who has the lock. It is the lock that counts: a full disk takes only the words."""
        about = {"since": now_text(), "pid": os.getpid(), "started": started_at(os.getpid())}
        try:
            os.ftruncate(self._lock_fd, 0)  # type: ignore[arg-type]
            os.pwrite(self._lock_fd, json.dumps({**holder, **about}).encode(), 0)  # type: ignore[arg-type]
        except OSError:
            pass

    def _sweep(self) -> None:
        """Remove what a run has left behind that died before its first change, or after its end.

        What cannot be removed now is left to the next run.
        """
        left = [
            os.path.join(STATE, name)
            for name in os.listdir(STATE)
            if name.startswith(("new-", "gone-", BOOT_NAME)) or name.endswith(".new")
        ]
        try:
            of_watchdog = (*_OF_BOOT_UNIT, WATCHDOG_PROGRAM)
            if self.under_way() is None and any(map(os.path.lexists, of_watchdog)):
                records = [read_json(os.path.join(path, "meta.json")) or {} for path in left]
                about = [record.get("watchdog") or {} for record in records + self.history()[:1]]
                makes_wants = any(item.get("makes_wants") for item in about)
                Watchdog("any", duration_s=0, makes_wants=makes_wants).disarm(of_any=True)
            for path in left:
                remove_tree(path)
        except OSError:
            pass

    def unlock(self) -> None:
        if self._lock_fd is not None:
            try:
                os.ftruncate(self._lock_fd, 0)
            except OSError:
                pass
            os.close(self._lock_fd)
            self._lock_fd = None

    def holder(self) -> Json | None:
        """Who has the lock, if not ourselves."""
        if self._lock_fd is not None:
            return None
        path = os.path.join(STATE, "lock")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            by = read_json(path) or {}
            return {key: str(by.get(key, "")) for key in ("who", "from", "since")}
        finally:
            os.close(descriptor)
        return None

    # the commit under way

    def under_way(self) -> Json | None:
        """The commit that is neither confirmed nor reverted, as its ``meta.json`` says."""
        for folder, state in ((self.pending, "pending"), (self.reverting, "reverting")):
            if not os.path.isdir(folder):
                continue
            meta = read_json(os.path.join(folder, "meta.json")) or {}
            if state == "reverting" and meta.get("state") == "revert-failed":
                state = "revert-failed"
            texts = ("who", "from", "time", "deadline", "why")
            lists = ("failed", "kept")
            return {
                "commit": meta.get("commit") or commit_of_journal(folder),
                "state": state,
                **{key: meta.get(key, "") for key in texts},
                **{key: meta.get(key, []) for key in lists},
                "watched": bool(meta.get("watchdog")),
            }
        return None

    def under_way_meta(self) -> Json:
        """All that is noted of the commit under way."""
        for folder in (self.pending, self.reverting):
            meta = read_json(os.path.join(folder, "meta.json"))
            if meta is not None:
                return meta
        return {}

    def claim(self, commit: str, event: str) -> str:
        """Take what is under way to the state that `event` leads to; returns its folder.

        This is the one atomic rename that confirm, revert and deadline contend for.

        Raises:
            Refusal: the commit is in no state from which `event` leads anywhere.
            OSError: the disk does not take it; nothing is decided then.
        """
        going = self.under_way()
        if going is None or going["commit"] != commit:
            raise self.not_pending(commit)
        state = TRANSITIONS.get((going["state"], event))
        if state is None:
            raise self.not_pending(commit)
        source = os.path.join(STATE, FOLDERS[going["state"]])
        if state == "confirmed":
            target = os.path.join(self.generations, str(self.last_generation() + 1))
        elif state == "abandoned":
            target = os.path.join(self.abandoned, commit)
        else:
            target = self.reverting
        try:
            os.rename(source, target)
        except FileNotFoundError:
            raise self.not_pending(commit) from None
        return target

    def not_pending(self, commit: str) -> Refusal:
        state = self.state_of(commit)
        return Refusal("not-pending", f"the commit {commit} is {state}", state=state)

    # what became of all

    def last_generation(self) -> int:
        numbers = [int(name) for name in names_in(self.generations) if name.isdigit()]
        return max(numbers, default=0)

    def proxies(self) -> list[str]:
        """The proxies that serve the sites of the newest generation that has any."""
        numbers = [int(name) for name in names_in(self.generations) if name.isdigit()]
        for number in sorted(numbers, reverse=True):
            meta = read_json(os.path.join(self.generations, str(number), "meta.json")) or {}
            if meta.get("sites"):
                return sorted({site["proxy"] for site in meta["sites"]})
        return []

    def next_sequence(self) -> int:
        """A number for the next commit. Clocks jump: the order of commits is that of these."""
        return 1 + max((record.get("sequence", 0) for record in self.history()), default=0)

    def history(self) -> list[Json]:
        """What became of every commit, newest first."""
        records = []
        for folder in (self.generations, self.abandoned):
            for name in names_in(folder):
                records.append(read_json(os.path.join(folder, name, "meta.json")))
        for name in names_in(self.reverted):
            path = os.path.join(self.reverted, name)
            is_record = name.endswith(".json")
            records.append(read_json(path if is_record else os.path.join(path, "meta.json")))
        known = {record["commit"]: record for record in records if record and "commit" in record}
        going = self.under_way()
        if going is not None:
            known[going["commit"]] = {**self.under_way_meta(), **going, "generation": None}
        known = {commit: {**_EMPTY_RECORD, **record} for commit, record in known.items()}

        def age(record: Json) -> tuple[int, str, str]:
            return record.get("sequence", 0), record.get("time", ""), record["commit"]

        return sorted(known.values(), key=age, reverse=True)

    def last_ended(self) -> Json | None:
        """The newest commit, if it has ended without being confirmed."""
        names = names_in(self.reverted) + names_in(self.abandoned)
        if not names:
            return None
        for record in self.history():
            if record["state"] in ("reverted", "revert-failed", "abandoned"):
                texts = ("commit", "who", "from", "time", "state", "why", "ended")
                kept = record.get("kept", [])
                return {**{key: record.get(key, "") for key in texts}, "kept": kept}
            break
        return None

    def state_of(self, commit: str) -> str:
        """What has become of `commit`, in the words of the wire."""
        going = self.under_way()
        if going and going["commit"] == commit:
            return str(going["state"])
        for record in self.history():
            if record.get("commit") == commit:
                return str(record["state"])
        return "unknown"

    def prune(self, keep: int) -> None:
        """Leave the newest `keep` generations, and only the contents that something refers to."""
        numbers = sorted(int(name) for name in names_in(self.generations) if name.isdigit())
        for number in numbers[:-keep]:
            gone = os.path.join(STATE, f"gone-{number}")
            os.rename(os.path.join(self.generations, str(number)), gone)
            remove_tree(gone)
        records = sorted(name for name in names_in(self.reverted) if name.endswith(".json"))
        for name in records[:-KEPT_RECORDS]:
            os.unlink(os.path.join(self.reverted, name))
        self.prune_images()

    def prune_images(self) -> None:
        """Remove packs that no commit needs; where one cannot be read, all may be needed."""
        around = [os.path.join(self.generations, name) for name in names_in(self.generations)]
        for folder in (self.reverted, self.abandoned):
            around += [os.path.join(folder, name) for name in names_in(folder)]
        around += [self.pending, self.reverting]
        needed = set()
        for folder in around:
            if os.path.isdir(folder):
                meta = read_json(os.path.join(folder, "meta.json"))
                if meta is None or "packs" not in meta:
                    return
                needed.update(meta["packs"])
        for name in names_in(IMAGES):
            if name.rpartition(".")[0] not in needed:
                os.unlink(os.path.join(IMAGES, name))


def started_at(pid: int) -> int:
    """When a process started, in ticks since the boot: with its number, it is one of a kind."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


# --- journal: what a commit has done, for whoever has to take it back -----------------------------

#: All that a journal can say, in the order in which a commit says it. `intent` and `handler` are
#: on the disk before the thing itself is done, `done` and `handled` after it.
JOURNAL_EVENTS = (
    "begin",
    "intent",
    "kept-for-good",
    "done",
    "handler",
    "handled",
    "applied",
    "failed",
    "revert",
    "services-stopped",
    "packages-back",
    "files-back",
    "services-back",
    "looked-again",
)


class Journal:
    """One JSON object a line, each on the disk before `write` returns.

    Every line ends with a hash of itself and of all lines before it. How far it has come is noted
    in /run as well, before and after each line: a file that was cut off can so be told from one
    whose writer died.
    """

    def __init__(self, folder: str, commit: str) -> None:
        self._path = os.path.join(folder, "journal.jsonl")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        *written, torn = self._read_all().split(b"\n")
        self._count = len(written)
        self._sum = _sum_of(written[-1]) if written else ""
        self._size = sum(len(line) + 1 for line in written)
        if torn:
            os.ftruncate(self._fd, self._size)
        self._about = {"commit": commit, "boot": boot_id()}

    def _read_all(self) -> bytes:
        data = b""
        while True:
            more = os.pread(self._fd, CHUNK_BYTES, len(data))
            if not more:
                return data
            data += more

    def write(self, event: str, **details: Any) -> None:
        """Add a line, or leave the journal as it was.

        Raises:
            OSError: the disk does not take it.
        """
        if event not in JOURNAL_EVENTS:
            raise ValueError(f"{event} is no event of a journal")
        body = canonical_json({"event": event, **details})[:-1]
        total = sha256(self._sum.encode() + body).hexdigest()[:32]
        line = body + b',"sum":"' + total.encode() + b'"}\n'
        self._mark(self._count + 1, is_whole=False)
        try:
            write_all(self._fd, line)
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)
            self._mark(self._count, is_whole=True)
            raise
        self._count, self._sum, self._size = self._count + 1, total, self._size + len(line)
        self._mark(self._count, is_whole=True)

    def try_to_write(self, event: str, **details: Any) -> None:
        """As `write`, where the line is of use but nothing depends on it."""
        try:
            self.write(event, **details)
        except OSError:
            pass

    def _mark(self, count: int, *, is_whole: bool) -> None:
        mark = {**self._about, "lines": count, "whole": is_whole}
        overwrite(_MARK, json.dumps(mark).encode())

    def close(self) -> None:
        os.close(self._fd)


_MARK = os.path.join(CACHE, "journal.json")


def _sum_of(line: bytes) -> str:
    return line.rpartition(b',"sum":"')[2][:-2].decode("ascii", "replace")


def read_journal(folder: str) -> list[Json]:
    """The events of a journal. A last line that a crash of the host has cut off does not count.

    Raises:
        StepError: it is not as we wrote it.
    """
    try:
        with open(os.path.join(folder, "journal.jsonl"), "rb") as file:
            *lines, rest = file.read().split(b"\n")
    except OSError as error:
        raise StepError(f"the journal cannot be read: {os_words(error)}") from None
    events: list[Json] = []
    total = ""
    for number, line in enumerate(lines, 1):
        body = line.rpartition(b',"sum":"')[0]
        total = sha256(total.encode() + body).hexdigest()[:32]
        if total != _sum_of(line):
            raise StepError(f"line {number} of the journal is not as it was written")
        events.append(json.loads(line))
    if not events or events[0]["event"] != "begin":
        raise StepError("the journal has no beginning")
    mark = read_json(_MARK) or {}
    if (mark.get("commit"), mark.get("boot")) == (events[0]["commit"], boot_id()):
        is_whole = len(lines) == mark["lines"] and not (mark["whole"] and rest)
        if not is_whole and (mark["whole"] or len(lines) != mark["lines"] - 1):
            raise StepError(
                f"the journal is cut off: it had {mark['lines']} lines and has {len(lines)}"
            )
    return events


def commit_of_journal(folder: str) -> str:
    """The commit whose journal is in `folder`, where its other records cannot be read."""
    try:
        return str(read_journal(folder)[0]["commit"])
    except StepError:
        return UNKNOWN_COMMIT


# --- package managers -----------------------------------------------------------------------------


def package_states() -> dict[str, tuple[str, str]]:
    """Every package that dpkg knows: its state (``installed``, ``config-files``…) and version."""
    states = {}
    for block in read_text("/var/lib/dpkg/status").split("\n\n"):
        if block.startswith("Package: ") or "\nPackage: " in block:
            fields = _fields(block)
            states[fields["Package"]] = (fields["Status"].split()[-1], fields.get("Version", ""))
    return states


def _fields(block: str) -> dict[str, str]:
    fields = {"Package": "", "Status": "? ? ?"}
    for line in block.splitlines():
        key, colon, value = line.partition(": ")
        if colon and key in ("Package", "Status", "Version", "Auto-Installed"):
            fields[key] = value
    return fields


def installed_packages(names: list[str]) -> dict[str, str]:
    """The versions of those of `names` that are installed, without reading what is not asked."""
    text = "\n" + read_text("/var/lib/dpkg/status")
    found = {}
    for name in names:
        start = text.find(f"\nPackage: {name}\n")
        if start >= 0:
            fields = _fields(text[start : text.find("\n\n", start + 1)])
            if fields["Status"].split()[-1] == "installed":
                found[name] = fields["Version"]
    return found


def automatic_packages() -> list[str]:
    """The packages that apt would remove when nothing needs them any more."""
    blocks = read_text("/var/lib/apt/extended_states").split("\n\n")
    every = [_fields(block) for block in blocks]
    return sorted(fields["Package"] for fields in every if fields.get("Auto-Installed") == "1")


_APT_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "NEEDRESTART_MODE": "a",
    "NEEDRESTART_SUSPEND": "1",
    "APT_LISTCHANGES_FRONTEND": "none",
    "UCF_FORCE_CONFFOLD": "1",
}
_APT_OPTIONS = [
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "DPkg::Lock::Timeout=60",
]
#: A rough guess of what packages take beyond what is known, by folder.
_PACKAGE_MARGINS = {"/usr": 96 << 20, "/var/lib/dpkg": 16 << 20, "/var/cache": 32 << 20}


#: What apt-get says where `apt-get update` may help.
_LISTS_ARE_OLD = ("Unable to locate", "no installation candidate", "was not found", "to fetch")


class Apt:
    """Debian's package manager: apt-get(8), with dpkg's own list as the word on what is there."""

    def __init__(self, children: Children, on_output: Callable[[str], None] | None) -> None:
        self._children = children
        self._on_output = on_output

    def _get(self, *words: str) -> tuple[int, str]:
        # Not to be interrupted: dpkg's own state is worth more than a few seconds.
        return self._children.run(
            ["apt-get", "-y", "-q", *_APT_OPTIONS, *words],
            limit_s=PACKAGE_LIMIT_S,
            environment=_APT_ENVIRONMENT,
            interruptible=False,
            on_output=self._on_output,
        )

    def _change(self, *words: str) -> None:
        code, output = self._get(*words)
        if code != 0:
            raise StepError(f"apt-get {words[0]} ended with exit code {code}", output)

    def install(self, wanted: dict[str, str]) -> None:
        """Install packages, name → version or nothing; lists are fetched anew only where needed."""
        words = [name + ("=" + version if version else "") for name, version in wanted.items()]
        command = ("install", "--no-install-recommends", "--allow-downgrades", *words)
        code, output = self._get(*command)
        if code == 0:
            return
        if not any(words in output for words in _LISTS_ARE_OLD):
            raise StepError(f"apt-get install ended with exit code {code}", output)
        updated, update_output = self._get("update")
        if updated != 0:
            text = f"{output}\n\napt-get update:\n{update_output}"
            raise StepError(
                f"apt-get could not install {' '.join(words)}, nor fetch its lists of packages",
                text,
            )
        self._change(*command)

    def remove(self, names: list[str]) -> None:
        self._change("remove", *names)

    def purge(self, names: list[str], ours: list[str]) -> None:
        """Purge `names`, provided that nothing but `ours` goes with them."""
        self._children.run(
            ["dpkg", "--configure", "-a", "--force-confold"],
            limit_s=PACKAGE_LIMIT_S,
            environment=_APT_ENVIRONMENT,
            interruptible=False,
        )
        _, simulated = self._get("-s", "purge", *names)
        lines = [line.split() for line in simulated.splitlines()]
        going = [words[1] for words in lines if words[:1] in (["Purg"], ["Remv"])]
        others = sorted(set(going) - set(ours))
        if others:
            raise StepError("other packages have come to need them: {}".format(" ".join(others)))
        self._change("purge", *names)

    def mark(self, before: list[str], present: dict[str, tuple[str, str]]) -> None:
        """Give the packages that were there before their former marks."""
        now = automatic_packages()
        for word, names in (
            ("auto", sorted(set(before) - set(now))),
            ("manual", sorted(set(now) - set(before))),
        ):
            names = [name for name in names if name in present]
            if names:
                self._children.succeed(["apt-mark", word, *names], interruptible=False)


_CANDIDATE_SOURCES = (
    "/var/lib/apt/lists",
    "/var/lib/dpkg/status",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/preferences",
    "/etc/apt/preferences.d",
)


def package_versions(names: list[str], children: Children) -> Json:
    """For each name the version that is installed, and the one that an install would bring."""
    installed = installed_packages(names)
    asked = [name for name in names if name not in installed]
    offered = _candidates(asked, children) if asked else {}
    return {
        name: {
            "installed": installed.get(name),
            "candidate": installed.get(name, offered.get(name)),
        }
        for name in names
    }


def _candidates(names: list[str], children: Children) -> dict[str, str | None]:
    """What apt offers. Asking takes longer than all other facts, so the answer is kept in /run."""
    stamps = [entry.st_mtime_ns if entry else 0 for entry in map(look_at, _CANDIDATE_SOURCES)]
    path = os.path.join(CACHE, "candidates.json")
    info = look_at(path)
    known = read_json(path) if info is not None and info.st_uid == os.geteuid() else None
    if known and known.get("stamps") == stamps and set(names) <= set(known["offered"]):
        return {name: known["offered"][name] for name in names}
    offered = (
        dict.fromkeys(names)
        if not os.path.exists("/usr/bin/apt-cache")
        else _policy(names, children)
    )
    try:
        os.makedirs(CACHE, 0o700, exist_ok=True)
        write_synced(path, json.dumps({"stamps": stamps, "offered": offered}).encode())
    except OSError:
        pass  # a reader that may not write there asks each time
    return offered


def _policy(names: list[str], children: Children) -> dict[str, str | None]:
    offered: dict[str, str | None] = dict.fromkeys(names)
    _, output = children.run(["apt-cache", "policy", *names])
    name = ""
    for line in output.splitlines():
        if line[:1].strip() and line.endswith(":"):
            name = line[:-1]
        elif line.startswith("  Candidate: ") and name in offered:
            version = line.partition(": ")[2]
            offered[name] = None if version == "(none)" else version
    return offered


# --- services -------------------------------------------------------------------------------------


_SHOWN_PROPERTIES = "Id,LoadState,UnitFileState,ActiveState,SubState,MainPID,Type"


class Systemd:
    """systemctl(1). A unit's name without a suffix means a service."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def show(self, units: list[str]) -> dict[str, Json]:
        """Some properties of each unit, by the name that was asked, all in one call."""
        _, output = self._children.run(
            ["systemctl", "show", "--no-pager", "-p", _SHOWN_PROPERTIES, "--", *units]
        )
        blocks = [block for block in output.split("\n\n") if block.strip()]
        if len(blocks) != len(units):
            raise StepError("systemctl does not answer as expected", output)
        shown = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
        return dict(zip(units, shown))

    def act(self, verb: str, unit: str) -> None:
        """``systemctl VERB UNIT``; a failure comes with the unit's last words."""
        code, output = self._children.run(["systemctl", verb, unit], limit_s=150.0)
        if code != 0:
            text = f"{output}\n{self.last_words(unit)}"
            raise StepError(f"systemctl {verb} {unit} ended with exit code {code}", text.strip())

    def reload_units(self) -> None:
        self._children.succeed(["systemctl", "daemon-reload"], limit_s=90.0, interruptible=False)

    def last_words(self, unit: str) -> str:
        """What `systemctl status` shows, and the unit's last log lines.

        By itself it shows those of the present run alone, which are none while a unit that has just
        failed waits to be started again.
        """
        status = ["systemctl", "status", "--no-pager", "-l", "-n", "0", unit]
        log = ["journalctl", "--no-pager", "-q", "-n", "20", "-u", unit]
        self._children.run(["journalctl", "--sync"])
        return "\n".join(self._children.run(argv)[1].strip() for argv in (status, log))

    def active(self, unit: str) -> bool:
        return self.show([unit])[unit].get("ActiveState") in ("active", "reloading")

    def must_be_active(self, unit: str, doing: str) -> None:
        """Wait while the unit is on its way, then make sure that it runs; a proxy has workers."""
        deadline = time.monotonic() + 60.0
        while True:
            shown = self.show([unit])[unit]
            state = shown.get("ActiveState", "")
            if state not in ("reloading", "activating") or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if state != "active" and not (state == "inactive" and shown.get("Type") == "oneshot"):
            raise StepError(f"{unit} is {state} after its {doing}", self.last_words(unit))
        main = main_pid(shown)
        while is_proxy(main) and processes_of(main) is None:
            if time.monotonic() > deadline:
                words = f"{unit} has no process that takes connections after its {doing}"
                raise StepError(words, self.last_words(unit))
            time.sleep(0.02)

    def reload(self, unit: str) -> None:
        """Reload a unit, or start it where it does not run.

        Raises:
            StepError: it refused, or still works with its old configuration.
        """
        shown = self.show([unit])[unit]
        if shown.get("ActiveState") not in ("active", "reloading"):
            self.start(unit)
            return
        watch = reload_watch(self, unit, main_pid(shown))
        try:
            self.act("reload", unit)
        except StepError:
            if watch:
                watch.must_live()
            raise
        if watch:
            watch.wait()
        self.must_be_active(unit, "reload")

    def start(self, unit: str) -> None:
        """Start a unit, and make sure that it runs.

        Raises:
            StepError: it did not start.
        """
        self.act("start", unit)
        self.must_be_active(unit, "start")

    def words_since(self, unit: str, moment_s: float) -> list[str]:
        """The lines that a unit has written to the journal since a moment of the wall clock."""
        since = f"--since=@{moment_s:.6f}"
        argv = ["journalctl", "--quiet", "--no-pager", "--output=cat", since, "--unit", unit]
        try:
            return self._children.run(argv, limit_s=10.0)[1].splitlines()
        except StepError:
            return []


class ProxyReload:
    """Tells whether a proxy took a new configuration; made before it is told to.

    That a reload ended with 0 says no more than that a signal was sent. What counts: there are new
    workers that take connections, and those of before take none any more.
    """

    _LIMIT_S = 15.0
    #: How long a proxy that has complained may still come round.
    _AFTER_REFUSAL_S = 4.0
    _NAME = ""
    _OLD_ONE = "the old one is still in use"

    def __init__(self, systemd: Systemd, unit: str, main: int) -> None:
        self._systemd = systemd
        self._unit = unit
        self._main = main
        self._main_start = started_at(main)
        self._workers = self._workers_now()
        self._logs = {path: os.path.getsize(path) for path in self._open_logs()}
        self._begun_s = time.time()

    def wait(self) -> None:
        """Return once new workers are there, and they alone take new connections.

        Raises:
            StepError: the proxy kept its old configuration, or ended; `output` has its reason.
        """
        deadline = time.monotonic() + self._LIMIT_S
        is_refused = is_taken = False
        while time.monotonic() < deadline:
            self.must_live()
            is_taken = is_taken or self._is_taken()
            if is_taken and all(map(self._has_stopped_listening, self._workers)):
                return
            if not (is_taken or is_refused) and self._is_refused():
                is_refused = True
                deadline = min(deadline, time.monotonic() + self._AFTER_REFUSAL_S)
            time.sleep(0.01 if is_taken else 0.02)
        if is_taken:
            return
        why = "refused the new configuration" if is_refused else "started no new workers"
        words = f"{self._NAME} {why} at its reload, though its check had passed"
        raise StepError(f"{words}; {self._OLD_ONE}", self._reason())

    def must_live(self) -> None:
        """Raises: StepError: the proxy itself has ended; a reload may say so, or end with 0."""
        if started_at(self._main) != self._main_start:
            words = f"{self._NAME} has ended at its reload, though its check had passed"
            raise StepError(f"{words}; nothing answers at its ports now", self._reason())

    # what differs from proxy to proxy

    def _workers_now(self) -> set[int]:
        """The processes that take connections."""
        return set(_current_workers(self._main))

    def _is_taken(self) -> bool:
        return bool(self._workers_now() - self._workers)

    def _has_stopped_listening(self, worker: int) -> bool:
        return not listens(worker, listening_sockets(self._main))

    def _is_refused(self) -> bool:
        return bool(self._reason())

    def _reason(self) -> str:
        """What the proxy has said of it, as far as it is an emergency."""
        raise NotImplementedError

    # logs

    def _open_logs(self) -> list[str]:
        folder = f"/proc/{self._main}/fd"
        logs = set()
        for name in names_in(folder):
            try:
                path = os.readlink(os.path.join(folder, name))
                if path.startswith("/") and stat.S_ISREG(os.stat(path).st_mode):
                    logs.add(path)
            except OSError:
                continue
        return sorted(logs)

    def _new_lines(self) -> Iterator[str]:
        """What has come to the logs since."""
        for path, seen in self._logs.items():
            try:
                with open(path, "rb") as log:
                    log.seek(seen)
                    yield from log.read(1 << 20).decode("utf-8", "replace").splitlines()
            except OSError:
                continue


class NginxReload(ProxyReload):
    """``nginx -s reload`` only sends a signal. The master then reads the files, opens sockets (it
    tries five times in 2.5 s), and starts new workers; or it writes ``[emerg]`` to its log and goes
    on as before. Source: nginx, "Controlling nginx", and `ngx_open_listening_sockets`.
    """

    _NAME = "nginx"

    def _workers_now(self) -> set[int]:
        return children_of(self._main)

    def _has_stopped_listening(self, worker: int) -> bool:
        """Old workers accept connections for a tenth of a second more, and then say so."""
        title = read_text(f"/proc/{worker}/cmdline")
        return not title or "shutting down" in title

    def _reason(self) -> str:
        lines = [line for line in self._new_lines() if "[emerg]" in line]
        return "\n".join(dict.fromkeys(lines[-10:]))


class ApacheReload(ProxyReload):
    """``apachectl graceful`` only sends a signal. The parent then reads the files, opens sockets
    and logs, writes its pid file anew, and starts new children, which takes up to a second where
    the old ones still have connections. Where it cannot do any of that, it ends, and with it all
    that listens. Source: httpd, "Stopping and Restarting", and `event_run` of mpm_event.
    """

    _NAME = "Apache"
    _OLD_ONE = "it takes no new connections now"
    _SIGNS = ("emerg]", "alert]", "crit]", "AH00072")

    def _is_refused(self) -> bool:
        return False  # it ends then

    def _is_taken(self) -> bool:
        read_s = apache_read_ns(self._main) / _NS
        return (not read_s or read_s > self._begun_s - 0.02) and super()._is_taken()

    def _reason(self) -> str:
        lines = [line for line in self._new_lines() if any(sign in line for sign in self._SIGNS)]
        return "\n".join(dict.fromkeys(lines[-10:]))


class HaproxyReload(ProxyReload):
    """The master executes itself anew, which reads the files, opens sockets (for up to 2 s, in
    which nobody listens) and starts a worker that takes over; or it counts a failed reload, and
    the worker of before goes on. Source: HAProxy's management guide, 3 and 4; its `mworker.c`.
    """

    _NAME = "HAProxy"
    _AFTER_REFUSAL_S = 0.0  # it has given up when it counts

    def __init__(self, systemd: Systemd, unit: str, main: int) -> None:
        super().__init__(systemd, unit, main)
        self._failures = _failed_reloads(main)

    def _workers_now(self) -> set[int]:
        return set(_current_workers_of_haproxy(self._main))

    def _is_refused(self) -> bool:
        return _failed_reloads(self._main) > self._failures

    def _reason(self) -> str:
        lines = self._systemd.words_since(self._unit, self._begun_s)
        alerts = [line for line in lines if "[ALERT]" in line and f"({self._main})" in line]
        return "\n".join(dict.fromkeys(alerts[-10:]))


def _failed_reloads(master: int) -> int:
    """How many reloads of a HAProxy have failed since the last good one.

    Its master keeps that in its environment, for itself. Before 2.4 there is no number, but a
    master that waits for a better configuration says that it does nothing else.
    """
    environment = read_text(f"/proc/{master}/environ").split("\0")
    fields = {key: value for key, _, value in (word.partition("=") for word in environment)}
    for process in fields.get("HAPROXY_PROCESSES", "").split("|"):
        about = dict(field.partition("=")[::2] for field in process.split(";"))
        if about.get("type") == "m" and about.get("failedreloads", "").isdigit():
            return int(about["failedreloads"])
    has_numbers = any("failedreloads=" in word for word in environment)
    return 0 if has_numbers else int("HAPROXY_MWORKER_WAIT_ONLY" in fields)


#: By the name of a proxy's main process.
_RELOADS = {"nginx": NginxReload, "apache2": ApacheReload, "haproxy": HaproxyReload}


def reload_watch(systemd: Systemd, unit: str, main: int) -> ProxyReload | None:
    """What is to tell whether the unit's coming reload is taken; `None` where it is no proxy."""
    kind = _RELOADS.get(read_text(f"/proc/{main}/comm").strip())
    return kind(systemd, unit, main) if kind else None


# --- loaded: which files a running proxy has read -------------------------------------------------

# A proxy does not show the configuration that it runs with. Two witnesses tell what it has loaded:
# our own record of the files as they were before we made it read them, for as long as those
# processes live; and otherwise the start of its oldest current worker against the files' times.

LOADED = os.path.join(CACHE, "loaded")
_NS = 1_000_000_000
TICK_NS = _NS // os.sysconf("SC_CLK_TCK")
#: What a file is noted as that changed while it was being read: no file is ever like it.
_UNKNOWN: Json = {"t": "unknown"}
_MAKE_IT_READ = ("reload", "restart", "start")


def _current_workers_of_nginx(main: int) -> Iterator[int]:
    """Workers of an earlier configuration that still have connections say so in their title."""
    for pid in children_of(main):
        title = read_text(f"/proc/{pid}/cmdline")
        if title.startswith("nginx: worker process") and "shutting down" not in title:
            yield pid


def _current_workers(main: int) -> Iterator[int]:
    """Workers of Apache or HAProxy: those of an earlier configuration have stopped listening."""
    listening = listening_sockets(main)
    return (pid for pid in children_of(main) if listens(pid, listening))


def _current_workers_of_haproxy(main: int) -> Iterator[int]:
    """The same; where none listens, as in the configuration that Debian installs, the last one."""
    found = list(_current_workers(main)) or sorted(children_of(main), key=started_at)[-1:]
    return iter(found)


#: By the name of the main process: those of its children that work with what was loaded last.
_CURRENT_WORKERS = {
    "nginx": _current_workers_of_nginx,
    "apache2": _current_workers,
    "haproxy": _current_workers_of_haproxy,
}
#: Apache writes it anew whenever it has read its configuration. Source: `ap_log_pid`.
_APACHE_PID_FILE = "/run/apache2/apache2.pid"


def children_of(pid: int) -> set[int]:
    path = f"/proc/{pid}/task/{pid}/children"
    if os.path.exists(path):  # CONFIG_PROC_CHILDREN; many times faster than looking at all
        return set(map(int, read_text(path).split()))
    found = set()
    for name in names_in("/proc"):
        if name.isdigit():
            # pid (comm) state ppid …; the name may hold anything but ends at the last bracket
            fields = read_text(f"/proc/{name}/stat").rpartition(")")[2].split()
            if len(fields) > 1 and int(fields[1]) == pid:
                found.add(int(name))
    return found


def is_proxy(main: int) -> bool:
    """Whether this is the main process of a proxy that we know."""
    return read_text(f"/proc/{main}/comm").strip() in _CURRENT_WORKERS


def apache_read_ns(main: int) -> int:
    """When this Apache has read its configuration last, by the wall clock; 0 if it does not say.

    Its children tell less than those of others: it ends some and starts others as load changes.
    """
    if read_text(_APACHE_PID_FILE).strip() != str(main):
        return 0
    info = look_at(_APACHE_PID_FILE)
    return info.st_mtime_ns if info else 0


def processes_of(main: int) -> Json | None:
    """A proxy's main process and current workers, each with its start in ticks since the boot;
    `None` where it is not one that we know, or nothing answers for it."""
    proxy = read_text(f"/proc/{main}/comm").strip()
    current = _CURRENT_WORKERS.get(proxy)
    if current is None:
        return None
    workers = [[pid, started_at(pid)] for pid in sorted(current(main))]
    workers = [worker for worker in workers if worker[1]]  # the others have ended meanwhile
    if not workers:
        return None
    running: Json = {"main": [main, started_at(main)], "workers": workers}
    if proxy == "apache2":
        running["read_ns"] = apache_read_ns(main)
    return running


def sign_of(path: str) -> Json | None:
    """What who opens `path` reads, and when that last changed; `None` where nothing is.

    The time is the ctime: copies and moves may keep the mtime, but nothing can set the ctime.
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
            return sign  # it leads nowhere
        sign["c"] = max(sign["c"], info.st_ctime_ns)
    if stat.S_ISREG(info.st_mode):
        sign["h"] = hash_of(path)
    return sign


def _same_content(one: Json | None, other: Json | None) -> bool:
    if one is None or other is None:
        return one is other
    return {**one, "c": 0} == {**other, "c": 0}


class LoadedFiles:
    """What a unit's running proxy has loaded of some files, by the better of two witnesses."""

    def __init__(self, unit: str, running: Json) -> None:
        record = read_json(_record_of(unit)) or {}
        self._known: dict[str, Json | None] = record.get("files", {})
        self.before = record.get("before", "")
        self.is_ours = _are_same(record, running)
        self._start_ns = _start_ns(running)
        self._are_since_record = self._start_ns >= record.get("noted_ns", 0)
        # Of two clocks that are read one after the other the difference is too large rather than
        # too small, which makes files older, not younger.
        since_boot_ns = uptime_ns()
        self._boot_ns = time.time_ns() - since_boot_ns

    def has(self, path: str, now: Json | None) -> bool:
        """Whether `path`, with the sign `now`, is as the proxy has read it."""
        if path in self._known:
            known = self._known[path]
            if self.is_ours:
                return _same_content(known, now)
            if known == now and self._are_since_record:
                return True  # untouched since our record: who came later has read just this
        if now is None:
            return True  # since when it is gone nobody knows
        return bool(now["c"] - self._boot_ns < self._start_ns)

    def as_known(self, path: str) -> Json | None:
        """The sign under which `path` may be noted as loaded by the processes of now."""
        if self.is_ours and path in self._known:
            return self._known[path]
        now = sign_of(path)
        return now if self.has(path, now) else _UNKNOWN

    @property
    def names(self) -> set[str]:
        return set(self._known)


def _are_same(record: Json, running: Json) -> bool:
    """Whether what runs has read nothing since `record` was written."""
    if record.get("main") != running["main"]:
        return False
    if running.get("read_ns"):
        return bool(record.get("read_ns") == running["read_ns"])
    workers = record.get("workers", [])
    return any(worker in workers for worker in running["workers"])


def _start_ns(running: Json) -> int:
    """When the workers started, since the boot, as the moment up to which a file may be loaded.

    A worker that crashed is started again without a look at the files, so that the oldest tells. It
    started somewhere within its tick. A file's time is that of the clock's last interrupt before
    the change, so never late. With the tick's end, what was there before the start never seems
    later; what came in the 10 ms (and an interrupt) after it may be taken for loaded.
    """
    if running.get("read_ns"):
        read_ns: int = running["read_ns"] - (time.time_ns() - uptime_ns())
        return read_ns + TICK_NS
    oldest: int = min(started for _, started in running["workers"])
    return (oldest + 1) * TICK_NS


def uptime_ns() -> int:
    """Since the boot, suspended time included, as processes' starts are counted; never set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _record_of(unit: str) -> str:
    name = unit[: -len(".service")] if unit.endswith(".service") else unit
    return os.path.join(LOADED, name + ".json")


def _write_record(
    unit: str, running: Json, files: Json, noted_ns: int, *, before: str = ""
) -> None:
    """A record that cannot be written is done without: the files' times remain.

    `before` is the commit that has not made the unit read anything yet.
    """
    try:
        os.makedirs(LOADED, 0o700, exist_ok=True)
        record = {**running, "noted_ns": noted_ns, "files": files, "before": before}
        write_synced(_record_of(unit), canonical_json(record))
    except OSError:
        pass


def main_pid(shown: Json) -> int:
    return int(shown.get("MainPID") or 0)


def loaded_attributes(shown: Json | None, unit: str, files: list[str]) -> Json | None:
    """Which of `files` the running proxy has not loaded as they are; `None` where it does not run,
    or nobody can tell."""
    running = processes_of(main_pid(shown)) if shown else None
    if running is None:
        return None
    loaded = LoadedFiles(unit, running)
    return {"not_loaded": [path for path in files if not loaded.has(path, sign_of(path))]}


def with_because(run: Json) -> Json:
    """The handler of a planned run, with the resources on whose account it runs."""
    return {**run["handler"], "because": run["because"]}


def paths_because(handler: Json) -> list[str]:
    """The files on whose account a handler runs."""
    asked = [resource_id.partition(":") for resource_id in handler.get("because", ())]
    return [name for kind, _, name in asked if kind in ("file", "link")]


def is_reload_for(run: Json, begun: set[Any]) -> bool:
    """Whether a planned run reloads on account of what has been changed: who reads the changed
    files before it, at the rotation of logs say, has to read the former ones again."""
    return run["handler"]["action"] == "reload" and not begun.isdisjoint(run["because"])


def has_loaded(children: Children, handler: Json) -> bool:
    """Whether a handler's unit certainly works with the files, as they are, that it would read."""
    unit, paths = handler["unit"], paths_because(handler)
    if len(paths) < len(handler["because"]):
        return False  # it reads more than files
    try:
        attributes = loaded_attributes(Systemd(children).show([unit])[unit], unit, paths)
    except (StepError, OSError):
        return False
    return attributes is not None and not attributes["not_loaded"]


def is_as_before(children: Children, handler: Json, commit: str) -> bool:
    """Whether a handler's unit certainly works with what it had loaded before `commit` began."""
    unit = handler["unit"]
    try:
        running = processes_of(main_pid(Systemd(children).show([unit])[unit]))
    except StepError:
        return False
    loaded = LoadedFiles(unit, running) if running else None
    return loaded is not None and loaded.is_ours and loaded.before == commit


def note_loaded_before(children: Children, runs: list[Json], commit: str) -> None:
    """Note what the proxies have loaded before anything changes: files that are put back have new
    times, and their content alone can tell then that nothing has to be read again."""
    handlers = [with_because(run) for run in runs if run["handler"]["action"] == "reload"]
    if not handlers or not os.path.isdir(SYSTEMD_RUNS):
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
        pass  # the files' times remain


class Loading:
    """A unit on its way to read its files: begun before it is told to, `done` when it has.

    The signs are those from before, so that a file that changes meanwhile never counts as loaded.
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
        """Note what was loaded, and by which processes."""
        running = self._running() if self._is_of_use else None
        if running is not None and _start_ns(running) >= self._noted_ns:  # "start" may do nothing
            files = {
                path: sign if _sign_or_unknown(path) == sign else _UNKNOWN
                for path, sign in self._before.items()
            }
            _write_record(self._unit, running, files, self._noted_ns)

    def _running(self) -> Json | None:
        """The processes, when there are workers: each begins with its parent's title."""
        deadline = time.monotonic() + self._LIMIT_S
        try:
            main = main_pid(self._systemd.show([self._unit])[self._unit])
        except StepError:
            return None  # the files' times remain
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


# --- owed: reloads that a commit has left undone --------------------------------------------------

# While a commit is under way, its journal says what has to run. What is still to be done when it
# has ended otherwise stands in a file of its own, for the next run.

OWED = os.path.join(STATE, "owed.json")
_OWED_ACTIONS = ("reload", "restart")
_HANDLER_KEYS = ("name", "action", "unit", "config_test")


def _all_owed() -> list[Json]:
    """What is noted. A process that came with a later boot has read its files since."""
    noted = (read_json(OWED) or {}).get("owed", [])
    return [item for item in noted if item["boot_id"] == boot_id()]


def _write_owed(owed: list[Json]) -> None:
    if owed:
        write_synced(OWED, canonical_json({"owed": owed}))
    elif look_at(OWED) is not None:
        os.unlink(OWED)
    else:
        return
    sync_folder(STATE)


def note_owed(handlers: list[Json], folder: str) -> None:
    """Note that `handlers` of the commit in `folder` are still to be run; what is noted already
    keeps its date. Handlers that reload or restart a unit count, others do not.

    Raises:
        OSError: the disk does not take it.
    """
    meta = read_json(os.path.join(folder, "meta.json")) or {}
    owed = _all_owed()
    known = [item["handler"] for item in owed]
    for given in handlers:
        handler = {key: given[key] for key in _HANDLER_KEYS if given.get(key)}
        if handler["action"] in _OWED_ACTIONS and handler not in known:
            known.append(handler)
            about = {key: meta.get(key, "") for key in ("commit", "who", "from")}
            times = {"since": now_text(), "since_ns": uptime_ns(), "boot_id": boot_id()}
            owed.append({"handler": handler, **about, **times})
    if handlers:
        _write_owed(owed)


def settle_owed(handler: Json) -> None:
    """A handler has succeeded: what was owed to its unit is done. A restart does for a reload."""
    action, unit = handler["action"], handler.get("unit", "")
    if action not in _OWED_ACTIONS or look_at(OWED) is None:
        return
    settled = (action,) if action == "reload" else _OWED_ACTIONS
    owed = [
        item
        for item in _all_owed()
        if item["handler"]["unit"] != unit or item["handler"]["action"] not in settled
    ]
    try:
        _write_owed(owed)
    except OSError:
        pass  # it is told by the start of the processes too


def owed_by(folder: str) -> list[Json]:
    """The handlers that a revert of the commit in `folder` would still have to run, as far as its
    records can be read."""
    try:
        events = read_journal(folder)
        plan = read_record(folder, "plan.json", events[0].get("plan"))
    except StepError:
        return []
    if any(event["event"] == "services-back" for event in events):
        return []  # those that failed have been noted by the revert itself
    begun = {event.get("resource_id") for event in events if event["event"] == "intent"}
    ran = {event.get("name") for event in events if event["event"] == "handler"}
    return [
        run["handler"]
        for run in plan["handlers"]
        if run["handler"]["name"] in ran or is_reload_for(run, begun)
    ]


def owed_now(children: Children) -> list[Json]:
    """What is owed and not done: the unit runs, and has not been made to read its files since."""
    owed = _all_owed()
    if not owed or not os.path.isdir(SYSTEMD_RUNS):
        return []
    asked = dict.fromkeys(item["handler"]["unit"] for item in owed)
    try:
        units = Systemd(children).show(list(asked))
    except StepError:
        return []  # who cannot be asked cannot be reloaded: it stays noted
    return [
        {key: item[key] for key in ("handler", "since", "commit", "who", "from")}
        for item in owed
        if _is_still_owed(item, units[item["handler"]["unit"]])
    ]


def _is_still_owed(item: Json, shown: Json) -> bool:
    if shown.get("ActiveState") not in ("active", "reloading"):
        return False  # it reads its files when it starts
    main = main_pid(shown)
    running = processes_of(main)
    if running is not None and item["handler"]["action"] == "reload":
        return bool(_start_ns(running) - TICK_NS <= item["since_ns"])
    return bool(started_at(main) * TICK_NS <= item["since_ns"])


# --- steps: one change each -----------------------------------------------------------------------

PATH_KINDS = ("file", "directory", "link")
_ONLY_AT_CREATION = ("system", "create_home", "append")
#: How a certificate is ordered; and one that is due may stay so for a while.
_OF_ORDERS = ("staging_first", "forced", "strict", "due")


def temporary_name(path: str) -> str:
    """The one name beside `path` under which its successor is written."""
    name = f".deployer-{sha256(os.fsencode(path)).hexdigest()[:16]}"
    return os.path.join(os.path.dirname(path), name)


def replace_file(path: str, write: Callable[[int], None], like: Entry) -> None:
    """Put a regular file at `path` at once, with the mode ``m``, owner ``u``, ``g``, time ``n`` and
    extended attributes ``x`` of `like`; on the disk when this returns."""
    temporary = temporary_name(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    if look_at(temporary) is not None:  # ours, from a run that died here
        os.unlink(temporary)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        write(descriptor)
        _dress(descriptor, like)
        os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))


def _dress(target: Any, like: Entry) -> None:
    """Owner, mode, extended attributes and time, in the order in which they survive one another."""
    info = os.stat(target)
    if (info.st_uid, info.st_gid) != (like["u"], like["g"]):
        os.chown(target, like["u"], like["g"])
    if stat.S_IMODE(os.stat(target).st_mode) != like["m"]:
        os.chmod(target, like["m"])
    _set_extended_attributes(target, like.get("x", {}))
    if like.get("n") is not None:
        os.utime(target, ns=(info.st_atime_ns, like["n"]))


def _set_extended_attributes(target: Any, wanted: Json) -> None:
    try:
        present = os.listxattr(target)
        for name in set(present) - set(wanted):
            os.removexattr(target, name)
        for name, value in wanted.items():
            data = binascii.a2b_base64(value)
            if name not in present or os.getxattr(target, name) != data:
                os.setxattr(target, name, data)
    except OSError:
        pass  # the file system or a security module does not let us: the probe afterwards decides


def replace_link(path: str, target: str) -> None:
    """Put a symbolic link at `path` at once."""
    temporary = temporary_name(path)
    if look_at(temporary) is not None:
        os.unlink(temporary)
    os.symlink(target, temporary)
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


class Steps:
    """Makes single changes. `before` says what was there when the commit began."""

    def __init__(
        self, children: Children, apt: Apt, before: Manifest, runner: Runner | None = None
    ) -> None:
        self._runner = runner
        self._children = children
        self._apt = apt
        self._before = before
        self._systemd = Systemd(children)
        self._units_changed = False

    def run(self, change: Json) -> None:
        """Make one change that is not an install of packages."""
        kind, _, name = change["resource_id"].partition(":")
        if kind in PATH_KINDS and "/systemd/" in name:
            self._units_changed = True
        try:
            if kind in ADDED_KINDS:
                ADDED_KINDS[kind].make(self._runner, name, change["after"])
            else:
                getattr(self, "_" + kind)(name, change["after"], change)
        except OSError as error:
            place = error.filename if isinstance(error.filename, str) else name
            raise StepError(f"{place}: {os_words(error)}") from None

    def install(self, changes: list[Json]) -> None:
        """Install the packages of some changes in one go."""
        names = {c["resource_id"].partition(":")[2]: c["after"].get("version", "") for c in changes}
        self._apt.install(names)

    def reload_units_if_changed(self) -> None:
        if self._units_changed:
            self._systemd.reload_units()
            self._units_changed = False

    def check_before(self, action: str, unit: str) -> None:
        """What loaded modules look at before a unit loads its configuration.

        Raises:
            StepError: it could not load it.
        """
        for check in ADDED_CHECKS:
            check(self._children, unit, action, self._say)

    def _say(self, text: str) -> None:
        if self._runner:
            self._runner.event("said", text=text)

    # paths

    def _make_parents(self, path: str) -> None:
        for folder in folders_above(path):
            if look_at(folder) is None:
                os.mkdir(folder, 0o755)
                os.chmod(folder, 0o755)  # noqa: S103 - as mkdir(1) would, whatever the umask
                sync_folder(os.path.dirname(folder))

    def _room_for(self, path: str, wanted: str) -> os.stat_result | None:
        """What stands at `path`; only what this very commit has brought may be of another type."""
        info = look_at(path)
        if info is None:
            self._make_parents(path)
            return None
        found = type_of(info)
        if found != wanted and (path in self._before or found == "directory"):
            raise StepError(f"{path} is a {found}, but should be a {wanted}")
        return info

    def _owned(self, after: Json, info: os.stat_result | None, mode: int) -> Entry:
        """Mode and owner: what is wanted, else what is there, else the defaults."""
        owner, group = after.get("owner"), after.get("group")
        return {
            "m": int(after["mode"], 8) if after.get("mode") else _mode_of(info, mode),
            "u": user_id(owner) if owner else info.st_uid if info else os.geteuid(),
            "g": group_id(group) if group else info.st_gid if info else os.getegid(),
        }

    def _file(self, path: str, after: Json | None, change: Json) -> None:
        if after is None:
            self._remove(path)
            return
        info = self._room_for(path, "file")
        regular = info if info is not None and stat.S_ISREG(info.st_mode) else None
        like = self._owned(after, regular, 0o644)
        if regular:
            like["x"] = _extended_attributes(path)
        if "after_content_b64" in change:
            content = binascii.a2b_base64(change["after_content_b64"])
            replace_file(path, lambda descriptor: write_all(descriptor, content), like)
        elif regular:
            descriptor = open_regular(path)
            try:
                _dress(descriptor, like)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        else:
            raise StepError(f"there is no file at {path} whose owner or mode could be changed")

    def _directory(self, path: str, after: Json | None, change: Json) -> None:
        if after is None:
            self._remove(path)
            return
        info = self._room_for(path, "directory")
        if info is None:
            os.mkdir(path, 0o700)
        like = self._owned(after, info, 0o755)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _dress(descriptor, {**like, "x": _extended_attributes(path)})
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(os.path.dirname(path))

    def _link(self, path: str, after: Json | None, change: Json) -> None:
        if after is None:
            self._remove(path)
            return
        self._room_for(path, "link")
        replace_link(path, after["target"])

    def _remove(self, path: str) -> None:
        if look_at(path) is not None:
            remove_tree(path)
            sync_folder(os.path.dirname(path))

    # what other programs keep

    def _package(self, name: str, after: Json | None, change: Json) -> None:
        if after is None:
            self._apt.remove([name])
        else:
            self._apt.install({name: after.get("version", "")})

    def _service(self, name: str, after: Json | None, change: Json) -> None:
        self.reload_units_if_changed()
        wanted = after if after is not None else {"enabled": False, "active": False}
        if self._systemd.show([name])[name].get("LoadState") == "not-found":
            raise StepError(f"there is no unit {name} on the host")
        if wanted.get("enabled") is not None:
            self._systemd.act("enable" if wanted["enabled"] else "disable", name)
        if wanted.get("active") is not None:
            if wanted["active"]:
                self.check_before("start", name)
            self._systemd.act("start" if wanted["active"] else "stop", name)
            if wanted["active"]:
                self._systemd.must_be_active(name, "start")

    def _user(self, name: str, after: Json | None, change: Json) -> None:
        if after is None:
            self._children.succeed(["userdel", name])
            return
        exists = user_attributes(name) is not None
        words = ["usermod" if exists else "useradd"]
        for key, option in (("uid", "--uid"), ("group", "--gid"), ("shell", "--shell"),
                            ("comment", "--comment")):  # fmt: skip
            if after.get(key) is not None:
                words += [option, str(after[key])]
        if after.get("home") is not None:
            words += ["--home" if exists else "--home-dir", after["home"]]
        if after.get("groups") is not None:
            words += ["--groups", ",".join(after["groups"])]
        if not exists and after.get("group") == name and not _has_group(name):
            # An account's own group goes with it, and comes with it.
            words[words.index("--gid") : words.index("--gid") + 2] = ["--user-group"]
        if not exists:
            words += ["--system"] if after.get("system") else []
            words += ["--create-home" if after.get("create_home", True) else "--no-create-home"]
        if len(words) > 1:
            self._children.succeed([*words, name])

    def _command(self, name: str, after: Json | None, change: Json) -> None:
        after = after or {}
        environment = {key: str(value) for key, value in (after.get("environment") or {}).items()}
        code, output = self._children.run(
            list(after["argv"]),
            limit_s=COMMAND_LIMIT_S,
            environment=environment,
            chdir=after.get("chdir"),
        )
        if code != 0:
            raise StepError(f"{after['argv'][0]} ended with exit code {code}", output)


def _has_group(name: str) -> bool:
    import grp

    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _mode_of(info: os.stat_result | None, default: int) -> int:
    return stat.S_IMODE(info.st_mode) if info else default


# --- added: modules that a plan needs and most do not ---------------------------------------------


def load_modules(sources: Json) -> None:
    """Run the modules of `sources`, by name and in order, as parts of the package that they are.

    Each may have `KINDS`, `REQUESTS` and `BEFORE_LOADING`, which are added to what is known here.
    """
    import types

    ourselves = sys.modules.get("deployer.agent.commit.apply")
    if ourselves is None:
        ourselves = types.ModuleType("deployer.agent.commit.apply")
        ourselves.__dict__.update(globals())
        _put_module("deployer.agent.commit.apply", ourselves)
    for name, source in sources.items():
        name = "deployer.agent." + name
        if name in sys.modules:
            continue
        module = types.ModuleType(name)
        _put_module(name, module)
        code = compile(source, name + ".py", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - the controller's own words, as this file is
        ADDED_KINDS.update(getattr(module, "KINDS", {}))
        ADDED_REQUESTS.update(getattr(module, "REQUESTS", {}))
        ADDED_CHECKS.extend(getattr(module, "BEFORE_LOADING", ()))


def _put_module(name: str, module: Any) -> None:
    """Make `module` known by its name, and the packages around it."""
    import types

    sys.modules[name] = module
    package, _, last = name.rpartition(".")
    if package:
        if package not in sys.modules:
            around = types.ModuleType(package)
            around.__path__ = []
            _put_module(package, around)
        setattr(sys.modules[package], last, module)


# --- watchdog: what takes a commit back when its runner cannot ------------------------------------

WATCHDOG_PROGRAM = os.path.join(STATE, "watchdog.py")
#: How long after the deadline the timer fires: a runner that lives acts at the deadline itself.
WATCHDOG_GRACE_S = 1.0
#: How long after an attempt that found the lock taken the timer tries again.
WATCHDOG_RETRY_S = 5
#: How long after its time a timer comes again, should it not have come.
_ONCE_MORE_S = (5.0, 15.0, 45.0, 135.0, 405.0)
#: How often a revert that has failed is tried again, over 21 minutes in all.
WATCHDOG_TRIES = 7

# Everything that is not needed to start others comes after basic.target: bootup(7). The proxies are
# named too, for those that have no default dependencies.
_BOOT_UNIT_TEXT = """\
[Unit]
Description=Take back a commit of deployer that was not confirmed before this boot
DefaultDependencies=no
RequiresMountsFor={state}
After=local-fs.target sysinit.target
Before=basic.target nginx.service apache2.service httpd.service haproxy.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
SyslogIdentifier=deployer
TimeoutStartSec=10min
ExecStart={command}
"""


def boot_id() -> str:
    """Different after every boot."""
    return read_text("/proc/sys/kernel/random/boot_id").strip()


class Watchdog:
    """A timer for the deadline and a unit for the next boot, both of one commit.

    The timer's time is monotonic: a clock that is set does not touch it. From the deadline on it
    looks every few seconds whether the runner still has the lock; it is not told when the runner is
    given more time, since a timer that is restarted amid a daemon-reload may be lost. Folders of
    /etc keep their times when the unit comes and when it goes.
    """

    def __init__(self, commit: str, *, duration_s: float, makes_wants: bool) -> None:
        """`makes_wants`: the folder for the boot unit's link is ours, too."""
        self._commit = check_name(commit)
        self._makes_wants = makes_wants
        self.duration_s = max(duration_s, 1.0)
        kept = [sign if sign.isalnum() or sign in "-." else "_" for sign in commit]
        self._name = "deployer-watchdog-{}".format("".join(kept))
        self._timer = self._name + ".timer"
        self._children = Children(lambda: False)

    def arm(self, program: str) -> None:
        """Called once all that a revert needs is on the disk, and before the first change.

        Raises:
            StepError: systemd does not take the timer.
            OSError: the unit cannot be written.
        """
        remove_tree(WATCHDOG_PROGRAM)
        os.link(program, WATCHDOG_PROGRAM)
        self._start_timer(self._timer, self.duration_s + WATCHDOG_GRACE_S)
        # From here on the timer clears up, should this process die before the commit has begun.
        if not os.path.isdir(BOOT_WANTS):
            _keeping_time([UNITS], lambda: os.mkdir(BOOT_WANTS, 0o755))
        command = " ".join(_unit_word(word) for word in self._command("boot"))
        text = _BOOT_UNIT_TEXT.format(state=_unit_word(STATE), command=command)
        _keeping_time([UNITS, BOOT_WANTS], lambda: self._put_boot_unit(text.encode()))
        for folder in (STATE, UNITS, BOOT_WANTS):
            sync_folder(folder)

    @staticmethod
    def _put_boot_unit(text: bytes) -> None:
        """Unit and link, one right after the other: a host that dies between them keeps half."""
        staged = os.path.join(STATE, BOOT_NAME)
        for path in (BOOT_LINK, staged):
            remove_tree(path)
        write_synced(staged, text, 0o644)
        try:
            os.rename(staged, BOOT_UNIT)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            write_synced(BOOT_UNIT, text, 0o644)
        os.symlink(BOOT_UNIT, BOOT_LINK)

    def arm_again(self, tries: int) -> bool:
        """Have a revert that has failed tried once more, each time later; false after the last.

        What makes a revert fail may pass by itself: a full disk, a package manager at work.
        """
        if tries > WATCHDOG_TRIES:
            return False
        self._systemctl("stop", self._timer, self._name + "-try*.timer")
        try:
            self._start_timer(f"{self._name}-try{tries + 1}.timer", 5.0 * 2**tries)
        except StepError:
            return False
        return True

    def _start_timer(self, name: str, after_s: float) -> None:
        self._children.succeed(
            [
                "systemd-run",
                "--quiet",
                "--collect",
                "--unit=" + name,
                "--description=Take back a commit of deployer at its deadline",
                f"--on-active={after_s:.3f}s",
                # A daemon-reload at that very moment makes systemd forget it: hence once more.
                *(f"--timer-property=OnActiveSec={after_s + more:.3f}s" for more in _ONCE_MORE_S),
                f"--on-unit-inactive={WATCHDOG_RETRY_S}s",
                "--timer-property=AccuracySec=100ms",
                "--property=SyslogIdentifier=deployer",
                "--",
                *self._command("deadline"),
            ]
        )

    def _command(self, why: str) -> list[str]:
        python = sys.executable or "/usr/bin/python3"
        return [python, "-I", WATCHDOG_PROGRAM, "--revert=" + self._commit, "--why=" + why]

    def disarm(self, *, boot_too: bool = True, of_any: bool = False) -> None:
        """Leave nothing behind. The commit has ended: what stays would find nothing to do.

        Without `boot_too`, the boot unit belongs to another commit by now. With `of_any`, no commit
        is under way, and the timers of all have had their time.
        """
        if boot_too:
            self._remove_boot_unit()
        # The timer goes last: should this process die before, it fires, and does the rest.
        mine = [self._timer, self._name + "-try*.timer"]
        timers = ["deployer-watchdog-*.timer"] if of_any else mine
        try:
            self._children.run(["systemctl", "stop", *timers])
        except StepError:
            return  # it fires, and needs the program for that
        if boot_too:
            remove_tree(WATCHDOG_PROGRAM)

    def _remove_boot_unit(self) -> None:
        _keeping_time([UNITS, BOOT_WANTS], self._take_boot_unit)
        if self._makes_wants and not names_in(BOOT_WANTS) and os.path.isdir(BOOT_WANTS):
            _keeping_time([UNITS], lambda: os.rmdir(BOOT_WANTS))
        # Units are read again in every other apply: what systemd has read of ours is to go, too.
        listed = self._systemctl("list-units", "--all", "--no-legend", "--plain", BOOT_NAME)
        if listed:
            self._systemctl("daemon-reload")

    @staticmethod
    def _take_boot_unit() -> None:
        for path in _OF_BOOT_UNIT:
            if look_at(path) is not None:
                os.unlink(path)

    def _systemctl(self, *words: str) -> str:
        try:
            return self._children.run(["systemctl", *words])[1]
        except StepError:
            return ""


#: All that the unit for the next boot consists of, finished or not.
_OF_BOOT_UNIT = (BOOT_LINK, BOOT_UNIT, BOOT_UNIT + ".new")


def watchdog_of(meta: Json) -> Watchdog | None:
    """The watchdog of a commit as its ``meta.json`` has it, if it has one."""
    about = meta.get("watchdog")
    if not about:
        return None
    return Watchdog(
        meta["commit"],
        duration_s=float(meta.get("rollback_duration_s") or 0),
        makes_wants=bool(about.get("makes_wants")),
    )


_PULSE = os.path.join(CACHE, "pulse.json")
#: How long a process that has the lock and works on is not thought to hang after its last word.
_AT_WORK_S = 30.0


def note_pulse(for_s: float) -> None:
    """Tell the watchdog that this process has the lock rightly for so long, in monotonic time."""
    pid = os.getpid()
    pulse = {"pid": pid, "started": started_at(pid), "until_s": time.monotonic() + for_s}
    overwrite(_PULSE, json.dumps(pulse).encode())


def overwrite(path: str, text: bytes) -> None:
    """Put a few bytes of JSON at `path` in /run, in one go. Nothing depends on it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        os.pwrite(descriptor, text.ljust(512), 0)
    except OSError:
        pass
    finally:
        os.close(descriptor)


class Keeper:
    """Tells the watchdog that this process lives and works, until `stop`."""

    def __init__(self) -> None:
        self._stopped = Bell()
        self._is_over = False
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        note_pulse(_AT_WORK_S)
        while not self._stopped.wait(ALIVE_EVERY_S):
            note_pulse(_AT_WORK_S)

    def stop(self) -> None:
        """Be silent from now on; may be called again."""
        if not self._is_over:
            self._is_over = True
            self._stopped.ring()
            self._thread.join()
            self._stopped.remove()


def _keeping_time(folders: list[str], act: Callable[[], Any]) -> None:
    """Do something in `folders` that their times do not show."""
    infos = {folder: look_at(folder) for folder in folders}
    act()
    for folder, info in infos.items():
        if info is not None:
            os.utime(folder, ns=(info.st_atime_ns, info.st_mtime_ns))


def _unit_word(word: str) -> str:
    """A word of a command line in a unit file: systemd.service(5), COMMAND LINES."""
    for sign in ("\\", '"'):
        word = word.replace(sign, "\\" + sign)
    return '"{}"'.format(word.replace("%", "%%").replace("$", "$$"))


# --- apply ----------------------------------------------------------------------------------------


def check_plan(plan: Json) -> None:
    """Raises:
    Refusal: the plan is not one that we can carry out."""
    if plan.get("format_version") != 1:
        raise Refusal(
            "bad-request", "plan format {!r} is not known here".format(plan.get("format_version"))
        )
    digest = plan.get("digest")
    unsealed = {key: value for key, value in plan.items() if key != "digest"}
    if digest and sha256(canonical(unsealed)).hexdigest() != digest:
        raise Refusal("bad-request", "the plan is not the one that its digest belongs to")
    for change in plan["changes"]:
        kind, _, name = change["resource_id"].partition(":")
        if kind not in (*_PROBE_KINDS, *ADDED_KINDS) or change["action"] not in (
            "create",
            "update",
            "delete",
            "no-op",
        ):
            raise Refusal(
                "bad-request", "cannot {} {}".format(change["action"], change["resource_id"])
            )
        if kind in PATH_KINDS:
            check_path(name)
        elif kind not in ("command", *ADDED_KINDS):
            check_name(name)
        content = change.get("after_content_b64")
        if content is not None:
            wanted = (change["after"] or {}).get("sha256")
            if sha256(binascii.a2b_base64(content)).hexdigest() != wanted:
                raise Refusal("bad-request", f"the content of {name} is not what its hash says")
    for run in plan["handlers"]:
        if run["handler"].get("unit"):
            check_name(run["handler"]["unit"])


_NAME_SIGNS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_:@\\~")


def check_name(name: Any) -> str:
    """A name of a package, unit, user or commit: never an option, a path or a pattern.

    Raises:
        Refusal: it is none.
    """
    if not isinstance(name, str) or not name or name[0] in "-." or not _NAME_SIGNS.issuperset(name):
        raise Refusal("bad-request", f"{name!r} is not a name")
    return name


def probe_request(change: Json) -> Json:
    """What has to be asked to see a change's resource again."""
    kind, _, name = change["resource_id"].partition(":")
    query: Json = {}
    if kind == "command":
        after = change["after"] or {}
        query = {key: after.get(key) for key in ("creates", "removes", "unless", "chdir")}
    return {"id": change["resource_id"], "kind": kind, "name": name, "query": query}


#: The file that keeps room on the disk for a revert.
RESERVE = "reserve"
KEPT_GENERATIONS = 10


class Apply:
    """One apply, from the refusals to the last look."""

    def __init__(self, runner: Runner, request: Json) -> None:
        self._runner = runner
        self._children = runner.children
        self._state = runner.state
        self._plan: Json = request["plan"]
        self._commit: Json = request["commit"]
        self._probe = Probe(runner.children)
        check_name(self._commit["id"])
        check_plan(self._plan)
        self._changes = list(_to_do(self._plan["changes"]))
        self._handlers: list[Json] = self._plan["handlers"]
        planned = [change for change in self._changes if change["action"] != "no-op"]
        self._total = len(planned) + len(self._handlers)
        self._n = 0
        self._children.commit = runner.made_commit = self._commit["id"]
        self._is_watched = WATCHDOG and self._commit.get("watchdog", True) is not False
        self._watchdog: Watchdog | None = None
        self._reserve_bytes = 0

    def run(self) -> Json:
        """Carry the plan out, and leave the commit pending.

        Raises:
            Refusal: nothing was changed, or all has been taken back again.
            Gone: the controller went away, and all has been taken back again.
        """
        try:
            self._state.make()
            self._state.lock({key: self._commit.get(key, "") for key in ("who", "from")})
        except OSError as error:
            raise self._not_begun(error, 0) from None
        try:
            self._refuse_if_unwatched()
            self._refuse_if_under_way()
            self._refuse_if_stale()
            self._prepare()
        except BaseException:
            self._state.unlock()
            raise
        return self._carry_out()

    # 1. refusals: nothing has been changed yet

    def _refuse_if_unwatched(self) -> None:
        if self._is_watched and not os.path.isdir(SYSTEMD_RUNS):
            raise Refusal(
                "no-systemd",
                "systemd does not run on this host, so nothing could take the commit back "
                "if this run were cut off",
            )

    def _refuse_if_under_way(self) -> None:
        going = self._state.under_way()
        if going is None:
            return
        words = {
            "pending": "has been neither confirmed nor reverted",
            "reverting": "is half reverted",
            "revert-failed": f"could not be reverted; see {self._state.reverting}",
        }[going["state"]]
        raise Refusal(
            "pending",
            "the commit {} of {} from {} {}".format(
                going["commit"], going["who"] or "someone", going["from"] or "somewhere", words
            ),
            **{key: going[key] for key in ("commit", "state", "who", "from", "time")},
        )

    def _refuse_if_stale(self) -> None:
        seen = [
            change
            for change in self._plan["changes"]
            if not (change["action"] == "no-op" and change["resource_id"].startswith("command:"))
        ]
        found = self._probe.observe([probe_request(change) for change in seen])
        stale = [
            change["resource_id"]
            for change, now in zip(seen, found)
            if change["fingerprint"] != now["fingerprint"]
        ]
        if stale:
            raise Refusal(
                "stale",
                "the host has changed since the plan was made: {}".format(", ".join(stale)),
                resource_ids=stale,
            )

    def _refuse_if_full(self, image_bytes: int) -> None:
        needed: dict[int, list[Any]] = {}

        def add(folder: str, size: int) -> None:
            while look_at(folder) is None:
                folder = os.path.dirname(folder)
            entry = needed.setdefault(os.stat(folder).st_dev, [folder, 0])
            entry[1] += size

        add(STATE, image_bytes + self._reserve_bytes + (2 << 20))
        for change in self._changes:
            if "after_content_b64" in change:
                size = len(change["after_content_b64"]) * 3 // 4
                add(os.path.dirname(change["resource_id"].partition(":")[2]), size + 4096)
        if any(
            c["resource_id"].startswith("package:") and c["after"] is not None
            for c in self._changes
        ):
            for folder, margin in _PACKAGE_MARGINS.items():
                add(folder, margin)
        for folder, size in needed.values():
            space = os.statvfs(folder)
            free = (space.f_bfree if os.geteuid() == 0 else space.f_bavail) * space.f_frsize
            if free < size or (space.f_files and space.f_ffree < 2 * len(self._changes) + 16):
                raise Refusal(
                    "no-space",
                    f"the file system of {folder} has {free} bytes free, and {size} are needed",
                    path=folder,
                    needed_bytes=size,
                    free_bytes=free,
                )

    # 2. everything that a revert needs, on the disk

    def _prepare(self) -> None:
        touched = self._touched()
        self._manifest = manifest_of(touched)
        wide = self._is_wide()
        kept = [
            path
            for path, entry in self._manifest.items()
            if entry["t"] == "file"
            and ((wide and has_kept_content(path)) or any(_covers(touched, path)))
        ]
        self._reserve_bytes = self._room_to_revert(kept)
        image_bytes = sum(self._manifest[path]["s"] for path in kept)
        self._refuse_if_full(image_bytes)
        folder = os.path.join(STATE, "new-" + self._commit["id"])
        try:
            os.mkdir(folder, 0o700)
            self._write_images(kept)
            self._write_records(folder, touched, wide)
            self._reserve(folder)
            sync_folder(folder)
            self._arm(folder)
            os.rename(folder, self._state.pending)
            sync_folder(STATE)
        except Refusal:
            self._clear_away(folder)
            raise
        except (StepError, OSError) as error:
            self._clear_away(folder)
            raise self._not_begun(error, image_bytes) from None

    def _clear_away(self, folder: str) -> None:
        """Nothing was changed: of the commit that was to begin, nothing stays."""
        if os.path.isdir(self._state.pending):
            try:
                os.rename(self._state.pending, folder)
            except OSError:
                return  # the watchdog takes it back, and finds nothing changed
        if self._watchdog:
            self._watchdog.disarm()
        try:
            remove_tree(folder)
            for ending in (".json", ".pack"):
                remove_tree(os.path.join(IMAGES, self._commit["id"] + ending))
        except OSError:
            pass  # the next run sweeps it up

    def _not_begun(self, error: StepError | OSError, image_bytes: int) -> Refusal:
        if isinstance(error, StepError):
            return Refusal("not-begun", error.message, output=error.output)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not os.path.isdir(STATE):
            return Refusal("not-begun", f"{STATE} cannot be written to: {os_words(error)}")
        free = os.statvfs(STATE)
        return Refusal(
            "no-space",
            f"there is no room for the before-images in {STATE}",
            path=STATE,
            needed_bytes=image_bytes + self._reserve_bytes,
            free_bytes=free.f_bavail * free.f_frsize,
        )

    def _room_to_revert(self, kept: list[str]) -> int:
        """What a revert needs on the disk at most: one file beside its successor, its own records,
        and what dpkg writes when it removes packages."""
        largest = max((self._manifest[path]["s"] for path in kept), default=0)
        with_packages = any(c["resource_id"].startswith("package:") for c in self._changes)
        return largest + (1 << 20) + (_PACKAGE_MARGINS["/var/lib/dpkg"] if with_packages else 0)

    def _reserve(self, folder: str) -> None:
        """Take that room now, so that a disk that fills up meanwhile cannot prevent the revert."""
        path = os.path.join(folder, RESERVE)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._reserve_bytes)
        finally:
            os.close(descriptor)

    def _arm(self, folder: str) -> None:
        self._watchdog = watchdog_of(read_json(os.path.join(folder, "meta.json")) or {})
        if self._watchdog is None:
            return
        try:
            self._watchdog.arm(os.path.join(folder, "runner.py"))
        except StepError as error:
            raise Refusal(
                "no-watchdog",
                f"the watchdog cannot be armed: {error.message}",
                output=error.output,
            ) from None

    def _touched(self) -> dict[str, bool]:
        """The paths that steps write to; true where all below belongs to it."""
        touched = {}
        for change in self._changes:
            kind, _, name = change["resource_id"].partition(":")
            after = change["after"] or {}
            if kind in PATH_KINDS:
                info = look_at(name)
                touched[name] = change["action"] == "delete" or info is None
            elif kind == "user" and change["action"] == "create":
                for path in (after.get("home") or "/home/" + name, "/var/mail/" + name):
                    if os.path.normpath(path) == path != "/" and look_at(path) is None:
                        touched[path] = True
            elif kind in ADDED_KINDS:
                touched.update(dict.fromkeys(ADDED_KINDS[kind].paths(name), True))
            elif kind == "command":
                for pattern in _listed(after.get("creates") or []):
                    path = os.path.normpath(os.path.join(after.get("chdir") or "/", pattern))
                    if look_at(path) is None and not any(sign in path for sign in "*?["):
                        touched[path] = True
        if any(change["resource_id"].startswith("package:") for change in self._changes):
            touched.update({path: True for path in _LEFT_BY_PURGES if look_at(path) is None})
        for path in list(touched):  # folders that have to be made go again with all that is in them
            missing = [folder for folder in folders_above(path) if look_at(folder) is None]
            if missing:
                touched[missing[0]] = True
        return touched

    def _is_wide(self) -> bool:
        """Whether other programs than ourselves change files."""
        kinds = {change["resource_id"].partition(":")[0] for change in self._changes}
        runs = any(run["handler"]["action"] == "run" for run in self._handlers)
        return runs or bool(kinds & {"package", "user", "command"})

    def _write_images(self, paths: list[str]) -> None:
        pack = os.path.join(IMAGES, self._commit["id"] + ".pack")
        remove_tree(pack)  # of a run that died before its first change
        images = ImageWriter(pack, known_images())
        try:
            for path in paths:
                try:
                    self._manifest[path]["h"] = images.add(path)
                except FileNotFoundError:
                    del self._manifest[path]
        finally:
            images.close()
        self._index = images.index
        own = {name: place for name, place in self._index.items() if place[0] == images.name}
        if own:
            write_synced(pack[: -len("pack")] + "json", canonical_json(own))
        else:
            os.unlink(pack)
        sync_folder(IMAGES)

    def _write_records(self, folder: str, touched: dict[str, bool], wide: bool) -> None:
        commit = self._commit
        deadline_s = time.time() + float(commit.get("rollback_duration_s") or 0)
        deadline = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(deadline_s))
        with_packages = any(c["resource_id"].startswith("package:") for c in self._changes)
        before = canonical_json(
            {
                "touched": touched,
                "wide": wide,
                "manifest": self._manifest,
                "images": self._index,
                "packages": package_states() if with_packages else None,
                "automatic": automatic_packages() if with_packages else [],
                "units": self._units(),
            }
        )
        plan = {
            "changes": [
                {
                    **{key: value for key, value in change.items() if key != "after_content_b64"},
                    **_paths_of_added(change),
                }
                for change in self._changes
            ],
            "handlers": self._handlers,
        }
        meta = {
            "commit": commit["id"],
            "time": now_text(),
            "who": commit.get("who", ""),
            "from": commit.get("from", ""),
            "digest": self._plan.get("digest", ""),
            "changes": [
                {"resource_id": change["resource_id"], "action": change["action"]}
                for change in self._changes
                if change["action"] != "no-op"
            ],
            "sites": commit.get("sites", []),
            "verified": [],
            "state": "pending",
            "generation": None,
            "sequence": self._state.next_sequence(),
            "keep": int(commit.get("keep") or KEPT_GENERATIONS),
            "packs": sorted({place[0].rpartition(".")[0] for place in self._index.values()}),
            "deadline": deadline,
            "rollback_duration_s": float(commit.get("rollback_duration_s") or 0),
            "boot_id": boot_id(),
            "watchdog": {"makes_wants": look_at(BOOT_WANTS) is None} if self._is_watched else None,
        }
        plan_text = canonical_json(plan)
        write_synced(os.path.join(folder, "before.json"), before)
        write_synced(os.path.join(folder, "plan.json"), plan_text)
        write_synced(os.path.join(folder, "meta.json"), canonical_json(meta))
        write_synced(os.path.join(folder, "runner.py"), self._runner.source)
        journal = Journal(folder, commit["id"])
        try:
            journal.write(
                "begin",
                commit=commit["id"],
                before=sha256(before).hexdigest(),
                plan=sha256(plan_text).hexdigest(),
                watched=self._is_watched,
            )
        finally:
            journal.close()

    def _units(self) -> dict[str, Json]:
        """The units that the plan acts on, as systemd shows them now."""
        units = units_of(self._changes, self._handlers)
        return Systemd(self._children).show(units) if units else {}

    # 4. changes

    def _carry_out(self) -> Json:
        note_loaded_before(self._children, self._handlers, self._commit["id"])
        journal = Journal(self._state.pending, self._commit["id"])
        apt = Apt(self._children, lambda text: self._runner.event("output", text=text))
        self._steps = Steps(self._children, apt, self._manifest, self._runner)
        doing = ""
        keeper = Keeper()
        try:
            for stage in sorted({item["stage"] for item in self._changes + self._handlers}):
                changes = [change for change in self._changes if change["stage"] == stage]
                handlers = [with_because(r) for r in self._handlers if r["stage"] == stage]
                for group in _groups(changes):
                    doing = group[0]["resource_id"]
                    if not self._holds_already(group[0]):
                        self._step(journal, group)
                for change, problem in self._not_as_wanted(changes):
                    doing = change["resource_id"]
                    raise StepError(problem, self._last_words(doing))
                doing = "handler:" + handlers[0]["name"] if handlers else doing
                self._steps.reload_units_if_changed()
                for handler in handlers:
                    doing = "handler:" + handler["name"]
                    self._test_config(handler)
                    self._steps.check_before(handler["action"], handler.get("unit", ""))
                for handler in handlers:
                    doing = "handler:" + handler["name"]
                    self._handle(journal, handler)
            self._write_after(journal)
        except Gone:
            keeper.stop()
            self._take_back(journal, "the controller went away during the apply")
            raise
        except StepError as error:
            keeper.stop()
            self._fail(journal, doing, error)
        except OSError as error:
            keeper.stop()
            self._fail(journal, doing, StepError(f"{error.filename or STATE}: {os_words(error)}"))
        except Exception as error:  # whatever it was, the host must go back
            keeper.stop()
            self._fail(journal, doing, StepError(f"{type(error).__name__}: {error}"))
        finally:
            keeper.stop()
            journal.close()
        return {"commit": self._commit["id"], "state": "pending"}

    def _holds_already(self, change: Json) -> bool:
        """Whether what was right before the packages came is right still, and needs no step."""
        if change["action"] != "no-op":
            return False
        (now,) = self._probe.observe([probe_request(change)])
        if not now.get("problem") and not _difference(change["after"], now["attributes"]):
            return True
        self._total += 1
        return False

    def _step(self, journal: Journal, group: list[Json]) -> None:
        """One change, or several installs in one go."""
        if self._runner.channel.gone.is_set():
            raise Gone
        started = time.monotonic()
        for change in group:
            self._n += 1
            journal.write("intent", resource_id=change["resource_id"])
            self._runner.step(self._n, self._total, change["resource_id"], change["action"])
        if group[0]["resource_id"].startswith("package:") and group[0]["after"] is not None:
            self._steps.install(group)
        else:
            self._steps.run(group[0])
        for words in self._runner.kept:
            journal.write("kept-for-good", what=words)
        self._runner.kept.clear()
        seconds = round(time.monotonic() - started, 3)
        for number, change in enumerate(group, self._n - len(group) + 1):
            journal.write("done", resource_id=change["resource_id"])
            self._runner.step(
                number, self._total, change["resource_id"], change["action"], seconds=seconds
            )

    def _not_as_wanted(self, changes: list[Json]) -> Iterator[tuple[Json, str]]:
        """Ask the host again before claiming anything: changes that did not take."""
        found = self._probe.observe([probe_request(change) for change in changes])
        for change, now in zip(changes, found):
            difference = now.get("problem") or _difference(change["after"], now["attributes"])
            if difference:
                yield (
                    change,
                    f"it is not as it should be after its change: {difference}",
                )

    def _last_words(self, resource_id: str) -> str:
        """What a service that does not run has said last."""
        kind, _, name = resource_id.partition(":")
        return Systemd(self._children).last_words(name) if kind == "service" else ""

    def _test_config(self, handler: Json) -> None:
        if not handler.get("config_test"):
            return
        code, output = self._children.run(list(handler["config_test"]))
        if code != 0:
            words = " ".join(handler["config_test"])
            raise ConfigTestError(f"{words} refuses the configuration", output)

    def _handle(self, journal: Journal, handler: Json) -> None:
        if self._runner.channel.gone.is_set():
            raise Gone
        self._n += 1
        started = time.monotonic()
        resource_id = "handler:" + handler["name"]
        journal.write("handler", name=handler["name"], unit=handler.get("unit", ""))
        self._runner.step(self._n, self._total, resource_id, handler["action"])
        run_handler(self._children, handler)
        journal.write("handled", name=handler["name"])
        seconds = round(time.monotonic() - started, 3)
        self._runner.step(self._n, self._total, resource_id, handler["action"], seconds=seconds)

    def _write_after(self, journal: Journal) -> None:
        """How we leave the host, so that a revert can tell our work from others'."""
        after = after_record(read_before(self._state.pending))
        text = canonical_json(after)
        write_synced(os.path.join(self._state.pending, "after.json"), text)
        sync_folder(self._state.pending)
        journal.write("applied", after=sha256(text).hexdigest())

    # 6. back again

    def _take_back(self, journal: Journal, why: str) -> Json:
        journal.try_to_write("failed", why=why)
        return Revert(self._runner, self._commit["id"], why).run()

    def _fail(self, journal: Journal, doing: str, error: StepError) -> None:
        thing = doing.replace(":", " ", 1)  # as people read it
        words = f"{thing}: {error.message}" if thing else error.message
        reply = self._take_back(journal, words)
        raise Refusal(
            error.code,
            words,
            resource_id=doing,
            output=error.output,
            revert=reply,
        ) from None


def _paths_of_added(change: Json) -> Json:
    """The paths of a kind that a loaded module has brought: whoever takes it back may lack that."""
    kind, _, name = change["resource_id"].partition(":")
    return {"paths": ADDED_KINDS[kind].paths(name)} if kind in ADDED_KINDS else {}


def canonical_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _covers(touched: dict[str, bool], path: str) -> Iterator[bool]:
    for top, deep in touched.items():
        yield path == top or (deep and is_below(path, top))


def _to_do(changes: list[Json]) -> Iterator[Json]:
    """The changes of a plan, and what is right now but comes after packages, which may spoil it."""
    after_packages = False
    for change in changes:
        kind = change["resource_id"].partition(":")[0]
        if change["action"] != "no-op" or (after_packages and kind not in ("command", "package")):
            yield change
        after_packages = after_packages or (kind == "package" and change["action"] == "create")


def _groups(changes: list[Json]) -> Iterator[list[Json]]:
    """Single changes, but installs of packages that follow one another together."""
    group: list[Json] = []
    for change in changes:
        if change["resource_id"].startswith("package:") and change["action"] == "create":
            group.append(change)
            continue
        if group:
            yield group
            group = []
        yield [change]
    if group:
        yield group


def _difference(wanted: Json | None, found: Json | None) -> str:
    """Where `found` is not as `wanted`, in words; empty where it is."""
    if wanted is None:
        return "" if found is None or found.get("done") or _is_off(found) else "it is still there"
    if found is None:
        return "" if _is_off(wanted) else "it is not there"
    if "done" in wanted:
        return "" if found.get("done") else "it has run, but its guard says that it is still to do"
    for key, value in wanted.items():
        if key not in (*_ONLY_AT_CREATION, *_OF_ORDERS) and not _alike(key, value, found.get(key)):
            return f"{key} is {found.get(key)!r} instead of {value!r}"
    return ""


def _is_off(found: Json) -> bool:
    return found.get("enabled") is False and found.get("active") is False


def _alike(key: str, wanted: Any, found: Any) -> bool:
    if wanted == found:
        return True
    try:
        if key == "owner":
            return user_id(str(wanted)) == user_id(str(found))
        if key == "group":
            return group_id(str(wanted)) == group_id(str(found))
    except StepError:
        return False
    return False


def units_of(changes: list[Json], handlers: list[Json]) -> list[str]:
    """The units that changes and handlers act on, each once, in order."""
    names = [
        change["resource_id"].partition(":")[2]
        for change in changes
        if change["resource_id"].startswith("service:")
    ]
    names += [run["handler"]["unit"] for run in handlers if run["handler"].get("unit")]
    return list(dict.fromkeys(names))


def run_handler(children: Children, handler: Json) -> None:
    """Carry out a handler's action, and make sure that its unit runs afterwards."""
    systemd, unit, action = Systemd(children), handler.get("unit", ""), handler["action"]
    loading = Loading(systemd, handler)
    if action == "run":
        children.succeed(list(handler["argv"]), limit_s=COMMAND_LIMIT_S)
    elif action == "reload":
        systemd.reload(unit)
    elif action in ("restart", "start", "stop"):
        systemd.act(action, unit)
        if action != "stop":
            systemd.must_be_active(unit, action)
    else:
        raise StepError(f"a handler cannot {action!r}")
    loading.done()
    settle_owed(handler)


# --- putting back: three states of every path -----------------------------------------------------


def read_before(folder: str) -> Json:
    """What ``before.json`` says.

    Raises:
        StepError: it is damaged.
    """
    before = read_json(os.path.join(folder, "before.json"))
    if before is None:
        raise StepError("before.json cannot be read")
    return before


def after_record(before: Json) -> Json:
    """How the host is now, as far as it differs from `before`."""
    then: Manifest = before["manifest"]
    now = manifest_of(before["touched"])
    changed = {}
    for path, entry in now.items():
        known = then.get(path)
        if known is not None and same_stamp(entry, known) and entry.get("k") == known.get("k"):
            continue
        if entry["t"] == "file" and not is_live(path, before):
            entry["h"] = content_hash(path, entry, None)
        changed[path] = entry
    packages = before["packages"]
    return {
        "changed": changed,
        "gone": [path for path in then if path not in now],
        "packages": package_states() if packages is not None else None,
    }


def is_live(path: str, before: Json) -> bool:
    """Whether `path` is data of running services, of which no content is kept."""
    if not is_below(path, VAR_LIB) or has_kept_content(path):
        return False
    return not any(_covers(before["touched"], path))


class PutBack:
    """Brings paths back from how an apply left them to how they were before it."""

    def __init__(self, before: Json, left: Callable[[Manifest], Manifest], folder: str) -> None:
        """`left` tells how the apply left things, given how they are; `folder` is the commit's."""
        self._before = before
        self._then: Manifest = before["manifest"]
        self._folder = folder
        self._images = Images(IMAGES, before["images"])
        self._aside = Images(folder, {})
        self._foreign: dict[str, Entry] = {}
        self._skipped: set[str] = set()
        self._occupied: dict[str, str] = {}  # folders of ours that hold what others have made
        self._lost: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._remove_temporaries()
        start = manifest_of(before["touched"])
        self._left = left(start)
        edits = read_json(os.path.join(folder, "edits.json"))
        if edits is None:
            self._find_edits(start)
            self._keep_aside(os.path.join(folder, "edits.json"))
        else:  # an earlier revert died on its way: what differs by now may be its own doing
            self._foreign, self.kept = edits["foreign"], edits["kept"]
            self._skipped = set(edits["skipped"])
            self._aside = Images(folder, edits["aside"])

    def _remove_temporaries(self) -> None:
        """A run that died between two operations may have left a path's successor beside it."""
        for path in {**self._then, **self._before["touched"]}:
            temporary = temporary_name(path)
            if look_at(temporary) is not None:
                os.unlink(temporary)

    # what others have done since

    def _find_edits(self, start: Manifest) -> None:
        for path in {**self._then, **self._left, **start}:
            was, left, now = self._then.get(path), self._left.get(path), start.get(path)
            if is_same(path, now, left) or (was is not None and is_live(path, self._before)):
                continue
            if now is None and was is None:
                continue  # what we made is gone already, as it should be
            if was is None and now is not None and self._is_product(path, now):
                continue
            self._skipped.add(path)
            if now is not None:
                self._foreign[path] = now
            ours = not is_same(path, left, was)
            if ours and not is_same(path, now, was):
                self.kept[path] = (
                    "it was removed meanwhile" if now is None else "it was changed meanwhile"
                )
            elif was is None and self._is_new_folder(os.path.dirname(path)):
                self.kept[path] = "it was made meanwhile in a folder that this commit made"

    def _is_product(self, path: str, now: Entry) -> bool:
        """Whether a service of this commit has made `path`: in a folder that the commit made,
        outside /etc, and not as root."""
        if is_below(path, ETC) or not self._is_new_folder(os.path.dirname(path)):
            return False
        return now["u"] != 0 or is_below(path, VAR_LIB)

    def _is_new_folder(self, folder: str) -> bool:
        return folder not in self._then and folder in self._left

    def _keep_aside(self, record: str) -> None:
        """Copy what others have made, since a purge would take it with it, and write down what it
        is, in case that this revert does not come to its end."""
        pack = os.path.join(self._folder, "aside.pack")
        remove_tree(pack)
        writer = ImageWriter(pack)
        try:
            for path, entry in self._foreign.items():
                if entry["t"] == "file" and is_below(path, ETC):
                    try:
                        entry["h"] = writer.add(path)
                    except OSError as error:
                        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                            raise
        finally:
            writer.close()
        self._aside = Images(self._folder, writer.index)
        edits = {
            "foreign": self._foreign,
            "skipped": sorted(self._skipped),
            "kept": self.kept,
            "aside": writer.index,
        }
        write_synced(record, canonical_json(edits))

    def give_back_foreign(self) -> None:
        """Put back what others had made and a purge has taken with it."""
        for path in sorted(self._foreign):
            entry = self._foreign[path]
            if look_at(path) is not None or not is_below(path, ETC):
                continue
            try:
                for folder in folders_above(path):
                    if look_at(folder) is None:
                        like = self._left.get(folder) or {"m": 0o755, "u": 0, "g": 0}
                        os.mkdir(folder, 0o700)
                        _dress(folder, {key: like[key] for key in ("m", "u", "g")})
                if entry["t"] == "file" and not self._aside.has(entry.get("h")):
                    raise StepError("no copy of it could be made")
                self._make(path, entry, self._aside)
            except (OSError, StepError) as error:
                self._lost[path] = f"the revert has lost it: {error}"

    def all_kept(self) -> dict[str, str]:
        """What stays as others have made it, and why."""
        return {**self.kept, **self._occupied}

    def all_failed(self) -> dict[str, str]:
        """What could not be put back, and why."""
        return {**self._lost, **self.failed}

    # back

    def run(self) -> None:
        """Put back everything but what others have changed; may be called again."""
        self.failed.clear()
        self._occupied.clear()
        current = manifest_of(self._before["touched"])
        for path in list(current):
            if (
                path not in self._then
                and is_below(path, VAR_LIB)
                and current[path]["t"] == "directory"
            ):
                tree_of(path, current)
        for path in sorted(set(current) - set(self._then) - self._skipped, reverse=True):
            if self._is_ours(path, current[path]):
                self._attempt(path, self._remove)
        for path in sorted(set(self._then) - self._skipped):
            if not self._is_left_alone(path):
                self._attempt(path, lambda path: self._restore(path, current.get(path)))
        for path in sorted(self._then, reverse=True):
            self._attempt(path, self._restore_time)

    def _attempt(self, path: str, act: Callable[[str], None]) -> None:
        try:
            act(path)
        except StepError as error:
            self.failed[path] = error.message
        except OSError as error:
            self.failed[path] = f"it cannot be put back: {os_words(error)}"

    def _is_ours(self, path: str, now: Entry) -> bool:
        """Whether something that was not there before is to go."""
        if any(_covers(self._before["touched"], path)):
            return True
        if is_below(path, ETC):
            return bool(self._before["wide"]) or (path in self._left and now["t"] != "file")
        if is_below(path, VAR_LIB):
            by_tools = self._before["wide"] and has_kept_content(path)
            return by_tools or path in self._left or os.path.dirname(path) not in self._then
        return False

    def _remove(self, path: str) -> None:
        info = look_at(path)
        if info is None:
            return
        if not stat.S_ISDIR(info.st_mode):
            os.unlink(path)
            return
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            known = {**self.kept, **self.failed}
            if _others_in(path) and not any(is_below(other, path) for other in known):
                self._occupied[path] = "it holds what this commit has not made"

    def _is_left_alone(self, path: str) -> bool:
        """Without other programs at work, only touched paths, links and folders are mended."""
        if is_live(path, self._before) and self._then[path]["t"] == "file":
            return True
        is_ours = self._before["wide"] or any(_covers(self._before["touched"], path))
        return not is_ours and self._then[path]["t"] == "file"

    def _restore(self, path: str, now: Entry | None) -> None:
        was = self._then[path]
        if now is not None and same_stamp(now, was):
            return
        if now is not None and now["t"] != was["t"]:
            remove_tree(path)
            now = None
        if was["t"] == "file" and now is not None:
            is_unchanged = now["s"] == was["s"] and hash_of(path) == was.get("h")
            if is_unchanged:
                _dress(path, was)
                return
        if was["t"] == "directory" and now is not None:
            if not same_meta(now, was):
                _dress(path, {key: value for key, value in was.items() if key != "n"})
            return
        if was["t"] == "link" and now is not None and now["to"] == was["to"]:
            os.utime(path, ns=(was["n"], was["n"]), follow_symlinks=False)
            os.chown(path, was["u"], was["g"], follow_symlinks=False)
            return
        self._make(path, was, self._images)

    def _make(self, path: str, entry: Entry, images: Images) -> None:
        """Make what `entry` says at `path`."""
        kind = entry["t"]
        if kind == "file":
            if not images.has(entry.get("h")):
                raise StepError("its content was not kept")
            replace_file(path, lambda descriptor: images.write(entry["h"], descriptor), entry)
        elif kind == "directory":
            os.mkdir(path, 0o700)
            _dress(path, entry)
        elif kind == "link":
            replace_link(path, entry["to"])
            os.chown(path, entry["u"], entry["g"], follow_symlinks=False)
            os.utime(path, ns=(entry["n"], entry["n"]), follow_symlinks=False)
        elif kind == "fifo":
            os.mkfifo(path)
            _dress(path, entry)
        elif kind != "socket":  # a socket comes back with the service that listens on it
            raise StepError("a device cannot be made again")

    def _restore_time(self, path: str) -> None:
        """A folder's time goes back when the same names are in it again."""
        was = self._then[path]
        if was["t"] != "directory" or path in self._skipped:
            return
        info = look_at(path)
        if info is None or info.st_mtime_ns == was["n"] or not stat.S_ISDIR(info.st_mode):
            return
        if _names_hash(path) == was["k"]:
            os.utime(path, ns=(info.st_atime_ns, was["n"]))


def _left_by(
    then: Manifest, after: Json | None, start: Manifest, written: dict[str, list[str]]
) -> Manifest:
    """The manifest as the apply left it. One that was cut off is taken as it stands, but
    for files that hold neither what they held before nor what was `written` to them."""
    if after is not None:
        gone = set(after["gone"])
        left = {path: entry for path, entry in then.items() if path not in gone}
        left.update(after["changed"])
        return left
    left = dict(start)
    for path, names in written.items():
        now = start.get(path)
        if now is not None and now["t"] == "file":
            found = content_hash(path, now, None)
            if found not in (*names, then.get(path, {}).get("h")):
                left[path] = {**now, "n": None, "h": names[-1]}
    return left


# --- revert ---------------------------------------------------------------------------------------


class Revert:
    """Takes one commit back, in reverse order, and says honestly what it could not."""

    def __init__(
        self,
        runner: Runner,
        commit: str,
        why: str,
        *,
        event: str = "revert",
        on_end: Callable[[Json], None] | None = None,
    ) -> None:
        """While the host is booting (`event`), services are not waited for: they wait for us.

        `on_end` is told the result before the watchdog is disarmed.
        """
        self._runner = runner
        self._on_end = on_end
        self._event = event
        self._is_booting = event == "boot"
        self._is_damaged = False
        self._children = Children(lambda: False)  # nothing interrupts the way back
        self._state = runner.state
        self._commit = check_name(commit)
        self._why = why
        self._handlers: list[Json] = []
        self._systemd = Systemd(self._children)
        self._failed: list[Json] = []
        self._n = 0
        self._total = 0

    def run(self) -> Json:
        """Claim the commit and take it back.

        Raises:
            Refusal: it is not pending, or another run is at work on it.
        """
        folder = self._claim()
        self._watchdog = watchdog_of(read_json(os.path.join(folder, "meta.json")) or {})
        keeper = Keeper()
        try:
            kept = self._persist(folder)
        finally:
            keeper.stop()
        return self._end(folder, kept)

    def _claim(self) -> str:
        self._state.make()
        self._state.lock({"who": "a revert", "from": os.uname().nodename})
        try:
            folder = self._state.claim(self._commit, self._event)
            note(folder, state="reverting", why=self._why)
            sync_folder(STATE)
        except Refusal:
            if self._state.under_way() is None:
                self._state.unlock()
            raise
        except OSError:
            folder = self._state.reverting
            if not os.path.isdir(folder):
                self._state.unlock()
                raise
        try:
            remove_tree(os.path.join(folder, RESERVE))
        except OSError:
            pass
        return folder

    def _persist(self, folder: str) -> dict[str, str]:
        """Go the way back, and again where something fails that may pass by itself."""
        kept: dict[str, str] = {}
        for pause_s in (0.0, 0.3, 1.5):
            time.sleep(pause_s)
            self._failed.clear()
            self._n = 0
            try:
                if self._runner.made_commit != self._commit:
                    end_leftovers(self._commit)
                self._children.commit = self._commit
                if not self._is_read(folder):
                    break
                kept = self._back(folder)
            except StepError as error:
                self._failed.append({"resource_id": "revert", "message": error.message})
            except OSError as error:
                message = f"{error.filename or STATE}: {os_words(error)}"
                self._failed.append({"resource_id": "revert", "message": message})
            if not self._failed:
                break
        return kept

    def _is_read(self, folder: str) -> bool:
        """Whether the records of the apply are what they were; otherwise nothing is to be done."""
        try:
            self._read(folder)
        except StepError as error:
            words = f"{error.message}; nothing is guessed, and {folder} is left for you to look at"
            self._failed.append({"resource_id": "journal", "message": words})
            self._is_damaged = True
        return not self._is_damaged

    def _read(self, folder: str) -> None:
        """Load what the apply wrote down; every part must be what the journal says it is."""
        journal = read_journal(folder)
        self._journal = Journal(folder, self._commit)
        self._journal.try_to_write("revert", why=self._why)
        self._before = read_record(folder, "before.json", journal[0].get("before"))
        plan = read_record(folder, "plan.json", journal[0].get("plan"))
        applied = [event for event in journal if event["event"] == "applied"]
        self._after = (
            read_record(folder, "after.json", applied[-1].get("after")) if applied else None
        )
        begun = {event.get("resource_id") for event in journal if event["event"] == "intent"}
        ran = {event.get("name") for event in journal if event["event"] == "handler"}
        self._changes = [c for c in plan["changes"] if c["resource_id"] in begun][::-1]
        self._begun = begun
        self._handled = {event.get("name") for event in journal if event["event"] == "handled"}
        self._handlers = [
            with_because(run)
            for run in plan["handlers"]
            if run["handler"]["name"] in ran or is_reload_for(run, begun)
        ]
        self._every_unit: dict[str, Json] = self._before["units"]
        self._total = len(self._changes) + len(self._handlers)

    def _back(self, folder: str) -> dict[str, str]:
        """The way back itself; returns what was kept, and why."""
        written: dict[str, list[str]] = {}  # a path may have one content a stage
        for change in self._changes:
            if change["after"] and "sha256" in change["after"]:
                path = change["resource_id"].partition(":")[2]
                written.setdefault(path, []).append(change["after"]["sha256"])
        then: Manifest = self._before["manifest"]
        put_back = PutBack(
            self._before, lambda start: _left_by(then, self._after, start, written), folder
        )
        self._stop_services()
        self._journal.try_to_write("services-stopped")
        if self._before["packages"] is not None:
            self._change_packages()
            self._try("packages", put_back.give_back_foreign)
            self._journal.try_to_write("packages-back")
        put_back.run()
        is_late = bool(put_back.failed)  # what starts below may read files of the commit
        self._remove_users()
        not_back = (*put_back.all_kept(), *put_back.all_failed())
        self._say("command", "user", *PATH_KINDS, without=not_back)
        self._journal.try_to_write("files-back")
        self._start_services()
        self._journal.try_to_write("services-back")
        put_back.run()  # tools and services that ran above have touched files again
        self._failed += [
            {"resource_id": path, "message": why} for path, why in put_back.all_failed().items()
        ]
        if is_late and not self._failed:
            message = "services may have read files before these were put back"
            self._failed.append({"resource_id": "revert", "message": message})
        kept = put_back.all_kept()
        self._look_again(kept)
        self._journal.try_to_write("looked-again", failed=len(self._failed))
        return kept

    def _try(self, resource_id: str, act: Callable[[], None]) -> None:
        try:
            act()
        except StepError as error:
            message = f"{error.message}\n{error.output}"
            self._failed.append({"resource_id": resource_id, "message": message.strip()})
        except OSError as error:
            self._failed.append({"resource_id": resource_id, "message": str(error)})

    def _say(self, *kinds: str, without: tuple[str, ...] = ()) -> None:
        """Tell the controller that the changes of some kinds have been taken back.

        What is at the paths in `without` has not been, so it is never said to be done.
        """
        for change in self._changes:
            kind, _, name = change["resource_id"].partition(":")
            if kind in kinds:
                self._n += 1
                is_back = kind not in PATH_KINDS or name not in without
                for seconds in (None, 0.0) if is_back else (None,):
                    self._runner.step(
                        self._n, self._total, change["resource_id"], "restore", seconds=seconds
                    )

    # services

    def _stop_services(self) -> None:
        for unit, was in reversed(list(self._every_unit.items())):
            if was.get("ActiveState") not in ("active", "reloading", "activating"):
                self._try("service:" + unit, lambda unit=unit: self._stop(unit))  # type: ignore[misc]
        self._say("service")

    def _stop(self, unit: str) -> None:
        shown = self._systemd.show([unit])[unit]
        is_due = self._is_booting and shown.get("LoadState") == "loaded"  # its start is queued
        if is_due or shown.get("ActiveState") in _RUNNING_OR_ON_ITS_WAY:
            self._systemd.act("stop", unit)

    def _start_services(self) -> None:
        """Files are back: systemd reads its units again, and what ran before runs again."""
        if not os.path.isdir(SYSTEMD_RUNS):
            return
        if self._before["wide"] or self._every_unit or self._has_unit_files():
            self._try("systemd", self._systemd.reload_units)
        for unit, was in self._every_unit.items():
            if was.get("ActiveState") in ("active", "reloading"):
                self._try("service:" + unit, lambda unit=unit: self._start(unit))  # type: ignore[misc]
            elif was.get("ActiveState") != "failed":
                self._children.run(["systemctl", "reset-failed", unit])
        for handler in self._handlers:
            self._n += 1
            if self._is_spared(handler):
                continue
            resource_id = "handler:" + handler["name"]
            self._runner.step(self._n, self._total, resource_id, handler["action"])
            self._try(resource_id, lambda handler=handler: self._handle(handler))  # type: ignore[misc]
            self._runner.step(self._n, self._total, resource_id, handler["action"], seconds=0.0)

    def _has_unit_files(self) -> bool:
        return any("/systemd/" in change["resource_id"] for change in self._changes)

    def _start(self, unit: str) -> None:
        if self._is_booting:
            self._children.succeed(["systemctl", "start", "--no-block", unit])
        elif not self._systemd.active(unit):
            # One that has failed, as Apache does at a bad reload, may have no start left otherwise.
            self._children.run(["systemctl", "reset-failed", unit])
            self._systemd.start(unit)

    def _handle(self, handler: Json) -> None:
        """A handler of the apply again, now with the former files: a proxy answers as before."""
        unit = handler.get("unit", "")
        if handler["action"] == "run":
            if not self._was_brought(handler["argv"][0]):
                run_handler(self._children, handler)
            return
        if self._every_unit.get(unit, {}).get("ActiveState") not in ("active", "reloading"):
            return  # it did not run before: it has been stopped already
        if self._is_booting:
            return  # it starts after this, with the former files
        loading = Loading(self._systemd, handler)
        try:
            if handler["action"] == "reload":
                self._systemd.reload(unit)
            elif handler["action"] == "restart":
                self._systemd.act("restart", unit)
                self._systemd.must_be_active(unit, "restart")
        except StepError as error:
            if is_as_before(self._children, handler, self._commit):
                return  # it had not read the former files before us either
            test = handler.get("config_test")
            if test and self._children.run(list(test))[0] != 0:
                raise  # the former files do not pass either: a restart would end what still runs
            words = f"{error.message}; restarting {unit} as the last resort\n"
            self._runner.event("output", text=words)
            self._systemd.act("restart", unit)
            self._systemd.must_be_active(unit, "restart")
        loading.done()
        settle_owed(handler)

    def _is_spared(self, handler: Json) -> bool:
        """Whether a reload that the apply had still before it is not needed on the way back."""
        if self._is_booting or handler["action"] != "reload" or handler["name"] in self._handled:
            return False
        if has_loaded(self._children, handler):
            return True  # nobody has made it read our files meanwhile
        is_ours = not self._begun.isdisjoint(handler["because"])
        # What it should have read and has not, it had not before us either.
        return not is_ours and is_as_before(self._children, handler, self._commit)

    def _was_brought(self, program: str) -> bool:
        """Whether a handler's program has gone with the packages that brought it."""
        folders = [""] if "/" in program else os.get_exec_path({"PATH": _SEARCH_PATH})
        found = [os.path.join(folder, program) for folder in folders]
        return not any(os.access(path, os.X_OK) for path in found)

    # packages and users

    def _change_packages(self) -> None:
        was = {name: tuple(state) for name, state in self._before["packages"].items()}
        left = (self._after or {}).get("packages") or package_states()
        now = package_states()
        ours = [
            name
            for name, (state, _) in now.items()
            if name in left
            and state not in ("not-installed", was.get(name, ("", ""))[0])
            and was.get(name, ("", ""))[0] != "installed"
        ]
        apt = Apt(self._children, lambda text: self._runner.event("output", text=text))
        had_files = [name for name in ours if was.get(name, ("", ""))[0] == "config-files"]
        new = [name for name in ours if name not in had_files]
        if new:
            self._try("packages", lambda: apt.purge(new, ours))
        if had_files:
            self._try("packages", lambda: apt.remove(had_files))
        former = {
            name: version
            for name, (state, version) in was.items()
            if state == "installed" and now.get(name) != (state, version)
        }
        if former:
            self._try("packages", lambda: apt.install(former))
        present = package_states()
        self._try("packages", lambda: apt.mark(self._before["automatic"], present))
        self._say("package")

    def _remove_users(self) -> None:
        """Users go with the former /etc/passwd; where that could not be put back, by userdel(8)."""
        for change in self._changes:
            kind, _, name = change["resource_id"].partition(":")
            if kind == "user" and change["action"] == "create" and user_attributes(name):
                self._try(
                    change["resource_id"],
                    lambda name=name: self._remove_user(name),  # type: ignore[misc]
                )

    def _remove_user(self, name: str) -> None:
        self._children.succeed(["userdel", name])

    # the last look

    def _look_again(self, kept: dict[str, str]) -> None:
        """Ask the host whether all is as the plan had seen it."""
        found = Probe(self._children).observe([probe_request(change) for change in self._changes])
        told = {item["resource_id"] for item in self._failed}
        for change, now in zip(self._changes, found):
            name = change["resource_id"].partition(":")[2]
            if now["fingerprint"] == change["fingerprint"] or {name, change["resource_id"]} & told:
                continue
            if self._is_booting and _is_enabled_as(change["before"], now["attributes"]):
                continue
            if not any(is_below(path, name) for path in kept):
                words = _difference(change["before"], now["attributes"]) or "it is not as it was"
                if change["resource_id"].startswith("command:"):
                    words = "what the command did cannot be taken back"
                self._failed.append({"resource_id": change["resource_id"], "message": words})

    def _end(self, folder: str, kept: dict[str, str]) -> Json:
        self._note_owed(folder)
        shown = [
            {"path": path, "why": why, **self._texts_of(path)} for path, why in sorted(kept.items())
        ]
        result = {
            "commit": self._commit,
            "state": "revert-failed" if kept or self._failed else "reverted",
            "kept": shown,
            "failed": self._failed,
            "certificates_kept": self._kept_for_good(folder),
        }
        about = {
            **result,
            "kept": [{"path": item["path"], "why": item["why"]} for item in shown],
            "why": self._why,
            "ended": now_text(),
            "generation": None,
        }
        try:
            if not self._failed:
                self._close(folder, about)
        except OSError as error:
            message = f"its end cannot be noted: {error.filename or STATE}: {os_words(error)}"
            self._failed.append({"resource_id": "revert", "message": message})
            result["state"] = about["state"] = "revert-failed"
        if self._on_end:
            self._on_end(result)
        if self._failed:
            self._keep_for_another_try(folder, about)
        elif self._watchdog:
            self._watchdog.disarm()
        self._state.unlock()
        return result

    @staticmethod
    def _kept_for_good(folder: str) -> list[str]:
        """The certificates that were issued for the commit: they serve the next one."""
        try:
            events = read_journal(folder)
        except StepError:
            return []
        return [event["what"] for event in events if event["event"] == "kept-for-good"]

    def _note_owed(self, folder: str) -> None:
        told = {item["resource_id"] for item in self._failed}
        failed = [handler for handler in self._handlers if "handler:" + handler["name"] in told]
        self._try_to(lambda: note_owed(failed, folder))

    def _close(self, folder: str, about: Json) -> None:
        """The commit is over: leave a record, and its journal too where files were kept."""
        note(folder, **about)
        sync_folder(folder)
        if about["kept"]:
            os.rename(folder, os.path.join(self._state.reverted, self._commit))
        else:
            record = os.path.join(self._state.reverted, self._commit + ".json")
            remove_tree(record + ".new")
            os.link(os.path.join(folder, "meta.json"), record + ".new")
            os.rename(record + ".new", record)
            sync_folder(self._state.reverted)
            gone = os.path.join(STATE, "gone-" + self._commit)
            os.rename(folder, gone)
            self._try_to(lambda: remove_tree(gone))
        self._try_to(lambda: sync_folder(self._state.reverted))
        self._try_to(lambda: sync_folder(STATE))
        self._try_to(self._state.prune_images)

    @staticmethod
    def _try_to(act: Callable[[], None]) -> None:
        """What the next run would do as well."""
        try:
            act()
        except OSError:
            pass

    def _keep_for_another_try(self, folder: str, about: Json) -> None:
        """It stays where it is, for another try of the watchdog or of a person."""
        tries = int((read_json(os.path.join(folder, "meta.json")) or {}).get("tries", 0)) + 1
        self._try_to(lambda: note(folder, **about, tries=tries))
        self._try_to(lambda: remove_tree(os.path.join(folder, "edits.json")))  # it looks anew
        if self._watchdog and not (self._is_damaged or self._watchdog.arm_again(tries)):
            self._is_damaged = True
        if self._watchdog and self._is_damaged:
            self._watchdog.disarm()

    def _texts_of(self, path: str) -> Json:
        """What a kept file held before the commit and holds now, where the plan lets it be seen."""
        changes = {c["resource_id"].partition(":")[2]: c for c in self._changes}
        if path not in changes or changes[path].get("secret"):
            return {}
        was = self._before["manifest"].get(path)
        texts: Json = {}
        images = Images(IMAGES, self._before["images"])
        try:
            former = images.read(was["h"]) if was else None
            now = b"".join(chunks_of(path)) if look_at(path) else None
        except (StepError, OSError, KeyError):
            return {}
        for key, content in (("former_b64", former), ("now_b64", now)):
            if content is not None and (len(content) > SHOWN_BYTES or b"PRIVATE KEY" in content):
                return {}
            texts[key] = to_b64(content) if content is not None else None
        return texts


_RUNNING_OR_ON_ITS_WAY = ("active", "reloading", "activating", "deactivating")


def _is_enabled_as(before: Json | None, now: Json | None) -> bool:
    """Whether a service that starts later in this boot will be as it was `before`."""
    if before is None or now is None or "enabled" not in before:
        return False
    return bool(before["enabled"] == now["enabled"])


_SEARCH_PATH = CHILD_ENVIRONMENT["PATH"]


# --- relays ---------------------------------------------------------------------------------------


class Relay:
    """One connection to a TCP or unix socket of the host, whose bytes go through the channel."""

    LIMIT_BYTES = 1 << 20
    STALL_S = 10.0

    def __init__(self, number: int, connection: Any) -> None:
        self.number = number
        self.connection = connection
        self.out = bytearray()
        self.ending = False
        self._moved = time.monotonic()

    def put(self, data: bytes) -> None:
        if not self.out:
            self._moved = time.monotonic()
        self.out += data

    def is_full(self) -> bool:
        return len(self.out) > self.LIMIT_BYTES

    def is_stuck(self) -> bool:
        return bool(self.out) and time.monotonic() - self._moved > self.STALL_S

    def flush(self) -> None:
        """Write what the socket takes; raises OSError when it is closed."""
        try:
            sent = self.connection.send(memoryview(self.out)[:CHUNK_BYTES])
        except BlockingIOError:
            return
        del self.out[:sent]
        self._moved = time.monotonic()


def open_connection(request: Json) -> Any:
    """Connect as `connect` asks.

    Raises:
        Refusal: nobody answers there.
    """
    import socket

    try:
        if request.get("socket"):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(10.0)
            connection.connect(check_path(request["socket"]))
        else:
            address = (str(request["host"]), int(request["port"]))
            connection = socket.create_connection(address, timeout=10.0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        where = request.get("socket") or "{} port {}".format(
            request.get("host"), request.get("port")
        )
        if isinstance(error, socket.gaierror):
            words = f"this host does not know the name {request.get('host')}"
            raise Refusal("connect-failed", words) from None
        raise Refusal("connect-failed", f"{where} does not answer: {os_words(error)}") from None
    connection.setblocking(False)
    return connection


# --- main loop ------------------------------------------------------------------------------------


# --- undo: what earlier generations found, to be wanted again -------------------------------------


class Undo:
    """What everything that the generations after `to` changed was before them."""

    def __init__(self, state: StateFolder, to: Any) -> None:
        self._state = state
        last = state.last_generation()
        self._to = last - 1 if to is None else int(to)
        if not last:
            raise Refusal(
                "no-generation",
                "there is no generation to go back to: nothing was applied here yet",
            )
        first = last
        while first > 1 and os.path.isdir(os.path.join(state.generations, str(first - 1))):
            first -= 1
        oldest = 0 if first == 1 else first  # the state from before all of them, or what is kept
        if not oldest <= self._to < last:
            kept = f"{oldest} to {last - 1}" if oldest < last else "none but the last"
            if oldest == last - 1:
                kept = f"{oldest} alone"
            raise Refusal(
                "no-generation",
                f"there is no generation {self._to} to go back to; the host has kept {kept}",
            )
        self._numbers = range(last, self._to, -1)
        self._wanted: dict[str, Json] = {}
        self._handlers: dict[str, Json] = {}
        self._unknown: list[str] = []

    def reply(self) -> Json:
        """Newest generation first, and each from its last change to its first."""
        for number in self._numbers:
            self._add(number, os.path.join(self._state.generations, str(number)))
        gone = {
            item["name"]
            for item in self._wanted.values()
            if item["kind"] == "service" and item.get("gone")
        }
        return {
            "to": self._to,
            "resources": list(self._wanted.values()),
            "handlers": [run for run in self._handlers.values() if run["unit"] not in gone],
            "sites": self._sites(),
            "unknown": self._unknown,
        }

    def _sites(self) -> list[Json]:
        path = os.path.join(self._state.generations, str(self._to), "meta.json")
        sites: list[Json] = (read_json(path) or {}).get("sites", [])
        return sites

    def _add(self, number: int, folder: str) -> None:
        try:
            journal = read_journal(folder)
            before = read_record(folder, "before.json", journal[0].get("before"))
            plan = read_record(folder, "plan.json", journal[0].get("plan"))
            applied = [event for event in journal if event["event"] == "applied"]
            after = read_record(folder, "after.json", applied[-1].get("after"))
        except (StepError, IndexError) as error:
            raise Refusal("no-generation", f"generation {number} cannot be read: {error}") from None
        images = Images(IMAGES, before["images"])
        begun = {event.get("resource_id") for event in journal if event["event"] == "intent"}
        for change in reversed(plan["changes"]):
            if change["resource_id"] not in begun:
                continue
            for item in self._former(change, before["manifest"], images):
                key = item["name"] if item["kind"] in PATH_KINDS else change["resource_id"]
                self._wanted.pop(key, None)  # the older one decides, also about the order
                self._wanted[key] = {**item, "generation": number}
        for name in _brought(before["packages"], after["packages"]):
            item = {"kind": "package", "name": name, "attributes": None, "generation": number}
            self._wanted.setdefault("package:" + name, item)
        for run in plan["handlers"]:
            handler = run["handler"]
            self._handlers.setdefault(handler["name"], handler)

    def _former(self, change: Json, manifest: Manifest, images: Images) -> Iterator[Json]:
        kind, _, name = change["resource_id"].partition(":")
        was = change["before"]
        if kind == "command":
            self._unknown.append(f"command {name} is not taken back")
        elif kind in PATH_KINDS:
            yield from self._former_paths(name, was, manifest, images, change["secret"])
        elif kind == "service" and was is None:
            off = {"enabled": False, "active": False}
            yield {"kind": kind, "name": name, "attributes": off, "gone": True}
        elif kind == "package":
            yield {"kind": kind, "name": name, "attributes": None if was is None else {}}
        elif "paths" in change:  # what it has made anew goes; what it has renewed stays
            for path in change["paths"] if was is None else []:
                if path not in manifest:
                    yield {"kind": "file", "name": path, "attributes": None}
        else:
            if kind == "user" and was is not None and change["action"] == "delete":
                self._unknown.append(f"user {name}: its own group may get another number")
            yield {"kind": kind, "name": name, "attributes": was}

    def _former_paths(
        self, top: str, was: Json | None, manifest: Manifest, images: Images, secret: bool
    ) -> Iterator[Json]:
        """One path, or a folder that was removed with everything in it."""
        if was is None:
            yield {"kind": "file", "name": top, "attributes": None}
            return
        below = top + "/"
        for path in sorted(path for path in manifest if path == top or path.startswith(below)):
            item = former_path(path, manifest[path], images)
            if item is not None:
                yield {**item, "secret": secret}


def _brought(before: Json | None, after: Json | None) -> list[str]:
    """The packages that came with a commit, those included that came because others need them."""
    if before is None or after is None:
        return []
    there = {name for name, (state, _) in before.items() if state == "installed"}
    return sorted(
        name for name, (state, _) in after.items() if state == "installed" and name not in there
    )


def former_path(path: str, entry: Entry, images: Images) -> Json | None:
    """A path of a manifest as a resource; a file without kept content keeps the one it has."""
    kind = entry["t"]
    if kind == "link":
        return {"kind": kind, "name": path, "attributes": {"type": kind, "target": entry["to"]}}
    if kind not in ("file", "directory"):
        return None
    attributes = {
        "type": kind,
        "mode": f"{entry['m']:04o}",
        "owner": user_name(entry["u"]),
        "group": group_name(entry["g"]),
    }
    item: Json = {"kind": kind, "name": path, "attributes": attributes}
    if images.has(entry.get("h")):
        item["content_b64"] = to_b64(images.read(entry["h"]))
        attributes.update(sha256=entry["h"], size=entry["s"])
    return item


REQUESTS = (
    "facts",
    "load",
    "probe",
    "apply",
    "confirm",
    "revert",
    "abandon",
    "tidy",
    "history",
    "undo",
    "connect",
)


class Runner:
    """One controller's session: a thread for the channel and its relays, one for the requests."""

    def __init__(self, channel: Channel, source: bytes) -> None:
        self.channel = channel
        self.source = source
        self.state = StateFolder()
        self.children = Children(channel.gone.is_set)
        self._relays: dict[int, Relay] = {}
        self._requests: list[Json] = []
        self._queueing = threading.Lock()
        self._arrived = Bell()
        self._wake_in, self._wake_out = os.pipe()
        self._talking = threading.Lock()
        self._current: Any = None
        self._own_commit = ""
        self.made_commit = ""  # the last one that this very process has worked on
        self._duration_s = 0.0
        self._confirm_until = 0.0  # of our own commit, in monotonic time
        self._is_extended = False
        self.kept: list[str] = []  # what a step has got that no revert gives up, for the journal
        self._answers: list[Json] = []
        self._answered = Bell()
        self.on_word: Callable[[Json], None] = lambda message: None  # what has no other taker

    # requests, in a thread of their own

    def event(self, name: str, **details: Any) -> None:
        """Tell the controller something about the request that is worked on."""
        with self._talking:  # nothing is said of a request after its answer
            if self._current is not None:
                self.channel.send({"id": self._current, "event": name, **details})

    def step(
        self, n: int, total: int, resource_id: str, action: str, *, seconds: float | None = None
    ) -> None:
        """Tell the controller that a step starts, or is done after `seconds`."""
        state = {"state": "start"} if seconds is None else {"state": "done", "seconds": seconds}
        self.event("step", n=n, total=total, resource_id=resource_id, action=action, **state)

    def _work(self) -> None:
        while True:
            request = self._next_request()
            if request is None:
                break
            self._current = request.get("id")
            answer = self._answer(request)
            with self._talking:
                self._current = None
                self.channel.send({"id": request.get("id"), **answer})
        self._leave()

    def _next_request(self) -> Json | None:
        """Wait for a request, and watch our own commit's time meanwhile; `None` at the end."""
        while not self.channel.gone.is_set():
            if self._is_extended:
                self._is_extended = False
                self._give_time()
            if self._own_commit and time.monotonic() >= self._confirm_until:
                self._take_back("it was not confirmed in time")
            with self._queueing:
                if self._requests:
                    return self._requests.pop(0)
            left_s = self._confirm_until - time.monotonic()
            self._arrived.wait(max(0.0, left_s) if self._own_commit else None)
        return None

    def _answer(self, request: Json) -> Json:
        name = request.get("request")
        if name not in REQUESTS and name not in ADDED_REQUESTS:
            return {"error": {"code": "bad-request", "message": f"unknown request {name!r}"}}
        try:
            if name in ADDED_REQUESTS:
                return {"reply": ADDED_REQUESTS[name](self, request)}
            return {"reply": getattr(self, "_" + str(name))(request)}
        except Refusal as refusal:
            return {"error": refusal.reply}
        except Gone:
            return {"error": {"code": "internal", "message": "the controller went away"}}
        except StepError as error:
            details = {"message": error.message, "output": error.output}
            return {"error": {"code": "internal", **details}}
        except (KeyError, TypeError, ValueError) as error:
            words = f"{type(error).__name__}: {error}"
            return {
                "error": {"code": "bad-request", "message": "the request is not whole: " + words}
            }
        except OSError as error:
            words = f"{error.filename or STATE}: {os_words(error)}"
            return {"error": {"code": "internal", "message": words}}
        except Exception as error:  # the controller must get an answer
            words = f"{type(error).__name__}: {error}"
            return {"error": {"code": "internal", "message": words}}

    def _facts(self, request: Json) -> Json:
        names = [check_name(name) for name in request.get("packages", [])]
        return {
            "facts": facts(),
            "packages": package_versions(names, self.children) if names else {},
            "listeners": listeners([int(port) for port in request.get("ports", [])]),
            "deployer": {
                "lock": self.state.holder(),
                "pending": self.state.under_way(),
                "generation": self.state.last_generation(),
                "last": self.state.last_ended(),
                "owed": owed_now(self.children),
                "proxies": self.state.proxies(),
            },
        }

    def _load(self, request: Json) -> Json:
        load_modules({name: request["modules"][name] for name in request["order"]})
        return {}

    def ask(self, question: Json, *, limit_s: float) -> Json:
        """What the controller answers to a question amid a request.

        Raises:
            StepError: no answer within `limit_s`, or one that says what is wrong.
            Gone: the controller went away.
        """
        self._answers.clear()
        self.event("ask", question=question)
        deadline = time.monotonic() + limit_s
        while not self._answers:
            if self.channel.gone.is_set():
                raise Gone
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise StepError(f"the controller has not answered within {limit_s:g} s")
            self._answered.wait(min(left_s, 1.0))
        answer = self._answers.pop()
        if answer.get("error"):
            raise StepError(str(answer["error"]))
        return answer

    def _probe(self, request: Json) -> Json:
        return {"observations": Probe(self.children).observe(request["resources"])}

    def _apply(self, request: Json) -> Json:
        reply = Apply(self, request).run()
        self._own_commit = request["commit"]["id"]
        self._duration_s = float(request["commit"]["rollback_duration_s"])
        self._give_time()
        return reply

    def _give_time(self) -> None:
        """Let the time to confirm our own commit begin anew."""
        self._confirm_until = time.monotonic() + self._duration_s
        note_pulse(self._duration_s)

    def _confirm(self, request: Json) -> Json:
        commit = check_name(request["commit"])
        going = self.state.under_way()
        if going is None or (going["commit"], going["state"]) != (commit, "pending"):
            raise self.state.not_pending(commit)
        self.state.lock({"who": "a confirm", "from": os.uname().nodename})
        number = self.state.last_generation() + 1
        path = os.path.join(self.state.pending, "meta.json")
        meta = read_json(path)
        if meta is None:
            raise StepError("meta.json is damaged, and a commit without it cannot be confirmed")
        meta.update(state="confirmed", generation=number, verified=request.get("verified", []))
        try:
            remove_tree(os.path.join(self.state.pending, RESERVE))
            write_synced(path, canonical_json(meta))
            folder = self.state.claim(commit, "confirm")
        except OSError as error:
            words = f"{error.filename or STATE}: {os_words(error)}"
            raise StepError(f"the confirmation cannot be noted: {words}") from None
        self._own_commit = ""
        self._after_confirm(folder, meta)
        self.state.unlock()
        return {"commit": commit, "state": "confirmed", "generation": number}

    def _after_confirm(self, folder: str, meta: Json) -> None:
        """The commit is confirmed, whatever happens to this."""
        for path in (folder, self.state.generations, STATE):
            try:
                sync_folder(path)
            except OSError as error:
                self.event("output", text=f"{path} cannot be synced: {os_words(error)}\n")
        watchdog = watchdog_of(meta)
        try:
            if watchdog:
                watchdog.disarm()
            self.state.prune(max(1, int(meta["keep"])))
        except OSError as error:
            self.event("output", text=f"not all could be cleared away: {os_words(error)}\n")

    def _tidy(self, request: Json) -> Json:
        """Clear away what a run that died has left of itself, beside a commit."""
        self.state.make()
        self.state.lock({"who": "a recovery", "from": os.uname().nodename})
        self.state.unlock()
        return {}

    def _abandon(self, request: Json) -> Json:
        """Leave the host as it is, and let the commit whose revert has failed be over."""
        commit = check_name(request["commit"])
        self.state.make()
        self.state.lock({"who": "an abandon", "from": os.uname().nodename})
        try:
            watchdog = watchdog_of(self.state.under_way_meta())
            folder = self.state.claim(commit, "abandon")
            note(folder, state="abandoned", ended=now_text())
            try:
                note_owed(owed_by(folder), folder)
            except OSError:
                pass  # the probe finds what a running proxy has not loaded
            sync_folder(self.state.abandoned)
            if watchdog:
                watchdog.disarm()
        finally:
            self.state.unlock()
        return {"commit": commit, "state": "abandoned"}

    def _revert(self, request: Json) -> Json:
        reply = Revert(self, request["commit"], str(request.get("why", ""))).run()
        self._own_commit = ""
        return reply

    def _history(self, request: Json) -> Json:
        return {"generations": self.state.history()}

    def _undo(self, request: Json) -> Json:
        return Undo(self.state, request.get("to")).reply()

    def _connect(self, request: Json) -> Json:
        number = int(request["relay"])
        if number in self._relays:
            raise Refusal("bad-request", f"relay {number} is in use")
        self._relays[number] = Relay(number, open_connection(request))
        os.write(self._wake_out, b"+")
        return {"relay": number}

    def _leave(self) -> None:
        """The controller is gone: what it has not confirmed goes back."""
        if self._own_commit:
            self._take_back("the controller went away")

    def _take_back(self, why: str) -> None:
        """Revert our own commit unasked."""
        commit, self._own_commit = self._own_commit, ""
        try:
            self._revert({"commit": commit, "why": why})
        except (Refusal, OSError):
            pass  # someone else has decided about it, or the watchdog is left to do so

    def _tell_alive(self) -> None:
        while not self.channel.gone.is_set():
            time.sleep(ALIVE_EVERY_S)
            self.event("alive")

    # the channel and its relays

    def run(self) -> None:
        """Serve until the controller closes the channel."""
        version = ".".join(map(str, sys.version_info[:3]))
        self.channel.send(
            {"hello": PROTOCOL, "python": version, "uid": os.geteuid(), "pid": os.getpid()}
        )
        worker = threading.Thread(target=self._work)
        worker.start()
        threading.Thread(target=self._tell_alive, daemon=True).start()
        try:
            while not self.channel.gone.is_set():
                self._turn()
        except (ValueError, OSError) as error:
            sys.stderr.write(f"the channel broke: {error}\n")
        self.channel.gone.set()
        self._arrived.ring()
        worker.join()

    def _turn(self) -> None:
        """Wait for what comes next, and pass it on."""
        relays = list(self._relays.values())
        reading: list[Any] = [self._wake_in] + [r.connection for r in relays if not r.ending]
        if not any(relay.is_full() for relay in relays):
            reading.append(self.channel.in_fd)
        writing = [relay.connection for relay in relays if relay.out]
        limit_s = 1.0 if writing else None
        ready, writable, _ = select.select(reading, writing, [], limit_s)
        if self._wake_in in ready:
            os.read(self._wake_in, 100)
        for relay in relays:
            if relay.connection in writable:
                self._flush(relay)
            if relay.connection in ready:
                self._pull(relay)
            if relay.is_stuck() or (relay.ending and not relay.out):
                self._close(relay)
        if self.channel.in_fd in ready:
            for message in self.channel.receive():
                self._take(message)

    def _take(self, message: Json) -> None:
        if "request" in message:
            with self._queueing:
                self._requests.append(message)
            self._arrived.ring()
            return
        if "extend" in message:
            if self._own_commit and message["extend"] == self._own_commit:
                self._is_extended = True
                self._arrived.ring()
            return
        if "answer" in message:
            self._answers.append(message["answer"])
            self._answered.ring()
            return
        if "relay" not in message:
            self.on_word(message)
            return
        relay = self._relays.get(message["relay"])
        if relay is None:
            return
        if message.get("closed"):
            relay.ending = True
            if not relay.out:
                self._close(relay)
        elif message.get("data_b64"):
            relay.put(binascii.a2b_base64(message["data_b64"]))
            self._flush(relay)

    def _flush(self, relay: Relay) -> None:
        try:
            relay.flush()
        except OSError:
            self._close(relay)

    def _pull(self, relay: Relay) -> None:
        try:
            data = relay.connection.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.channel.send({"relay": relay.number, "data_b64": to_b64(data)})
        else:
            self._close(relay)

    def _close(self, relay: Relay) -> None:
        if self._relays.pop(relay.number, None) is not None:
            relay.connection.close()
            self.channel.send({"relay": relay.number, "closed": True})


def main(source: bytes) -> None:
    """Take the channel for ourselves, so that no child can write into it, and serve."""
    channel = Channel(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    os.umask(0o022)
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        os.setsid()
    except OSError:
        pass  # we lead a session already
    os.chdir("/")
    Runner(channel, source).run()


# --- on its own: the watchdog's part, without a controller ----------------------------------------

_WHYS = {"deadline": "it was not confirmed by its deadline", "boot": "the host was booted again"}


def revert_alone(commit: str, why: str, say: Callable[[str], None]) -> bool:
    """Take a commit back that nobody has confirmed, and say what came of it: whether all is well.

    A runner that lives holds the lock and decides by itself; what has ended already stays so.
    """
    runner = Runner(Channel(-1, -1), b"")
    state = runner.state
    state.make()
    try:
        state.lock({"who": "the watchdog", "from": os.uname().nodename})
    except Refusal as refusal:
        _leave_alone(commit, refusal.reply, say)
        return True
    going = state.under_way()
    if going is None or going["commit"] != commit:
        say(f"commit {commit} is {state.state_of(commit)}; there is nothing to take back")
        made = [item for item in state.history() if item["commit"] == commit and going is None]
        makes_wants = any((item.get("watchdog") or {}).get("makes_wants") for item in made)
        watchdog = Watchdog(commit, duration_s=0, makes_wants=makes_wants)
        watchdog.disarm(boot_too=going is None)
        return True
    if why == "boot" and state.under_way_meta().get("boot_id") == boot_id():
        say(f"commit {commit} is left alone: this is still the boot that it was made in")
        return True
    if why == "boot":  # D-Bus comes after us too: apt would wait for it, systemctl does not need it
        CHILD_ENVIRONMENT["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent"
    who = f"commit {commit} of {going['who']} from {going['from']}"
    tell = lambda result: say(f"{who}: {_WHYS[why]}; {_outcome(result)}")  # noqa: E731
    # It is told before the unit goes: systemd starts what waits for it as soon as that has gone.
    reply = Revert(runner, commit, why, event=why, on_end=tell).run()
    return not reply["failed"]


def _outcome(result: Json) -> str:
    """What a revert came to, in one line."""
    left = [f"{item['path']}: {item['why']}" for item in result["kept"]]
    left += [f"{item['resource_id']}: {item['message']}" for item in result["failed"]]
    if not left:
        return "it was reverted, and the host is as it was before"
    what = "it could not be reverted" if result["failed"] else "it was reverted, but for"
    return " ".join(f"{what}: {'; '.join(left)}".split())


def _leave_alone(commit: str, holder: Json, say: Callable[[str], None]) -> None:
    """Leave a commit to the process that holds the lock; but one that hangs is ended.

    A runner says for how long it will be at work, and acts by itself at the deadline: one that has
    the lock a while after that does neither. Of one that is in time nothing is said.
    """
    pulse = read_json(_PULSE) or {}
    pid = holder.get("pid")
    if not pid or any(pulse.get(key) != holder.get(key) for key in ("pid", "started")):
        say(f"commit {commit} is left alone: {holder['message']}")
        return
    late_s = time.monotonic() - pulse["until_s"]
    if late_s > HUNG_AFTER_S and started_at(pid) == holder["started"]:
        os.kill(pid, signal.SIGKILL)
        say(f"commit {commit} is taken from process {pid}, which hangs and was killed")
    elif late_s > 0:
        say(f"commit {commit} is left alone: {holder['message']}")


#: How long after its time a process may still have the lock.
HUNG_AFTER_S = 30.0


def main_alone(arguments: list[str]) -> int:
    """``--revert=COMMIT --why=deadline|boot``; the exit code says whether the host is all right."""
    given = dict(word.partition("=")[::2] for word in arguments)
    if set(given) != {"--revert", "--why"} or given["--why"] not in _WHYS:
        sys.stderr.write("usage: runner.py --revert=COMMIT --why=deadline|boot\n")
        return 2
    os.umask(0o022)
    os.chdir("/")

    def say(words: str) -> None:
        sys.stdout.write(words + "\n")
        sys.stdout.flush()

    try:
        return 0 if revert_alone(check_name(given["--revert"]), given["--why"], say) else 1
    except Refusal as refusal:
        say(str(refusal.reply["message"]))
    except OSError as error:
        say(f"{error.filename or STATE}: {os_words(error)}")
    return 1


if __name__ == "__main__":
    if "__source__" in globals():
        main(globals()["__source__"])
    else:
        sys.exit(main_alone(sys.argv[1:]))
