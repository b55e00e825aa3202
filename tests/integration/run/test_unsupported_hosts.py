"""Hosts that deployer cannot set up, or of which it does not know the distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.runs import deployer, differences, state_of, write_playbook

pytestmark = pytest.mark.lab

SITE = """\
- hosts: all
  tasks:
    - copy: {dest: /etc/before-the-site, content: x}
  sites:
    - domain: ws.example.com
      tls: {issuer: none}
      routes: [{path: /, root: /srv}]
"""
FEDORA = (
    'NAME="Fedora Linux"\nVERSION="43 (Server Edition)"\nID=fedora\nVERSION_ID=43\n'
    'VERSION_CODENAME=""\nPRETTY_NAME="Fedora Linux 43 (Server Edition)"\n'
)
MINT = (
    'NAME="Linux Mint"\nVERSION="22.2 (Zara)"\nID=linuxmint\nID_LIKE="ubuntu debian"\n'
    'VERSION_ID="22.2"\nVERSION_CODENAME=zara\nUBUNTU_CODENAME=noble\n'
)


@pytest.fixture(scope="module")
def host(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """The host, after a first contact, which makes deployer's own folder."""
    folder = tmp_path_factory.mktemp("first")
    write_playbook(folder, "- hosts: all\n  tasks: []\n", shared_lab)
    assert deployer("plan", folder / "site.yml").code == 0
    return shared_lab.hosts[0]


@contextmanager
def disguised(host: LabHost, text: str) -> Iterator[None]:
    """Another os-release(5), until the block ends."""
    host.sh("mv /etc/os-release /etc/os-release.real")
    host.exec(["tee", "/etc/os-release"], stdin=text)
    try:
        yield
    finally:
        host.sh("mv /etc/os-release.real /etc/os-release")


@contextmanager
def without(host: LabHost, *programs: str) -> Iterator[None]:
    """Those programs are not there, until the block ends."""
    for program in programs:
        host.sh(f"mv {program} {program}.hidden")
    try:
        yield
    finally:
        for program in programs:
            host.sh(f"mv {program}.hidden {program}")


Disguise = Callable[[LabHost], Any]
CASES: dict[str, tuple[Disguise, str]] = {
    "Fedora": (
        lambda host: disguised(host, FEDORA),
        "Fedora Linux 43 lacks Debian's packages, which this playbook needs",
    ),
    "no apt-get": (
        lambda host: without(host, "/usr/bin/apt-get"),
        "Debian GNU/Linux 12 lacks apt-get, which this playbook needs",
    ),
    "neither apt-get nor dpkg": (
        lambda host: without(host, "/usr/bin/apt-get", "/usr/bin/dpkg"),
        "Debian GNU/Linux 12 lacks apt-get and dpkg, which this playbook needs",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_host_without_apt_is_refused_before_any_change(
    name: str, host: LabHost, shared_lab: Lab, workdir: Path
) -> None:
    disguise, words = CASES[name]
    write_playbook(workdir, SITE, shared_lab)
    before = state_of(host)
    with disguise(host):
        for command in (["plan"], ["apply", "--yes"]):
            ran = deployer(*command, "site.yml", "--json")
            assert ran.code == ran.document["exit_code"] == 3, ran
            found = ran.document["hosts"]["web1"]
            assert (found["state"], found["message"].splitlines()[0]) == ("failed", words)
            assert "Nothing was changed. Supported are Debian 11 to 13" in found["message"]
    assert differences(before, state_of(host)).keys() <= {"/etc"}  # its time


def test_a_sealed_plan_is_refused_too(host: LabHost, shared_lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, SITE, shared_lab)
    assert deployer("plan", "site.yml", "--out", "sealed.plan").code == 0
    with without(host, "/usr/bin/apt-get"):
        ran = deployer("apply", "sealed.plan", "--yes")
    assert ran.code == 3, ran
    assert "lacks apt-get, which this playbook needs" in ran.out + ran.err


def test_files_are_applied_on_other_distributions_with_ansible_s_facts(
    host: LabHost, shared_lab: Lab, workdir: Path
) -> None:
    facts = "{{ ansible_distribution }} {{ ansible_distribution_release }} {{ ansible_os_family }}"
    text = f"- hosts: all\n  tasks:\n    - copy: {{dest: /srv/facts, content: '{facts}'}}\n"
    write_playbook(workdir, text, shared_lab)
    for release, expected in (
        (MINT, "Linux Mint zara Debian"),
        (FEDORA, "Fedora Linux  Fedora Linux"),
    ):
        with disguised(host, release):
            ran = deployer("apply", "site.yml", "--yes")
        assert ran.code == 0, ran
        assert (host.root / "srv/facts").read_text() == expected


def test_a_rollback_names_only_what_it_undid(host: LabHost, shared_lab: Lab, workdir: Path) -> None:
    text = """\
- hosts: all
  tasks:
    - copy: {dest: /etc/nginx/conf.d/page.conf, content: "# page"}
      notify: reload nginx
    - package: {name: no-such-package}
  handlers:
    - name: reload nginx
      service: {name: nginx, state: reloaded}
"""
    write_playbook(workdir, text, shared_lab)
    before = state_of(host)
    ran = deployer("apply", "site.yml", "--yes")
    assert ran.code == 3, ran
    assert "file /etc/nginx/conf.d/page.conf  restored" in ran.err + ran.out
    assert "reload nginx  reloaded" not in ran.err + ran.out
    assert "no-such-package  restored" not in ran.err + ran.out
    assert differences(before, state_of(host)) == {}
