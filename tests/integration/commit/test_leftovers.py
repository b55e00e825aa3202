"""What two playbooks created on one host: listed, pruned, rolled back, and removed by `absent`.

One host for all of it; the tests build on each other, in the order of this file.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.runs import Ran, deployer, write_playbook
from tests.unit.sites.test_certificate_files import Issued, issue

pytestmark = pytest.mark.lab

SITE = """
    - domain: {name}.example.com
      tls: {tls}
      routes: [{{path: /, root: /srv/www/{name}}}]
"""
PROVIDED = "{issuer: provided, certificate: a.pem, key: a.key, ca_bundle: root.pem}"
INTERNAL = "{issuer: internal}"
PAGE = """
    - copy: {{dest: /srv/www/{name}/index.html, content: "page of {name}"}}
"""
ROLE = """
- user: {name: app, system: true, shell: /usr/sbin/nologin}
- file: {path: /srv/app, state: directory, owner: app}
- file: {path: /srv/app/conf, state: directory, owner: app}
- copy: {dest: /srv/app/conf/settings, content: "x=1", owner: app}
- copy:
    dest: /etc/systemd/system/app.service
    content: |
      [Service]
      User=app
      ExecStart=sleep infinity
      [Install]
      WantedBy=multi-user.target
- service: {name: app, state: started, enabled: true}
"""
#: Prints the page that a client gets for each name: its last letter, or a hyphen for none.
PROGRAM = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for name in sys.argv[1:]:
    name += ".example.com"
    stream = context.wrap_socket(socket.create_connection(("127.0.0.1", 443)), server_hostname=name)
    stream.sendall(f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    answer = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
    print(answer[-1:] if " 200 " in answer[:15] else "-")
"""
GONE = "no longer in the playbook: {}, since generation 1"


def playbook(*names: str, app: str = "", more: str = "") -> str:
    tls = {"a": PROVIDED}
    sites = "".join(SITE.format(name=name, tls=tls.get(name, INTERNAL)) for name in names)
    pages = "".join(PAGE.format(name=name) for name in names)
    return f"""
- hosts: all
  become: true
  roles: [{app}]
  tasks:{pages}
  sites:{sites}{more}
"""


def place_certificate(folder: Path) -> None:
    """A certificate of a private CA, whose root is a new one each time."""
    now = datetime.datetime.now(datetime.UTC)
    span = {"not_before": now - datetime.timedelta(1), "not_after": now + datetime.timedelta(30)}
    root = issue("Private root", **span)
    leaf: Issued = issue("leaf", by=root, names=("a.example.com",), **span)
    (folder / "a.pem").write_bytes(leaf.pem)
    (folder / "a.key").write_bytes(leaf.key_pem)
    (folder / "root.pem").write_bytes(root.pem)


def served(host: LabHost) -> str:
    """The pages that clients get for the names a, b and c."""
    return host.exec(["python3", "-c", PROGRAM, "a", "b", "c"]).stdout.replace("\n", "")


@pytest.fixture(scope="module")
def projects(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two project folders that have been applied to the shared host."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    (one / "roles/app/tasks").mkdir(parents=True)
    (one / "roles/app/tasks/main.yml").write_text(ROLE)
    place_certificate(one)
    write_playbook(one, playbook("a", "b", app="app"), shared_lab)
    write_playbook(two, playbook("c"), shared_lab)
    for folder in (one, two):
        ran = deployer("apply", folder / "site.yml", "--yes")
        assert ran.code == 0, ran
    return one, two


def run(folder: Path, *words: str) -> Ran:
    ran = deployer(words[0], folder / "site.yml", *words[1:])
    assert ran.code == 0, ran
    return ran


def test_what_the_playbook_no_longer_names_is_listed_and_stays(
    shared_lab: Lab, projects: tuple[Path, Path]
) -> None:
    (host,), (one, two) = shared_lab.hosts, projects
    (one / "site.yml").write_text(playbook("a"))
    planned = run(one, "apply", "--yes")
    assert "nothing to do" in planned.out
    for words in ("site b.example.com", "user app", "service app", "directory /srv/app"):
        assert GONE.format(words) in planned.out
    assert "c.example.com" not in planned.out
    assert "no longer in the playbook" not in run(two, "plan").out
    assert served(host) == "abc"


def test_prune_removes_it_in_a_commit_that_the_names_confirm(
    shared_lab: Lab, projects: tuple[Path, Path]
) -> None:
    (host,), (one, _) = shared_lab.hosts, projects
    place_certificate(one)
    host.sh("echo data > /srv/app/data")
    ran = run(one, "apply", "--yes", "--prune", "--no-diff")
    assert "✓ b.example.com  no longer served (proxy)" in ran.out
    assert "directory /srv/app stays: it contains data" in ran.out
    assert served(host) == "a-c"
    state = host.sh("id app 2>&1; systemctl is-active app; cd /srv/app; ls; ls /etc/ssl/deployer")
    assert "no such user" in state
    assert state.split()[-5:] == ["inactive", "data", "a.example.com", "b.example.com",
                                  "c.example.com"]  # fmt: skip


def test_a_rollback_is_verified_with_what_its_generation_stored(
    shared_lab: Lab, projects: tuple[Path, Path]
) -> None:
    """The private CA of generation 1 is no longer on this machine."""
    (host,), (one, two) = shared_lab.hosts, projects
    ran = run(one, "rollback", "--yes", "--json")
    (report,) = ran.document["hosts"].values()
    assert (report["rolled_back_to"], report["generation"]) == (2, 4)
    checked = {check["site"] for check in report["checks"] if check["name"] == "certificate"}
    assert checked == {"a.example.com", "b.example.com", "c.example.com"}
    assert served(host) == "abc"
    assert "rolled back to generation 2" in run(one, "history").out
    assert "PRIVATE" not in host.sh("cat /var/lib/deployer/generations/*/*.json")
    warned = run(one, "plan")
    assert "this would undo the rollback to generation 2 that" in warned.out
    assert "this would undo" not in run(two, "plan").out


def test_absent_removes_a_site_and_a_role(shared_lab: Lab, projects: tuple[Path, Path]) -> None:
    (host,), (one, two) = shared_lab.hosts, projects
    more = "    - {domain: b.example.com, state: absent}\n"
    (one / "site.yml").write_text(playbook("a", app="{role: app, state: absent}", more=more))
    ran = run(one, "apply", "--yes", "--prune-certificates", "--json")
    (report,) = ran.document["hosts"].values()
    assert [check["target"] for check in report["checks"] if check["name"] == "no longer served"]
    assert served(host) == "a-c"
    state = host.sh("id app 2>&1; systemctl is-active app; ls /etc/ssl/deployer")
    assert state.split()[-3:] == ["inactive", "a.example.com", "c.example.com"]
    assert "nothing to do" in run(one, "apply", "--yes").out
    assert "nothing to do" in run(two, "apply", "--yes").out


def test_going_back_and_forth_ends_where_it_began(
    shared_lab: Lab, projects: tuple[Path, Path]
) -> None:
    (host,), (one, _) = shared_lab.hosts, projects
    host.sh("mv /var/lib/deployer/generations/3/verification.json /root/kept")
    old = run(one, "rollback", "--check", "--to", "3")
    assert "an earlier version of deployer made this generation" in old.out, old
    host.sh("mv /root/kept /var/lib/deployer/generations/3/verification.json")
    for to, pages in (("3", "a-c"), ("1", "ab-")):
        ran = run(one, "rollback", "--yes", "--to", to)
        assert f"rolled back to generation {to} and confirmed" in ran.out
        assert served(host) == pages
    found = host.sh("cat /var/lib/deployer/generations/7/managed.json")
    entries = json.loads(found)["entries"]
    sites = {each["site"] for each in entries if each.get("site")}
    assert sites == {"a.example.com", "b.example.com"}
