"""One rehearsal host: its power switch, its cable, and a way in that needs no sshd.

A host's processes, and the mounts that hold its disk, live in namespaces of their own: when the
first process there ends, the kernel ends all others and takes the mounts away. So nothing of a
killed host can stay behind, and its mounts never show on this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import LabError
from deployer.lab.cgroup import in_own_group, remove_group
from deployer.lab.disk import Disk
from deployer.lab.images import Image
from deployer.lab.network import Network, cut, mend, remember, remove_link

#: Far longer than a busy machine needs; a host that ends while it boots is noticed at once.
_READY_TIMEOUT_S = 300.0
_COMMAND_TIMEOUT_S = 300.0

#: With folder, image and command. systemd-nspawn keeps notes in /run/systemd/nspawn; those of a
#: killed one would stay there for good, so it gets a folder that ends with it.
_MOUNT_AND_START = """
set -e
cd "$1"
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=755 deployer-lab /run/systemd/nspawn
mount -t overlay -o "lowerdir=$2,upperdir=upper,workdir=work" deployer-lab root
shift 2
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class LabHost:
    """A host of a lab. `folder` holds its disk, also while it is switched off.

    `key` is the private key that opens it to root, `known_hosts` the file with its own key.
    """

    name: str
    number: int
    folder: Path
    image: Image
    network: Network
    key: Path
    known_hosts: Path

    @property
    def address(self) -> str:
        """The IPv4 address."""
        return self.network.address(self.number)

    @property
    def address6(self) -> str:
        """The IPv6 address."""
        return self.network.address6(self.number)

    @property
    def machine(self) -> str:
        """What systemd-nspawn calls it; unique on this machine."""
        return f"{self.network.bridge.partition('-')[2]}-{self.number}"

    # --- disk -------------------------------------------------------------------------------------

    @property
    def _disk(self) -> Disk:
        return Disk(upper=self.folder / "upper", image=self.image.root)

    @property
    def root(self) -> Path:
        """The running host's root folder, seen from here; links in it that are absolute lead here.

        Raises:
            LabError: it is switched off.
        """
        return Path(f"/proc/{self._init()}/root")

    @property
    def network_namespace(self) -> Path:
        """The host's network, for ``nsenter --net=PATH``; the host is up."""
        return Path(f"/proc/{self._init()}/ns/net")

    def make_disk(self, neighbours: Mapping[str, str]) -> None:
        """A disk of its own; `neighbours` are all hosts' addresses by their names."""
        for part in ("work", "root"):
            (self.folder / part).mkdir(parents=True)
        self._disk.make(
            name=self.name,
            number=self.number,
            network=self.network,
            neighbours=neighbours,
            authorized_key=self.key.with_suffix(".pub").read_text(),
        )

    def host_key(self) -> str:
        """The host's public key, as known_hosts has it: ``ssh-ed25519 AAAA…``."""
        return self._disk.host_key()

    def remove_disk(self) -> None:
        """Forget everything that was written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- power ------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Switch on with the disk as it is; returns at once, `wait_until_ready` waits."""
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            "--settings=no",
            "--boot",
            "--keep-unit",
            "--register=no",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            "--private-network",
            f"--network-bridge={self.network.bridge}",
            "--directory=root",
            f"--machine={self.machine}",
            f"--hostname={self.name}",
        ]
        apart = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
        start = ["sh", "-c", _MOUNT_AND_START, "sh", str(self.folder), str(self.image.root)]
        argv = in_own_group(self.machine, [*apart, "--mount-proc", *start, *nspawn])
        console = str(self.folder / "console.log")
        pid = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        (self.folder / "pid").write_text(f"{pid} {_started(pid)}")

    def boot_again(self) -> None:
        """Switch on with the disk as it is, and wait until it is ready."""
        self.boot()
        self.wait_until_ready()

    def wait_until_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait for the banner of sshd.

        Raises:
            LabError: it did not come in time, or the host ended; with its console's last words.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.is_running:
            if _has_banner(self.address):
                return
            time.sleep(0.02)
        words = (self.folder / "console.log").read_text(errors="replace").strip()[-2000:]
        raise LabError(f"{self.name} did not come up; its console says:\n{words or '(nothing)'}")

    @property
    def is_running(self) -> bool:
        """Whether the host is switched on."""
        return bool(self._supervisor())

    def kill(self, timeout_s: float = 60.0) -> None:
        """Pull the plug: SIGKILL to all of it. The disk stays as it is.

        Raises:
            LabError: it does not end.
        """
        deadline = time.monotonic() + timeout_s
        while supervisor := self._supervisor():
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not end (process {supervisor}).")
            # The first process of the namespace, which the supervisor waits for, takes all with it.
            for pid in _children(supervisor) or (supervisor,):
                _kill(pid)
            time.sleep(0.005)
        remove_link(self._link)
        remove_group(self.machine)

    def _supervisor(self) -> int:
        """The process that is there as long as the host is; 0 where it is switched off."""
        try:
            pid, started = map(int, (self.folder / "pid").read_text().split())
        except (OSError, ValueError):
            return 0
        _reap(pid)
        return pid if _started(pid) == started else 0  # the number may be a stranger's by now

    def _init(self) -> int:
        """The host's systemd, by its number here.

        Raises:
            LabError: it is switched off.
        """
        for nspawn in _children(self._supervisor()):
            for child in _children(nspawn):
                if _number_inside(child) == 1:
                    return child
        raise LabError(f"{self.name} is switched off.")

    # --- cable ------------------------------------------------------------------------------------

    @property
    def _link(self) -> str:
        return f"vb-{self.machine}"  # systemd-nspawn(1), --network-bridge

    def link_down(self) -> None:
        """Cut the cable: packets are lost both ways, and neither side is told."""
        hardware_address = self.sh("cat /sys/class/net/host0/address").strip()
        remember(self.address, hardware_address, self.network.bridge)
        cut(self._link)
        cut("host0", namespace_of=self._init())

    def link_up(self) -> None:
        """Mend the cable."""
        mend(self._link)
        mend("host0", namespace_of=self._init())

    # --- ways in ----------------------------------------------------------------------------------

    def ssh_command(self) -> list[str]:
        """How OpenSSH logs in as root, without this user's own configuration."""
        options = [f"UserKnownHostsFile={self.known_hosts}", "GlobalKnownHostsFile=/dev/null"]
        options += ["StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "ConnectTimeout=10"]
        words = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "none", "-i", str(self.key), *words, f"root@{self.address}"]

    def exec(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = _COMMAND_TIMEOUT_S,
        check: bool = True,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` on the host without its sshd or its network.

        Raises:
            LabError: it failed (with `check`), or took too long, or the host is switched off.
        """
        enter = ["nsenter", f"--target={self._init()}", "--all", "--root", "--wd"]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        try:
            done = subprocess.run(
                [*enter, *argv],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
                env={**environment, "LC_ALL": "C.UTF-8", "HOME": "/root"},
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: {argv[0]} took longer than {timeout_s:.0f} s.") from error
        if check and done.returncode:
            words = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {' '.join(argv)} failed ({done.returncode}): {words}")
        return done

    def sh(self, script: str, *, timeout_s: float = _COMMAND_TIMEOUT_S, check: bool = True) -> str:
        """Standard output of a shell script that runs on the host."""
        return self.exec(["sh", "-c", script], timeout_s=timeout_s, check=check).stdout


def _has_banner(address: str) -> bool:
    try:
        # A SYN that is sent too early is lost, and repeated only after a second: try anew instead.
        with socket.create_connection((address, 22), timeout=0.05) as connection:
            connection.settimeout(2.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _started(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 where it is no more."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if words[0] == "Z" else int(words[19])  # fields 3 and 22 of proc_pid_stat(5)


def _children(pid: int) -> tuple[int, ...]:
    try:
        return tuple(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return ()


def _number_inside(pid: int) -> int:
    """The number that the process has in the innermost namespace that it is in."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    (line,) = (line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Take the exit status of our own child, without which it stays listed."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
