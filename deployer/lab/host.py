"""One lab host: its power switch, its network cable, and access without sshd.

A host's processes and the mounts of its disk are in separate namespaces: when the first process
there ends, the kernel kills all others and removes the mounts. So a killed host leaves nothing
behind, and its mounts are never visible on this machine.
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
from deployer.lab.network import Network, cut, reconnect, remember, remove_link

#: Far longer than a busy machine needs; a host that ends while it boots is noticed at once.
_READY_TIMEOUT_S = 300.0
_COMMAND_TIMEOUT_S = 300.0

#: Arguments: folder, image and command. systemd-nspawn keeps state in /run/systemd/nspawn; that of
#: a killed one would never be removed, so it gets a private folder that vanishes with it.
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
    """A host of a lab. `folder` contains its disk, also while it is switched off.

    `key` is the private key that logs in as root, `known_hosts` the file with the host's key.
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
        """The machine name for systemd-nspawn, unique on this machine."""
        return f"{self.network.bridge.partition('-')[2]}-{self.number}"

    # --- disk -------------------------------------------------------------------------------------

    @property
    def _disk(self) -> Disk:
        return Disk(upper=self.folder / "upper", image=self.image.root)

    @property
    def root(self) -> Path:
        """The root folder of the running host; absolute links in it point into this machine.

        Raises:
            LabError: it is switched off.
        """
        return Path(f"/proc/{self._init()}/root")

    @property
    def network_namespace(self) -> Path:
        """The network namespace of the running host, for ``nsenter --net=PATH``."""
        return Path(f"/proc/{self._init()}/ns/net")

    def make_disk(self, neighbours: Mapping[str, str]) -> None:
        """Create the disk; `neighbours` are the addresses of all hosts by name."""
        for part in ("work", "root"):
            (self.folder / part).mkdir(parents=True)
        self._disk.create(
            name=self.name,
            number=self.number,
            network=self.network,
            neighbours=neighbours,
            authorized_key=self.key.with_suffix(".pub").read_text(),
        )

    def host_key(self) -> str:
        """The host's public key in the format of known_hosts: ``ssh-ed25519 AAAA…``."""
        return self._disk.host_key()

    def remove_disk(self) -> None:
        """Delete everything that was written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- power ------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Switch the host on with its current disk, without waiting for it."""
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
        """Switch the host on with its current disk, and wait until it is ready."""
        self.boot()
        self.wait_until_ready()

    def wait_until_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait for the banner of sshd.

        Raises:
            LabError: it did not arrive in time, or the host ended; with the end of its console.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.is_running:
            if _has_banner(self.address):
                return
            time.sleep(0.02)
        words = (self.folder / "console.log").read_text(errors="replace").strip()[-2000:]
        raise LabError(f"{self.name} did not boot; its console:\n{words or '(empty)'}")

    @property
    def is_running(self) -> bool:
        """Whether the host is switched on."""
        return bool(self._supervisor())

    def kill(self, timeout_s: float = 60.0) -> None:
        """Pull the plug: kill all processes. The disk is kept.

        Raises:
            LabError: they do not end.
        """
        deadline = time.monotonic() + timeout_s
        while supervisor := self._supervisor():
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not end (process {supervisor}).")
            # Killing the first process of the namespace kills all others.
            for pid in _children(supervisor) or (supervisor,):
                _kill(pid)
            time.sleep(0.005)
        remove_link(self._link)
        remove_group(self.machine)

    def _supervisor(self) -> int:
        """The id of the process that runs as long as the host; 0 if it is switched off."""
        try:
            pid, started = map(int, (self.folder / "pid").read_text().split())
        except (OSError, ValueError):
            return 0
        _reap(pid)
        return pid if _started(pid) == started else 0  # the id may have been reused

    def _init(self) -> int:
        """The id of the host's systemd on this machine.

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
        """Cut the cable: packets are lost in both directions, without any error."""
        hardware_address = self.sh("cat /sys/class/net/host0/address").strip()
        remember(self.address, hardware_address, self.network.bridge)
        cut(self._link)
        cut("host0", namespace_of=self._init())

    def link_up(self) -> None:
        """Plug the cable in again."""
        reconnect(self._link)
        reconnect("host0", namespace_of=self._init())

    # --- access -----------------------------------------------------------------------------------

    def ssh_command(self) -> list[str]:
        """The OpenSSH command that logs in as root, without this user's configuration."""
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
            LabError: it failed (with `check`), took too long, or the host is switched off.
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
        """The standard output of a shell script on the host."""
        return self.exec(["sh", "-c", script], timeout_s=timeout_s, check=check).stdout


def _has_banner(address: str) -> bool:
    try:
        # A lost SYN is repeated only after a second: start a new connection instead.
        with socket.create_connection((address, 22), timeout=0.05) as connection:
            connection.settimeout(2.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _started(pid: int) -> int:
    """The start time of a process, in clock ticks since boot; 0 if it has ended."""
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
    """The process id in the innermost namespace of the process."""
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
    """Collect the exit status of a child process, so that it does not remain a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
