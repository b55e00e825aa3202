"""A run is one SSH connection, wherever the playbook sets `become`."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.lab.lab import Lab
from tests.support.runs import deployer, write_playbook

pytestmark = pytest.mark.lab

ON_THE_PLAY = "- {hosts: all, become: true, tasks: [{file: {path: /srv/a, state: directory}}]}\n"
ON_THE_TASK = "- {hosts: all, tasks: [{file: {path: /srv/a, state: directory}, become: true}]}\n"
IN_A_ROLE = "- {hosts: all, roles: [made]}\n"
ROLE = "- {file: {path: /srv/a, state: directory}, become: true}\n"
NOWHERE = "- {hosts: all, tasks: [{file: {path: /srv/a, state: directory}}]}\n"


def logins(lab: Lab) -> int:
    log = lab.hosts[0].sh("journalctl -u ssh --no-pager -o cat")
    return log.count("Accepted publickey")


@pytest.mark.parametrize("playbook", [ON_THE_PLAY, ON_THE_TASK, IN_A_ROLE, NOWHERE])
def test_one_login_a_run(playbook: str, shared_lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, playbook, shared_lab)
    (workdir / "roles/made/tasks").mkdir(parents=True)
    (workdir / "roles/made/tasks/main.yml").write_text(ROLE)
    before = logins(shared_lab)
    ran = deployer("plan", "site.yml")
    assert ran.code == 0, ran
    assert logins(shared_lab) == before + 1
