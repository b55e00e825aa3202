"""Keywords of plays that set how to connect: below the variables of hosts, above all options."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.model import Host
from deployer.playbook import load_inventory, load_playbook
from deployer.playbook.load.connections import inventories
from deployer.playbook.load.peek import peek
from deployer.transport.command import Elevation
from deployer.transport.options import ConnectOptions
from deployer.transport.settings import host_settings

INVENTORY = """\
web:
  hosts:
    plain:
    own: {ansible_user: al, ansible_port: 22}
    other: {ansible_ssh_user: x, ansible_become_user: root}
"""


def _hosts(folder: Path, *plays: str) -> list[dict[str, Host]]:
    (folder / "hosts.yml").write_text(INVENTORY)
    (folder / "site.yml").write_text("".join(f"- {{hosts: web, {play}}}\n" for play in plays))
    inventory = load_inventory([folder / "hosts.yml"])
    playbook = load_playbook(folder / "site.yml", inventory=inventory)
    found = inventories(playbook.plays, inventory)
    assert peek(folder / "site.yml", inventory=inventory, limit=None).hosts == ()
    return [{host.name: host for host in each.select("web")} for each in found]


def test_variables_override_keywords_which_override_options(tmp_path: Path) -> None:
    play = "remote_user: '{{ who }}', port: 2222, become: true, become_user: eve, vars: {who: bob}"
    (hosts,) = _hosts(tmp_path, play)
    options = ConnectOptions(user="option", become=True)
    seen = {}
    for name, host in hosts.items():
        login = host_settings(host, options)
        become = Elevation.of(options, host=name, user=login.user, variables=host.vars)
        seen[name] = (login.user, login.port, become.target)
    assert seen == {
        "plain": ("bob", 2222, "eve"),
        "own": ("al", 22, "eve"),
        "other": ("x", 2222, "root"),
    }


def test_the_other_keywords(tmp_path: Path) -> None:
    (hosts,) = _hosts(tmp_path, "become_exe: /opt/sudo, become_flags: -H, become_method: sudo")
    options = ConnectOptions(become=True)
    become = Elevation.of(options, host="", user="ops", variables=hosts["plain"].vars)
    assert become.argv(["id"])[2:4] == ["/opt/sudo", "-H"]
    (hosts,) = _hosts(tmp_path, "connection: local, gather_facts: true, any_errors_fatal: true")
    assert hosts["plain"].is_local


@pytest.mark.parametrize(
    ("plays", "marker", "problem"),
    [
        (["remote_user: a b"], "a b", "'a b' is not"),
        (["port: 0"], "0", "ports are 1 to 65535"),
        (["become_method: runas"], "runas", "'runas' is not supported"),
        (["connection: winrm"], "winrm", "'winrm' is not supported"),
        (["remote_user: a", "remote_user: b"], "b}", "reach 'plain' in different ways"),
        (["gather_facts: no"], "gather", "'gather_facts: false' is not supported"),
        (["any_errors_fatal: no"], "any", "'any_errors_fatal: false' is not supported"),
        (["any_errors_fatal: yes, max_fail_percentage: 5"], "any", "allows no failures"),
        (["vars_prompt: []"], "vars", "'vars_prompt' is not supported"),
        (["roles: [{role: nginx, remote_user: x}]"], "remote", "'remote_user' is not supported"),
        (["tasks: [{command: id, connection: ssh}]"], "conn", "'connection' is not supported"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    plays: list[str], marker: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        _hosts(tmp_path, *plays)
    line = (tmp_path / "site.yml").read_text().splitlines()[-1]
    place = f"{len(plays)}:{line.rindex(marker) + 1}"
    assert f"site.yml:{place}: " in str(caught.value)
    assert problem in str(caught.value)
