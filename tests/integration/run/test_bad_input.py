"""Wrong playbooks, inventories and options: one clear error, exit code 1, and no host touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.lab import Lab
from tests.support.runs import Ran, deployer, differences, state_of, write_playbook

pytestmark = pytest.mark.lab

SITE = """
- hosts: all
  vars: {{domain: ws.example.com, port: 8765}}
  sites:
    - domain: {domain}
      tls: {{issuer: none}}
      routes: [{{path: {path}, websocket: "{upstream}"}}]
"""


def site(
    domain: str = "ws.example.com", *, path: str = "/ws", upstream: str = "http://127.0.0.1:8765"
) -> str:
    """A playbook of one site with these words in it, as YAML has them."""
    return SITE.format(domain=domain, path=path, upstream=upstream)


def task(text: str) -> str:
    return f"- hosts: all\n  tasks:\n    - {text}\n"


#: What is wrong, the playbook, and the words that its error must hold.
WRONG: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown key of a play": (
        "- hosts: all\n  becom: true\n",
        ("site.yml:2:3: unknown key 'becom'", "    2 |   becom: true", "did you mean 'become'?"),
    ),
    "unknown key of a route": (
        site().replace("websocket:", "websockt:"),
        ("unknown key 'websockt'", "did you mean 'websocket'?"),
    ),
    "missing variable": (
        site("'{{ domian }}'"),
        ("site.yml:5:15: 'domian' is undefined",),
    ),
    "missing variable in a template": (
        task("template: {src: page.j2, dest: /etc/page}"),
        ("page.j2:2", "'missing' is undefined"),
    ),
    "domain with a semicolon": (
        site('"ws.example.com; root /"'),
        ("is not a domain: ';' is not allowed",),
    ),
    "domain with a newline": (
        site('"ws.example.com\\n"'),
        ("is not a domain: a line break is not allowed",),
    ),
    "domain with a newline from a variable": (
        site("\"{{ domain ~ '\\n' }}\""),
        ("is not a domain: a line break is not allowed",),
    ),
    "path with a brace": (site(path='"/ws {"'), ("site.yml:7", "/ws {")),
    "port too large": (
        site(upstream="http://127.0.0.1:99999"),
        ("'99999' is not a port: ports are 1 to 65535",),
    ),
    "port too large in a variable": (
        site(upstream="http://127.0.0.1:{{ port * 100 }}"),
        ("'876500' is not a port: ports are 1 to 65535",),
    ),
    "unknown group": (
        "- hosts: wbe\n  tasks: []\n",
        ("site.yml:1:10: the inventory has no host or group 'wbe'", "groups: all"),
    ),
    "unknown role": (
        "- hosts: all\n  roles: [goacess]\n",
        ("site.yml:2:11: no role 'goacess'", "did you mean 'goaccess'?"),
    ),
    "several at once": (
        (
            "- hosts: all\n  becom: true\n  tasks:\n    - cpoy: {dest: /etc/x, content: x}\n"
            "    - copy: {dest: etc/x, content: x}\n    - shell: ls\n    - command: {argv: [ls]}\n"
        ),
        (
            "site.yml:2:3: unknown key 'becom'",
            "site.yml:4:7: no module 'cpoy'",
            "site.yml:5:20: dest: 'etc/x' is not an absolute path",
            "site.yml:6:7: the module 'shell' is not supported",
            "site.yml:7:16: a command requires 'creates', 'removes' or 'unless'",
        ),
    ),
    "register": (
        task("copy: {dest: /etc/x, content: x}\n      register: result"),
        ("site.yml:4:7:", "register"),
    ),
    "no YAML": ("- hosts: all\n  tasks: [\n   a: b: c\n", ("site.yml:3:8: not valid YAML",)),
    "empty": ("", ("site.yml:1:1: an empty playbook",)),
    "one path in two ways": (
        task("copy: {dest: /etc/x, content: x}\n    - file: {path: /etc/x, state: absent}"),
        ("/etc/x is defined differently here and at",),
    ),
    "unknown handler": (
        task("copy: {dest: /etc/x, content: x}\n      notify: reload ngnix"),
        ("site.yml:4", "reload ngnix"),
    ),
}


@pytest.fixture(scope="module")
def before(shared_lab: Lab) -> Iterator[dict[str, Any]]:
    """The host's state; it is the same after all tests of this module."""
    (host,) = shared_lab.hosts
    state = state_of(host)
    yield state
    assert differences(state, state_of(host)) == {}


def write_wrong(folder: Path, lab: Lab, name: str) -> tuple[str, ...]:
    """The project of a case; the words of its error."""
    text, words = WRONG[name]
    write_playbook(folder, text, lab)
    (folder / "templates").mkdir()
    (folder / "templates/page.j2").write_text("hello\n{{ missing }}\n")
    return words


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_playbook_is_reported_with_its_place(
    name: str, shared_lab: Lab, workdir: Path
) -> None:
    words = write_wrong(workdir, shared_lab, name)
    ran = deployer("check", "site.yml")
    assert ran.code == 1, ran
    assert [word for word in words if word not in ran.err] == [], ran
    assert ran.out == ""


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(
    "name",
    [
        "unknown key of a play",
        "missing variable",
        "missing variable in a template",
        "domain with a newline from a variable",
        "port too large in a variable",
    ],
)
def test_a_wrong_playbook_is_not_applied(name: str, shared_lab: Lab, workdir: Path) -> None:
    words = write_wrong(workdir, shared_lab, name)
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == ran.document["exit_code"] == 1, ran
    assert [word for word in words if word not in ran.err] == [], ran
    assert words[0] in json.dumps(ran.document, ensure_ascii=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["apply"], "Missing argument 'SITE.yml|FILE'"),
        (["aply", "site.yml"], "Did you mean 'apply'?"),
        (["plan", "site.yml", "--fork", "3"], "Did you mean '--forks'?"),
        (["plan", "site.yml", "--forks", "0"], "--forks"),
        (["plan", "other.yml"], "other.yml does not exist"),
        (["plan", "site.yml", "-i", "nowhere.yml"], "nowhere.yml"),
        (["plan", "site.yml", "-e", "no-equals-sign"], "no-equals-sign"),
        (["plan", "site.yml", "--limit", "missing"], "missing"),
        (["apply", "site.yml", "-K", "--yes"], "but there is no terminal"),
    ],
)
def test_wrong_usage_is_one_message(arguments: list[str], words: str, workdir: Path) -> None:
    (workdir / "site.yml").write_text("- hosts: all\n  tasks: []\n")
    (workdir / "inventory.yml").write_text("all: {hosts: {web1: {ansible_host: 127.0.0.1}}}\n")
    ran = deployer(*arguments)
    assert ran.code == 1, ran
    assert words in ran.err, ran
    assert ran.out == ""
    as_json = deployer(*arguments, "--json")
    assert as_json.code == 1, as_json
    assert as_json.document["exit_code"] == 1
    assert words in as_json.document["error"]


def test_no_terminal_to_ask_changes_nothing(
    shared_lab: Lab, workdir: Path, before: dict[str, Any]
) -> None:
    write_playbook(workdir, task("copy: {dest: /etc/x, content: x}"), shared_lab)
    ran = deployer("apply", "site.yml")
    assert ran.code == 1, ran
    assert "Give --yes" in ran.err
    assert differences(before, state_of(shared_lab.hosts[0])) == {}


@pytest.mark.usefixtures("before")
def test_an_inventory_in_the_ini_form(shared_lab: Lab, workdir: Path) -> None:
    (host,) = shared_lab.hosts
    write_playbook(workdir, task("copy: {dest: /etc/x, content: '{{ greeting }}'}"))
    (workdir / "hosts.ini").write_text(
        f"[old]\nweb9 ansible_host=192.0.2.9\n\n"
        f"[web]\nweb1 ansible_host={host.address} ansible_port=22  # the first\n\n"
        f"[all:vars]\nansible_user=root\nansible_ssh_private_key_file={shared_lab.key}\n"
        f"deployer_known_hosts_file={shared_lab.known_hosts}\n\n[web:vars]\ngreeting=hello\n"
    )
    ran = deployer("plan", "site.yml", "-i", "hosts.ini", "--limit", "web", "--detailed-exitcode")
    assert ran.code == 2, ran
    assert "+hello" in ran.out


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("hosts.ini", "[web\nweb1\n", "hosts.ini:1"),
        ("hosts.ini", "[web]\nweb1 ansible_port=99999\n", "99999"),
        ("hosts.ini", "[web:kids]\nweb1\n", "hosts.ini:1"),
        ("hosts.yml", "all:\n  hosts:\n    web1:\n  hots: {}\n", "hosts.yml:4"),
        ("hosts.yml", "all: {hosts: {web1: {ansible_port: 99999}}}\n", "99999"),
        ("hosts.yml", "all: {hosts: {web1: {ansible_host: 'a b; c'}}}\n", "hosts.yml:1"),
    ],
)
def test_a_wrong_inventory_is_reported_with_its_place(
    name: str, text: str, words: str, workdir: Path
) -> None:
    write_playbook(workdir, task("copy: {dest: /etc/x, content: x}"))
    (workdir / name).write_text(text)
    ran = deployer("plan", "site.yml", "-i", name)
    assert ran.code == 1, ran
    assert words in ran.err, ran


# --- secrets --------------------------------------------------------------------------------------

SECRET = "correct horse battery"


def _said(*runs: Ran) -> str:
    return "\n".join(f"{ran.out}\n{ran.err}" for ran in runs)


def test_secrets_are_never_shown(lab: Lab, workdir: Path) -> None:
    """Not in a diff, an error, a document, the history, or a file that others can read."""
    (host,) = lab.hosts
    (workdir / "secrets.yml").write_text(f"token: {SECRET}\n")
    playbook = (
        "- hosts: all\n  vars_files: [{file: secrets.yml, secret: true}]\n  tasks:\n"
        "    - copy: {dest: /etc/app.env, content: 'TOKEN={{ token }}', mode: '0600'}\n"
        "    - copy: {dest: /etc/quiet, content: 'in a quiet task'}\n      no_log: true\n"
    )
    write_playbook(workdir, playbook, lab)
    runs = [
        deployer("check", "site.yml"),
        deployer("plan", "site.yml", "-v"),
        deployer("plan", "site.yml", "--json"),
        deployer("apply", "site.yml", "--yes", "-v"),
    ]
    assert [ran.code for ran in runs] == [0, 0, 0, 0], _said(*runs)
    assert host.sh("cat /etc/app.env") == f"TOKEN={SECRET}"
    assert "(secret, 27 bytes" in runs[1].out

    (workdir / "secrets.yml").write_text(f"token: {SECRET} staple\n")
    failing = (
        "    - command: {argv: [sh, -c, 'echo \"$1\" >&2; exit 1', x, '{{ token }}'], "
        "creates: /etc/never}\n"
    )
    write_playbook(workdir, playbook + failing)
    runs += [
        deployer("plan", "site.yml", "-v"),
        deployer("apply", "site.yml", "--yes", "-v"),
        deployer("apply", "site.yml", "--yes", "--json", "-v"),
        deployer("history", "site.yml", "-v"),
        deployer("history", "site.yml", "--json"),
    ]
    assert [ran.code for ran in runs[4:]] == [0, 3, 3, 0, 0], _said(*runs[4:])
    assert "in a quiet task" not in _said(*runs)
    assert SECRET not in _said(*runs)
    assert "staple" not in _said(*runs)
    assert host.sh("cat /etc/app.env") == f"TOKEN={SECRET}"
    readable = host.sh("find /var/lib/deployer -mindepth 1 -perm /077 | head")
    mode = host.sh("stat -c %a /var/lib/deployer").strip()
    assert mode == "700" or readable == "", readable
