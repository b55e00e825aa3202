"""Inventories: both formats, adjacent folders, patterns, and errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from deployer.errors import SourceErrors, UsageError
from deployer.playbook import load_inventory, parse_extra_vars

INI = """\
lonely ansible_host=10.0.0.9
[web]
web[01:03].example.com ansible_port=2222 note="a b" flag=True
old
[db]
db1:2200   # a comment
[prod:children]
web
[prod:vars]
level = prod
ansible_become = yes
[web:vars]
level=web
"""

YAML = """\
all:
  vars: {ansible_user: admin, level: all}
  hosts:
    lonely: {ansible_host: 10.0.0.9}
  children:
    prod:
      vars: {level: prod}
      children:
        web:
          vars: {level: web}
          hosts:
            web[1:2]: {ansible_port: 2222}
            old:
    db: {hosts: {db1: {ansible_host: "{{ inventory_hostname }}.example.com"}}}
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_ini(tmp_path: Path) -> None:
    write(tmp_path, {"hosts": INI})
    inventory = load_inventory([tmp_path / "hosts"])
    assert list(inventory.hosts) == [
        "lonely",
        "web01.example.com",
        "web02.example.com",
        "web03.example.com",
        "old",
        "db1",
    ]
    web = inventory.hosts["web02.example.com"]
    assert (web.port, web.groups) == (2222, ("prod", "web"))
    assert web.vars["note"] == "a b"
    assert web.vars["flag"] is True
    assert web.vars["level"] == "web"
    assert web.vars["ansible_become"] is True
    assert inventory.hosts["lonely"].hostname == "10.0.0.9"
    assert inventory.hosts["lonely"].groups == ("ungrouped",)
    assert inventory.hosts["db1"].port == 2200


def test_yaml(tmp_path: Path) -> None:
    write(tmp_path, {"inventory.yml": YAML})
    inventory = load_inventory([tmp_path / "inventory.yml"])
    assert list(inventory.hosts) == ["lonely", "web1", "web2", "old", "db1"]
    assert inventory.groups["prod"] == ("web1", "web2", "old")
    assert inventory.hosts["web2"].port == 2222
    assert inventory.hosts["web2"].user == "admin"
    assert inventory.hosts["web2"].vars["level"] == "web"
    assert inventory.hosts["db1"].hostname == "db1.example.com"
    assert inventory.hosts["db1"].vars["level"] == "all"


def test_folders_next_to_inventory_and_playbook(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "inv/hosts.yml": "web:\n  hosts: {w1: {from_host: file}}\n"
            "  vars: {a: file, b: file, c: file}\n",
            "inv/group_vars/all.yml": "a: all\nz: all\n",
            "inv/group_vars/web/one.yaml": "b: folder\n",
            "inv/host_vars/w1": "from_host: host_vars\n",
            "play/group_vars/web.yml": "c: play\n",
        },
    )
    inventory = load_inventory([tmp_path / "inv" / "hosts.yml"])
    assert dict(inventory.hosts["w1"].vars) == {
        "a": "all",
        "b": "folder",
        "c": "file",
        "z": "all",
        "from_host": "host_vars",
    }
    assert inventory.with_folder(tmp_path / "play").hosts["w1"].vars["c"] == "play"
    assert inventory.with_folder(tmp_path / "inv") is inventory
    both = load_inventory([tmp_path / "inv" / "hosts.yml"], playbook_folder=tmp_path / "play")
    assert both.hosts["w1"].vars["c"] == "play"


def test_host_list_and_folder(tmp_path: Path) -> None:
    assert list(load_inventory([Path("one,two,")]).hosts) == ["one", "two"]
    write(
        tmp_path, {"inv/a.ini": "[web]\na\n", "inv/b.yml": "web: {hosts: {b: }}", "inv/x.bak": "!"}
    )
    assert load_inventory([tmp_path / "inv"]).groups["web"] == ("a", "b")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("all", "lonely db1 web1 web2 old"),
        ("*", "lonely db1 web1 web2 old"),
        ("db,web", "db1 web1 web2 old"),
        ("web:!web*:!old", ""),
        ("web", "web1 web2 old"),
        ("web:!old", "web1 web2"),
        ("!old:web", "web1 web2"),
        ("web,db", "web1 web2 old db1"),
        ("all:&prod", "web1 web2 old"),
        ("prod:&web:!web1", "web2 old"),
        ("web*:!old", "web1 web2"),
        ("~(web|db)1", "web1 db1"),
        ("web[0]", "web1"),
        ("web[-1]", "old"),
        ("web[0:1]", "web1 web2"),
        ("web[1:]", "web2 old"),
        ("ungrouped", "lonely"),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: str) -> None:
    write(tmp_path, {"inventory.yml": YAML})
    inventory = load_inventory([tmp_path / "inventory.yml"])
    assert " ".join(host.name for host in inventory.select(pattern)) == expected


def test_limit(tmp_path: Path) -> None:
    write(tmp_path, {"inventory.yml": YAML})
    inventory = load_inventory([tmp_path / "inventory.yml"])
    assert [host.name for host in inventory.select("web", "web2,db")] == ["web2"]
    assert inventory.select("web", "db") == ()
    with pytest.raises(UsageError, match=r"no host or group 'wbe2'\ndid you mean 'web2'\?"):
        inventory.select("web", "wbe2")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "h.ini",
            "[web]\nw1 ansible_port=99999\n",
            r"h.ini:2:\d+: ansible_port: 99999 is not a port",
        ),
        ("h.ini", "[web]\nw1 ansible_port\n", r"h.ini:2:4: 'ansible_port' after a host"),
        (
            "h.ini",
            "[web:var]\n",
            r"h.ini:1:1: unknown section 'var'\n.*\n.*\n.*did you mean 'vars'",
        ),
        ("h.ini", "[web]\nw1\n[prod:children]\nwbe\n", r"h.ini:4:1: no group 'wbe'"),
        ("h.ini", "[web\nw1\n", r"h.ini:1:1: not a section"),
        ("h.ini", "w1 a='x\n", r"h.ini:1:1: a quote is not closed"),
        ("h.ini", "w[3:1]\n", r"h.ini:1:1: '\[3:1\]' is not a range"),
        ("h.ini", "w[1:99999999]\n", r"more than 5,000 hosts"),
        ("h.ini", "w1 ansible_become=maybe\n", r"h.ini:1:19: ansible_become: 'maybe' is neither"),
        ("h.yml", "all: {host: {w1: }}\n", r"h.yml:1:7: unknown key 'host' in a group"),
        (
            "h.yml",
            "web: {hosts: [w1]}\n",
            r"h.yml:1:14: 'hosts' of the group 'web' must be a mapping",
        ),
        (
            "h.yml",
            "web: {hosts: {w1: {ansible_port: 0}}}\n",
            r"h.yml:1:34: ansible_port: 0 is not a",
        ),
        ("h.yml", "web: {hosts: {w1: {a-b: 0}}}\n", r"h.yml:1:20: 'a-b' is not a variable name"),
        ("h.yml", "web: {hosts: {w1: {ansible_host: '-oX'}}}\n", r"'-oX' is not a host name"),
        ("h.yml", "web: {hosts: {w1: {ansible_connection: winrm}}}\n", r"'winrm' is not supported"),
        ("h.yml", "- web\n", r"h.yml:1:1: an inventory is a mapping"),
        ("hosts", "#!/bin/sh\n", r"is a program"),
        ("hosts", "# none\n", r"no host in the inventory"),
    ],
)
def test_wrong_inventories(tmp_path: Path, name: str, text: str, expected: str) -> None:
    write(tmp_path, {name: text})
    with pytest.raises(UsageError) as caught:
        load_inventory([tmp_path / name])
    assert re.search(expected, str(caught.value)), str(caught.value)


def test_missing_inventory_suggests_a_similar_name(tmp_path: Path) -> None:
    write(tmp_path, {"inventory.yml": "all: {hosts: {w: }}"})
    with pytest.raises(UsageError, match=r"does not exist\ndid you mean 'inventory.yml'"):
        load_inventory([tmp_path / "inventori.yml"])
    with pytest.raises(UsageError, match=r"does not exist$"):
        load_inventory([tmp_path / "e.yml"])


def test_extra_vars_set_connection_variables(tmp_path: Path) -> None:
    write(tmp_path, {"h.ini": "w1 ansible_user=a ansible_port=2200\nw2\n"})
    write(tmp_path / "project" / "group_vars", {"all.yml": "ansible_user: b\n"})
    extra = parse_extra_vars(["ansible_user=c ansible_port=2222 ansible_become=yes other=1"])
    inventory = load_inventory([tmp_path / "h.ini"], extra_vars=extra)
    for each in (inventory, inventory.with_folder(tmp_path / "project")):
        for host in each.hosts.values():
            assert (host.user, host.port) == ("c", 2222)
            assert host.vars["ansible_become"] is True
            assert "other" not in host.vars


def test_all_errors_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"h.ini": "[web]\nw1 x\nw2 y\n[db:varz]\n"})
    with pytest.raises(SourceErrors) as caught:
        load_inventory([tmp_path / "h.ini"])
    assert [error.source.line for error in caught.value.errors if error.source] == [2, 3, 4]


def test_extra_vars(tmp_path: Path) -> None:
    write(tmp_path, {"more.yml": "c: [1, 2]\n"})
    found = parse_extra_vars(["a=1 b='x y'", '{"a": 2}', "{d: true}", f"@{tmp_path}/more.yml"])
    assert found == {"a": 2, "b": "x y", "c": [1, 2], "d": True}
    for wrong in ("a", "a=1 b", "[1]", "a='x", "{a: 1", "1a=2"):
        with pytest.raises(UsageError):
            parse_extra_vars([wrong])


@pytest.mark.parametrize("file", ["~no-such-user/hosts", "a\0b", "/dev/zero", "."])
def test_a_file_of_hosts_that_cannot_be_read(file: str, tmp_path: Path) -> None:
    inventory = load_inventory([Path("web1,")])
    with pytest.raises(UsageError):
        inventory.select("all", f"@{file}")
