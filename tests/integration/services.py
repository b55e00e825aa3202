"""A ready playbook behind each of the three proxies: one word changed, a host for each, at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import Ran, deployer

from deployer.lab.host import LabHost
from deployer.lab.lab import running
from deployer.model import PROXY_UNITS, Proxy
from deployer.start import write

PROXIES = tuple(PROXY_UNITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A service that `proxy` has been put before on `host`; `folder` is the project of the user."""

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


def _apply(folder: Path) -> Ran:
    files = (folder / "site.yml", "-i", folder / "inventory.yml")
    return deployer("apply", *files, "--yes", timeout_s=300.0)


@contextmanager
def behind_each_proxy(
    template: str,
    folder: Path,
    *,
    own: Proxy,
    prepare: Callable[[LabHost], None] = lambda _: None,
    edit: Callable[[str], str] = lambda text: text,
) -> Iterator[dict[Proxy, Deployed]]:
    """``deployer init TEMPLATE`` and an apply for each proxy; `own` is the one that it chooses.

    `prepare` is what is there on the host before, `edit` what a user changes in the playbook besides.
    """

    def deploy(host: LabHost, proxy: Proxy) -> Deployed:
        project = folder / proxy
        project.mkdir()
        write(template, project)
        text = (project / "site.yml").read_text()
        assert text.count(f"proxy: {own} ") == 1
        changed = edit(text.replace(f"proxy: {own} ", f"proxy: {proxy} "))
        (project / "site.yml").write_text(changed)
        inventory = lab.inventory()
        inventory["all"]["hosts"] = {host.name: {"ansible_host": host.address}}
        _write_yaml(project / "inventory.yml", inventory)
        prepare(host)
        return Deployed(proxy=proxy, host=host, folder=project, applied=_apply(project))

    with running(len(PROXIES), name=f"{template}-{os.getpid()}") as lab:
        with ThreadPoolExecutor(len(PROXIES)) as pool:
            deployed = list(pool.map(deploy, lab.hosts, PROXIES))
        yield {each.proxy: each for each in deployed}


def _write_yaml(path: Path, document: object) -> None:
    import yaml

    path.write_text(yaml.safe_dump(document, sort_keys=False))
