"""A lab: several hosts on one bridge, from `up` to `down`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import LabError
from deployer.lab import guard
from deployer.lab.folders import MACHINE_LOCK, labs_folder, locked
from deployer.lab.host import LabHost
from deployer.lab.images import DEFAULT_IMAGE, Image, image
from deployer.lab.limits import allow_hosts
from deployer.lab.network import Network, choose_network, make_bridge, remove_link
from deployer.lab.requirements import require
from deployer.lab.shell import run

_MAX_HOSTS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lab:
    """Running hosts. `hold` is this process's hold on them, if it has one."""

    name: str
    folder: Path
    network: Network
    image: Image
    hosts: tuple[LabHost, ...]
    hold: guard.Hold | None = None

    @property
    def key(self) -> Path:
        """The private key that logs in as root on every host."""
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """The file of the hosts' keys, in the format of ssh."""
        return self.folder / "known_hosts"

    def inventory(self) -> dict[str, object]:
        """The Ansible inventory of the hosts, with their keys."""
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
        names = ", ".join(host.name for host in self.hosts)
        raise LabError(f"Lab {self.name} has no host {name!r}.", hint=f"It has: {names}.")

    def down(self) -> None:
        """Stop all hosts and remove everything; no-op if that was done before."""
        for host in self.hosts:
            host.kill()
        remove_link(self.network.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.hold:
            self.hold.release()


def up(
    count: int,
    *,
    name: str,
    image_name: str = DEFAULT_IMAGE,
    packages: Sequence[str] = (),
    persistent: bool = False,
    progress: Progress = lambda _: None,
) -> Lab:
    """Boot `count` hosts, ``web1`` to ``webN``, and wait until each answers.

    Unless `persistent`, they end with this process, for whatever reason it ends. `packages` can be
    installed there, in addition to those of the ready playbooks.

    Raises:
        LabError: a requirement or a package is missing, the name is in use, or a host did not boot.
    """
    require()
    if not 1 <= count <= _MAX_HOSTS:
        raise LabError(f"A lab has 1 to {_MAX_HOSTS} hosts, not {count}.")
    if not _NAME.fullmatch(name):
        raise LabError(f"Invalid lab name: {name!r}.", hint="Use letters, digits, - and _.")
    allow_hosts(count)
    sweep()
    base = image(image_name, packages=packages, progress=progress)
    lab = _reserve(count, name=name, base=base)
    try:
        _make_disks(lab)
        for host in lab.hosts:
            host.boot()
        for host in lab.hosts:
            host.wait_until_ready()
        if persistent and lab.hold:
            _save(lab, persistent=True)
            lab.hold.release()
    except BaseException:
        lab.down()
        raise
    return lab


@contextmanager
def running(
    count: int, *, name: str, image_name: str = DEFAULT_IMAGE, packages: Sequence[str] = ()
) -> Iterator[Lab]:
    """A lab for as long as the block runs."""
    lab = up(count, name=name, image_name=image_name, packages=packages)
    try:
        yield lab
    finally:
        lab.down()


def _reserve(count: int, *, name: str, base: Image) -> Lab:
    """Create the lab's folder and bridge, held by this process, without disks yet."""
    folder = labs_folder() / name
    with locked(MACHINE_LOCK):
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            hint = f"deployer lab down --name {name}"
            raise LabError(f"Lab {name!r} already exists.", hint=hint) from None
        hold = guard.hold(folder)
        try:
            lab = _lab(folder, network=choose_network(), base=base, count=count, hold=hold)
            _save(lab, persistent=False)
        except BaseException:
            shutil.rmtree(folder)
            hold.release()
            raise
        try:
            make_bridge(lab.network)
        except BaseException:
            lab.down()
            raise
        return lab


def _make_disks(lab: Lab) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(lab.key)])
    neighbours = {host.name: host.address for host in lab.hosts}
    for host in lab.hosts:
        host.make_disk(neighbours)
    keys = (f"{host.address},{host.address6} {host.host_key()}\n" for host in lab.hosts)
    lab.known_hosts.write_text("".join(keys))


def _lab(
    folder: Path, *, network: Network, base: Image, count: int, hold: guard.Hold | None = None
) -> Lab:
    hosts = tuple(
        LabHost(
            name=f"web{number}",
            number=number,
            folder=folder / f"web{number}",
            image=base,
            network=network,
            key=folder / "key",
            known_hosts=folder / "known_hosts",
        )
        for number in range(1, count + 1)
    )
    return Lab(name=folder.name, folder=folder, network=network, image=base, hosts=hosts, hold=hold)


# --- existing labs --------------------------------------------------------------------------------


def _save(lab: Lab, *, persistent: bool) -> None:
    document = {
        "persistent": persistent,
        "image": lab.image.name,
        "root": str(lab.image.root),
        "bridge": lab.network.bridge,
        "number": lab.network.number,
        "hosts": len(lab.hosts),
    }
    half = lab.folder / "lab.json.new"
    half.write_text(json.dumps(document))
    half.rename(lab.folder / "lab.json")


def _load(folder: Path) -> tuple[Lab, bool] | None:
    """The lab in `folder`, and whether it is persistent."""
    try:
        document = json.loads((folder / "lab.json").read_text())
    except FileNotFoundError:
        return None
    network = Network(bridge=document["bridge"], number=document["number"])
    base = Image(name=document["image"], root=Path(document["root"]))
    lab = _lab(folder, network=network, base=base, count=document["hosts"])
    return lab, document["persistent"]


def _folders() -> list[Path]:
    return sorted(path for path in labs_folder().iterdir() if path.is_dir())


def labs() -> list[Lab]:
    """The running labs of this machine, by name."""
    return [found[0] for folder in _folders() if (found := _load(folder))]


def named(name: str) -> Lab:
    """The lab of that name.

    Raises:
        LabError: there is none.
    """
    for lab in labs():
        if lab.name == name:
            return lab
    raise LabError(f"Unknown lab: {name!r}.", hint="deployer lab status lists them.")


def sweep() -> None:
    """Remove labs whose process has ended without taking them down."""
    with locked(MACHINE_LOCK):
        for folder in _folders():
            if guard.is_held(folder):
                continue
            match _load(folder):
                case lab, False:
                    lab.down()
                case None:  # it ended right after creating its folder
                    shutil.rmtree(folder, ignore_errors=True)
