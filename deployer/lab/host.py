"""One rehearsal host: its disk, its power switch, its cable, and a way in that needs no sshd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import LabError
from deployer.lab.images import Image
from deployer.lab.network import Network
from deployer.lab.shell import run

_READY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class LabHost:
    """A host of a lab. `folder` holds its disk and its keys, also while it is switched off."""

    name: str
    address: str
    folder: Path
    image: Image
    network: Network
    key: Path
    machine: str

    # --- disk -------------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """The host's root folder, seen from here."""
        return self.folder / "root"

    def make_disk(self, others: Sequence[tuple[str, str]], number: int) -> None:
        """An overlay over the image, with a name, an address, keys, and nobody else's."""
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True)
        options = ",".join(
            (
                f"lowerdir={self.image.root}",
                f"upperdir={self.folder / 'upper'}",
                f"workdir={self.folder / 'work'}",
            )
        )
        run(["mount", "-t", "overlay", self.machine, "-o", options, str(self.root)])
        etc = self.root / "etc"
        names = "".join(f"{address} {name}\n" for name, address in others)
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{names}")
        (etc / "systemd/network/10-lab.network").write_text(
            "[Match]\nName=host0\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\n\n"
            f"[Address]\nAddress={self.network.address(number)}/24\n\n"
            f"[Address]\nAddress={self.network.address6(number)}/64\n"
            "DuplicateAddressDetection=none\n"
        )
        host_key = etc / "ssh/ssh_host_ed25519_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(host_key)])
        authorized = self.root / "root/.ssh/authorized_keys"
        authorized.parent.mkdir(mode=0o700, exist_ok=True)
        authorized.write_text(self.key.with_suffix(".pub").read_text())
        authorized.chmod(0o600)

    def host_key(self) -> str:
        """The host's public key, as known_hosts has it: ``ssh-ed25519 AAAA…``."""
        words = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        return " ".join(words[:2])

    def remove_disk(self) -> None:
        """Unmount and forget everything that was written."""
        if self.root.is_mount():
            run(["umount", "--lazy", str(self.root)], quiet_failure=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- power ------------------------------------------------------------------------------------

    def boot(self, *, ends_with_us: bool) -> None:
        """Switch on; returns at once, `wait_until_ready` waits. Call from the main thread.

        With `ends_with_us`, the kernel kills the host when this process ends, however it ends
        (PR_SET_PDEATHSIG of prctl(2)).
        """
        argv = [
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
            f"--directory={self.root}",
            f"--machine={self.machine}",
            f"--hostname={self.name}",
        ]
        tied = ["setpriv", "--pdeathsig=KILL"] if ends_with_us else []
        console = str(self.folder / "console.log")
        appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawnp(
            (tied + argv)[0],
            tied + argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, console, appending, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        (self.folder / "nspawn.pid").write_text(str(pid))

    def wait_until_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait for the banner of sshd.

        Raises:
            LabError: it did not come in time, or the host ended; with its console's last words.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running:
                break
            if self._init_pid() and _has_banner(self.address):
                return
            time.sleep(0.02)
        words = (self.folder / "console.log").read_text(errors="replace")[-2000:]
        raise LabError(f"{self.name} did not come up; its console says:\n{words}")

    @property
    def is_running(self) -> bool:
        """Whether the host is switched on."""
        return _alive(self._nspawn_pid())

    def kill(self, timeout_s: float = 10.0) -> None:
        """Pull the plug: SIGKILL to the host's init. The disk stays as it is."""
        processes = [pid for pid in (self._init_pid(), self._nspawn_pid()) if pid]
        for pid in processes:
            _signal(pid, signal.SIGKILL)
        deadline = time.monotonic() + timeout_s
        while left := [pid for pid in processes if _alive(pid)]:
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not end (processes {left})")
            time.sleep(0.01)
        for pid in processes:
            _reap(pid)

    def boot_again(self) -> None:
        """Switch on with the disk as it is, and wait until it is ready."""
        self.boot(ends_with_us=True)
        self.wait_until_ready()

    def _nspawn_pid(self) -> int:
        try:
            return int((self.folder / "nspawn.pid").read_text())
        except (OSError, ValueError):
            return 0

    def _init_pid(self) -> int:
        pid = self._nspawn_pid()
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return 0
        return int(children[0]) if children else 0

    # --- cable ------------------------------------------------------------------------------------

    def link_down(self) -> None:
        """Pull the cable: packets are lost both ways, without a word."""
        self.exec(["ip", "link", "set", "host0", "down"])

    def link_up(self) -> None:
        """Plug the cable in again."""
        self.exec(["ip", "link", "set", "host0", "up"])

    # --- ways in ----------------------------------------------------------------------------------

    def exec(
        self, argv: Sequence[str], *, timeout_s: float = 60.0, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` on the host without its sshd or its network.

        Raises:
            LabError: it failed (with `check`), or took too long.
        """
        enter = ["nsenter", f"--target={self._init_pid()}", "--all", "--root", "--wd=/"]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(
                [*enter, *argv],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
                env={**environment, "HOME": "/root"},
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: {argv[0]} took longer than {timeout_s:.0f} s") from error
        if check and done.returncode:
            words = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {' '.join(argv)} failed ({done.returncode}): {words}")
        return done

    def sh(self, script: str, *, timeout_s: float = 60.0, check: bool = True) -> str:
        """Standard output of a shell script that runs on the host."""
        return self.exec(["sh", "-c", script], timeout_s=timeout_s, check=check).stdout


def _has_banner(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1.0) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _alive(pid: int) -> bool:
    if not pid:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
