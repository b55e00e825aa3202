"""A ready playbook before a service, behind each of the three proxies by changing one word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from deployer import proxies
from deployer.cli.init import write
from deployer.lab.host import LabHost
from deployer.lab.images import DEFAULT_IMAGE
from deployer.lab.lab import Lab, running
from deployer.model import Proxy
from deployer.playbook.builtin import playbooks_path
from tests.support.clients.chromium import Page, chromium
from tests.support.npm import DEBIAN_PACKAGES, host_cache
from tests.support.runs import Ran, deployer
from tests.support.waiting import PATIENCE_S
from tests.support.wheels import index, wheels

PROXIES = tuple(proxies.PROXIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a user has made of a ready playbook in `folder`, and applied to `host`."""

    proxy: Proxy
    host: LabHost
    folder: Path
    applied: Ran

    @property
    def root_pem(self) -> Path:
        """The root of the CA that the project has made."""
        return self.folder / ".deployer/ca/root.pem"

    def apply(self) -> Ran:
        """The project as it is now."""
        return _apply(self.folder)

    def reload(self) -> Ran:
        """Apply the site with a different `idle_timeout`, so that the proxy reloads."""
        path = self.folder / "site.yml"
        text = path.read_text()
        old, new = ("1h", "2h") if "idle_timeout: 1h" in text else ("2h", "1h")
        path.write_text(text.replace(f"idle_timeout: {old}", f"idle_timeout: {new}"))
        applied = self.apply()
        assert applied.code == 0, applied
        assert "handler reload" in applied.out
        return applied


def deployed(template: str, folder: Path, *, lab: Lab, host: LabHost, proxy: Proxy) -> Deployed:
    """``deployer init TEMPLATE`` in `folder`, another proxy's word put in, and an apply.

    The same folder again is the same project with another word.
    """
    if not (folder / "site.yml").exists():
        folder.mkdir(exist_ok=True)
        write(template, folder)
        inventory = lab.inventory()
        inventory["all"]["hosts"] = {host.name: {"ansible_host": host.address}}
        (folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
    text = (folder / "site.yml").read_text()
    (written,) = [each for each in PROXIES if f" proxy: {each} " in text]
    (folder / "site.yml").write_text(text.replace(f" proxy: {written} ", f" proxy: {proxy} "))
    return Deployed(proxy=proxy, host=host, folder=folder, applied=_apply(folder))


def _apply(folder: Path) -> Ran:
    files = (folder / "site.yml", "-i", folder / "inventory.yml")
    return deployer("apply", *files, "--yes", timeout_s=PATIENCE_S)


@contextmanager
def behind_each_proxy(
    template: str,
    folder: Path,
    *,
    packages: Sequence[str] = (),
    prepare: Callable[[LabHost], None] = lambda _: None,
) -> Iterator[dict[Proxy, Deployed]]:
    """A host for each proxy, all at once.

    `prepare` is what is there before, and `packages` can be installed there.
    """

    def of_proxy(host: LabHost, proxy: Proxy) -> Deployed:
        prepare(host)
        return deployed(template, folder / proxy, lab=lab, host=host, proxy=proxy)

    with running(len(PROXIES), name=f"{template}-{os.getpid()}", packages=packages) as lab:
        with ThreadPoolExecutor(len(PROXIES)) as pool:
            made = list(pool.map(of_proxy, lab.hosts, PROXIES))
        yield {each.proxy: each for each in made}


@dataclass(frozen=True, slots=True)
class InTurn:
    """A ready playbook in `folder`, and a host of `lab` that gets one proxy after the other."""

    template: str
    folder: Path
    lab: Lab

    def behind(self, proxy: Proxy) -> Deployed:
        """The same project with another proxy's word."""
        host = self.lab.hosts[0]
        return deployed(self.template, self.folder, lab=self.lab, host=host, proxy=proxy)

    @contextmanager
    def browser(self, folder: Path, name: str) -> Iterator[Page]:
        """A browser on the lab's other host, which looks `name` up."""
        host, elsewhere = self.lab.hosts
        root_pem = self.folder / ".deployer/ca/root.pem"
        addresses = {name: host.address}
        with chromium(folder, network_of=elsewhere, trust=root_pem, addresses=addresses) as page:
            yield page


@contextmanager
def in_turn(
    template: str,
    folder: Path,
    *,
    image: str = DEFAULT_IMAGE,
    packages: Sequence[str] = (),
    prepare: Callable[[LabHost], None] = lambda _: None,
) -> Iterator[InTurn]:
    """A ready playbook, and two hosts; `prepare` is what is on the first one before."""
    name = f"{template}-{os.getpid()}"
    with running(2, name=name, image_name=image, packages=packages) as lab:
        prepare(lab.hosts[0])
        yield InTurn(template, folder, lab)


@contextmanager
def from_npm(template: str, folder: Path) -> Iterator[InTurn]:
    """A ready playbook that installs its service from npm."""
    (lock,) = (playbooks_path() / template).rglob("package-lock.json")

    def prepare(host: LabHost) -> None:
        host_cache(host, lock.parent)

    with in_turn(template, folder, packages=DEBIAN_PACKAGES, prepare=prepare) as found:
        yield found


@contextmanager
def from_pypi(template: str, folder: Path, *, packages: Sequence[str] = ()) -> Iterator[InTurn]:
    """A ready playbook that installs its service from PyPI, which takes a minute: once for all."""
    (requirements,) = (playbooks_path() / template).rglob("requirements.txt")
    found = wheels(*requirements.read_text().split())
    name = f"{template}-{os.getpid()}"
    with running(2, name=name, packages=packages) as lab, index(lab, found):
        yield InTurn(template, folder, lab)
