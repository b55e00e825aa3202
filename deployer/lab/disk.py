"""The files in which a new host differs from its image: name, addresses, keys."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.lab.network import Network
from deployer.lab.shell import run

_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


@dataclass(frozen=True, slots=True)
class Disk:
    """The upper folder of an overlay over `image`, which contains everything that is written."""

    upper: Path
    image: Path

    def create(
        self,
        *,
        name: str,
        number: int,
        network: Network,
        neighbours: Mapping[str, str],
        authorized_key: str,
    ) -> None:
        """Write the files of host `number`; `neighbours` are the addresses of all hosts by name."""
        self.upper.mkdir(parents=True)
        shutil.copystat(self.image, self.upper)
        hosts = "".join(f"{address} {other}\n" for other, address in neighbours.items())
        self._write("etc/hostname", f"{name}\n")
        self._write("etc/hosts", f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{hosts}")
        self._write("etc/machine-id", f"{uuid.uuid4().hex}\n", mode=0o444)
        self._write("etc/systemd/network/10-lab.network", _network_unit(number, network))
        self._write("root/.ssh/authorized_keys", authorized_key, mode=0o600)
        (self.upper / "root/.ssh").chmod(0o700)
        key = self.upper / _HOST_KEY
        self._folder(key.parent)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)])

    def host_key(self) -> str:
        """The host's public key in the format of known_hosts: ``ssh-ed25519 AAAA…``."""
        return " ".join((self.upper / f"{_HOST_KEY}.pub").read_text().split()[:2])

    def _write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        file = self.upper / path
        self._folder(file.parent)
        file.write_text(text)
        file.chmod(mode)

    def _folder(self, folder: Path) -> None:
        """Create `folder` with the mode and time of the image's, which the overlay would hide."""
        if folder.is_dir():
            return
        self._folder(folder.parent)
        folder.mkdir(mode=0o755)
        below = self.image / folder.relative_to(self.upper)
        if below.is_dir():
            status = below.stat()
            os.chown(folder, status.st_uid, status.st_gid)
            shutil.copystat(below, folder)


def _network_unit(number: int, network: Network) -> str:
    return (
        "[Match]\nName=host0\n\n"
        "[Network]\nDHCP=no\nIPv6AcceptRA=no\n\n"
        f"[Address]\nAddress={network.address(number)}/24\n\n"
        f"[Address]\nAddress={network.address6(number)}/64\nDuplicateAddressDetection=none\n"
    )
