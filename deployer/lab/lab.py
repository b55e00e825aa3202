"""A lab: a few hosts on a bridge of their own, from `up` to `down`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.errors import LabError
from deployer.lab.folders import labs_folder, locked
from deployer.lab.host import LabHost
from deployer.lab.images import DEFAULT_IMAGE, Image, image
from deployer.lab.network import Network, make_network, remove_network
from deployer.lab.requirements import require
from deployer.lab.shell import run

_MAX_HOSTS = 200

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lab:
    """Hosts that are up. `owner` is the process that they end with, or 0 where they stay."""

    name: str
    folder: Path
    network: Network
    image: Image
    hosts: tuple[LabHost, ...]
    owner: int

    @property
    def key(self) -> Path:
        """The private key that opens every host to root."""
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """The hosts' own keys, as ssh reads them."""
        return self.folder / "known_hosts"

    def inventory(self) -> dict[str, Any]:
        """An inventory of Ansible's YAML form, with the hosts' keys."""
        return {
            "all": {
                "vars": {
                    "ansible_user": "root",
                    "ansible_ssh_private_key_file": str(self.key),
                    "deployer_known_hosts_file": str(self.known_hosts),
                },
                "hosts": {host.name: {"ansible_host": host.address} for host in self.hosts},
            }
        }

    def write_inventory(self, path: Path) -> None:
        """Write `inventory` as YAML."""
        import yaml

        path.write_text(yaml.safe_dump(self.inventory(), sort_keys=False))

    def host(self, name: str) -> LabHost:
        """The host of that name.

        Raises:
            LabError: there is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"Lab {self.name} has no host {name!r}.", hint=f"It has: {self._names()}.")

    def _names(self) -> str:
        return ", ".join(host.name for host in self.hosts)

    def down(self) -> None:
        """Switch everything off and leave nothing behind."""
        for host in self.hosts:
            host.kill()
            host.remove_disk()
        remove_network(self.network.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)


def up(
    count: int,
    *,
    name: str,
    image_name: str = DEFAULT_IMAGE,
    persistent: bool = False,
    progress: Progress = lambda _: None,
) -> Lab:
    """Boot `count` hosts, ``web1`` to ``webN``, and wait until each answers.

    Unless `persistent`, they end with this process. Call it from the main thread.

    Raises:
        LabError: something is missing here, the name is taken, or a host did not come up.
    """
    require()
    if not 1 <= count <= _MAX_HOSTS:
        raise LabError(f"A lab has 1 to {_MAX_HOSTS} hosts, not {count}.")
    sweep()
    base = image(image_name, progress=progress)
    lab = _made(count, name=name, base=base, owner=0 if persistent else os.getpid())
    try:
        for host in lab.hosts:
            host.boot(ends_with_us=not persistent)
        for host in lab.hosts:
            host.wait_until_ready()
    except BaseException:
        lab.down()
        raise
    return lab


@contextmanager
def running(count: int, *, name: str, image_name: str = DEFAULT_IMAGE) -> Iterator[Lab]:
    """A lab for as long as the block runs."""
    lab = up(count, name=name, image_name=image_name)
    try:
        yield lab
    finally:
        lab.down()


def _made(count: int, *, name: str, base: Image, owner: int) -> Lab:
    """The lab's folder, bridge, keys and disks; nothing is booted yet."""
    folder = labs_folder() / name
    with locked(labs_folder() / ".lock"):
        if folder.exists():
            raise LabError(
                f"There is a lab {name!r} already.", hint=f"deployer lab down --name {name}"
            )
        folder.mkdir(mode=0o700)
        try:
            network = make_network()
        except BaseException:
            shutil.rmtree(folder)
            raise
        lab = Lab(
            name=name,
            folder=folder,
            network=network,
            image=base,
            hosts=tuple(_host(number, folder, network, base) for number in range(1, count + 1)),
            owner=owner,
        )
        _save(lab)
    try:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(lab.key)])
        others = [(host.name, host.address) for host in lab.hosts]
        for number, host in enumerate(lab.hosts, 1):
            host.make_disk(others, number)
        keys = [f"{host.address} {host.host_key()}\n" for host in lab.hosts]
        lab.known_hosts.write_text("".join(keys))
    except BaseException:
        lab.down()
        raise
    return lab


def _host(number: int, folder: Path, network: Network, base: Image) -> LabHost:
    return LabHost(
        name=f"web{number}",
        address=network.address(number),
        folder=folder / f"web{number}",
        image=base,
        network=network,
        key=folder / "key",
        machine=f"{network.bridge[3:]}-{number}",
    )


# --- labs that are up already ---------------------------------------------------------------------


def _save(lab: Lab) -> None:
    document = {
        "owner": lab.owner,
        "image": lab.image.name,
        "root": str(lab.image.root),
        "bridge": lab.network.bridge,
        "number": lab.network.number,
        "hosts": len(lab.hosts),
    }
    (lab.folder / "lab.json").write_text(json.dumps(document))


def labs() -> list[Lab]:
    """The labs that are up on this machine, by name."""
    found = (_loaded(folder) for folder in sorted(labs_folder().iterdir()) if folder.is_dir())
    return [lab for lab in found if lab is not None]


def named(name: str) -> Lab:
    """The lab of that name.

    Raises:
        LabError: there is none.
    """
    for lab in labs():
        if lab.name == name:
            return lab
    raise LabError(f"There is no lab {name!r}.", hint="deployer lab status lists them.")


def _loaded(folder: Path) -> Lab | None:
    try:
        document = json.loads((folder / "lab.json").read_text())
    except (OSError, ValueError):
        return None
    network = Network(bridge=document["bridge"], number=document["number"])
    base = Image(name=document["image"], root=Path(document["root"]))
    return Lab(
        name=folder.name,
        folder=folder,
        network=network,
        image=base,
        hosts=tuple(
            _host(number, folder, network, base) for number in range(1, document["hosts"] + 1)
        ),
        owner=document["owner"],
    )


def sweep() -> Sequence[str]:
    """Take away what labs of processes that are no more have left behind; their names."""
    swept = []
    for lab in labs():
        if lab.owner and not Path(f"/proc/{lab.owner}").exists():
            lab.down()
            swept.append(lab.name)
    return swept
