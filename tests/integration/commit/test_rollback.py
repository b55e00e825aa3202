"""Rollback to earlier generations; each rollback is a commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployer.lab.lab import Lab
from tests.support.runs import deployer, differences, goaccess_project, state_of, write_playbook

pytestmark = pytest.mark.lab


def installed(state: dict[str, Any]) -> list[str]:
    """The packages that are there; a removed one may have left its configuration."""
    return [line for line in state["packages"] if line.split()[2] == "ii"]


def test_back_by_one_and_back_to_the_bare_host(lab: Lab, workdir: Path) -> None:
    goaccess_project(lab, workdir)
    (host,) = lab.hosts
    bare = state_of(host)
    assert deployer("apply", "site.yml", "--yes").code == 0
    first = host.sh("cat /etc/nginx/sites-enabled/stats.example.com.conf")
    assert deployer("apply", "site.yml", "--yes", "-e", "report_port=7895").code == 0
    assert host.sh("cat /etc/nginx/sites-enabled/stats.example.com.conf") != first

    shown = deployer("rollback", "site.yml", "--check")
    assert shown.code == 0, shown
    assert "web1: 2 to update" in shown.out
    assert host.sh("cat /etc/nginx/sites-enabled/stats.example.com.conf") != first
    reloading = deployer("reload", "site.yml", "-C")
    assert (reloading.code, "handler reload nginx" in reloading.out) == (0, True), reloading
    back = deployer("rollback", "site.yml", "--yes")
    assert back.code == 0, back
    assert "confirmed as generation 3" in back.out
    assert "✓ stats.example.com/ws  handshake (proxy)" in back.out
    assert host.sh("cat /etc/nginx/sites-enabled/stats.example.com.conf") == first
    assert "nothing to do" in deployer("apply", "site.yml", "--yes").out

    bottom = deployer("rollback", "site.yml", "--to", "0", "--yes")
    assert bottom.code == 0, bottom
    after = state_of(host)
    assert installed(after) == installed(bare)
    assert after["active"] == bare["active"]
    assert not [path for path in differences(bare, after) if "stats" in path]


def test_there_is_no_rollback_to_an_unknown_generation(lab: Lab, workdir: Path) -> None:
    goaccess_project(lab, workdir)
    refused = deployer("rollback", "site.yml", "--yes")
    assert refused.code == 3, refused
    assert "there is no generation" in refused.out
    assert "nothing was changed" in refused.out


FOLDERS = """
- hosts: all
  become: true
  tasks:
    - file: {{path: /srv/tree, state: {state}}}
"""


LISTED = "cd /srv/tree && find . -printf '%p %m %u %l\\n' | sort; cat deep/file"


def test_a_removed_tree_comes_back_with_all_that_was_in_it(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    host.sh(
        "mkdir -p /srv/tree/deep && cd /srv/tree && echo text > deep/file && chmod 640 deep/file"
        " && ln -s deep/file link"
    )
    before = host.sh(LISTED)
    write_playbook(workdir, FOLDERS.format(state="absent"), lab)
    assert deployer("apply", "site.yml", "--yes").code == 0
    assert host.sh("ls /srv").strip() == ""
    back = deployer("rollback", "site.yml", "--yes")
    assert back.code == 0, back
    assert (
        host.sh("cd /srv/tree && find . -printf '%p %m %u %l\\n' | sort; cat deep/file") == before
    )


LATE = """
- hosts: all
  become: true
  tasks:
    - package: {name: nginx}
    - file: {path: /etc/nginx/sites-enabled/default, state: absent}
"""


def test_what_a_package_spoils_is_made_right_in_the_same_run(lab: Lab, workdir: Path) -> None:
    """The link is not there before the package is; the package brings it."""
    (host,) = lab.hosts
    bare = state_of(host)
    write_playbook(workdir, LATE, lab)
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    assert host.sh("ls /etc/nginx/sites-enabled").strip() == ""
    again = deployer("apply", "site.yml", "--yes")
    assert "nothing to do" in again.out, again
    assert deployer("rollback", "site.yml", "--yes").code == 0
    assert installed(state_of(host)) == installed(bare)


ACCOUNT = """
- hosts: all
  become: true
  tasks:
    - user: {name: games, state: absent}
"""


def test_a_removed_account_comes_back_with_its_own_group(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    before = host.sh("getent passwd games | cut -d: -f1,3,5-; id -gn games")
    write_playbook(workdir, ACCOUNT, lab)
    assert deployer("apply", "site.yml", "--yes").code == 0
    back = deployer("rollback", "site.yml", "--yes")
    assert back.code == 0, back
    assert "user games: its own group may get a different ID" in back.out
    assert host.sh("getent passwd games | cut -d: -f1,3,5-; id -gn games") == before
