"""Playbooks, inventories and values with random damage: always one message, soon, no traceback.

The damage is the same in every run. ``python -m tests.unit.playbook.test_hostile_playbooks 1000``
tries a thousand others.
"""

from __future__ import annotations

import copy
import datetime
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.errors import DeployerError
from deployer.playbook import RoleCall, load_inventory, load_playbook, parse_extra_vars, render_host
from deployer.sites.model import Site

ROUNDS = 100
_MOST_CPU_S = 20.0

PLAYBOOK = """
- name: "Play of {{ name }}"
  hosts: web
  become: true
  serial: 1
  vars: {name: app, port: 7890, list: [1, 2], tree: {a: {b: c}}, derived: "{{ name }}-{{ port }}"}
  vars_files: [more.yml]
  roles: [{role: app, vars: {x: 1}, tags: [one]}]
  tasks:
    - name: "Copy {{ derived }}"
      copy: {dest: "/a/{{ name }}", content: "{{ tree }}", mode: "0644"}
    - {copy: {src: file.txt, dest: /b/}, when: port > 80, tags: two}
    - {template: {src: t.j2, dest: /t}, loop: "{{ list }}", notify: again}
    - {file: {path: /d, state: directory, owner: root}}
    - {package: {name: [nginx, "{{ name }}"]}}
    - {command: {cmd: "run {{ item }}", creates: /c}, loop: [1, 2]}
    - {user: {name: app, system: yes}}
    - block: [{service: {name: nginx, state: started, enabled: true}}]
      when: [true, name is match('a.*')]
  handlers: [{name: again, service: {name: nginx, state: reloaded}}]
  sites:
    - domain: www.example.com
      aliases: [example.com]
      proxy: nginx
      tls: {issuer: internal, hsts: 180d}
      routes:
        - path: /ws
          websocket: "http://127.0.0.1:{{ port }}"
          idle_timeout: 1h
          origins: [https://example.com]
        - {path: /, root: /srv/www}
      verify: [{path: /ws, send: ping, expect: {regex: "p.*"}, hold: 5s}]
"""
INVENTORY = """
web:
  hosts:
    web1: {ansible_host: 10.0.0.1, ansible_port: 22, note: "{{ inventory_hostname }}"}
    web2:
  vars: {a: 1}
db: {children: {web: }}
"""
ROLE = "- {copy: {dest: '/x/{{ x }}', content: '{{ y | default(x) }}'}}\n"
TEMPLATE = """
{% for k, v in tree.items() %}{{ k }}={{ v | to_json }}
{% endfor %}
{% if port %}{{ item }}{% endif %}
"""
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**40,
    1e308,
    float("nan"),
    "",
    " ",
    "\n",
    "x" * 100_000,
    "\u202e\x85",
    [],
    {},
    [[[]]],
    {"a": {"b": []}},
    {1: 2, None: 3},
    datetime.date(2020, 1, 1),
    b"\xff",
    "/dev/zero",
    "../../..",
    "/etc/passwd",
    "~daemon/x",
    "a\0b",
    "{{",
    "{{ nope }}",
    "{{ name",
    "{{ 1 / 0 }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ [{'a': 1}] | map(attribute='b') | list }}",
    "{{ [nope, 1] }}",
    "{{ list | groupby('__class__') }}",
    "{{ 'x' * 10**9 }}",
    "{{ range(10**9) | list }}",
    "{{ ('a' * 30) is match('(a+)+$b') }}",
    "{{ derived }}{{ name }}",
    "{{ tree.a.items }}",
    "{{ omit }}",
    "{{ hostvars }}",
    "{{ groups }}",
    "{{ lookup('file', '/etc/passwd') }}",
    "{% include '/etc/passwd' %}",
    "{% extends 't.j2' %}",
    "{% for x in list %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{# #}",
    "#jinja2: x",
    "#jinja2: variable_start_string: '', trim_blocks: 5\n{{ x }}",
    "\\",
    "%s",
    "{{ tree | combine(list) }}",
    "{{ '2' is version('a.b', '<') }}",
    "{{ 'a: [' | from_yaml }}",
    "{{ caller() }}",
    "{{ loop.index }}",
    "{{ self }}",
    "{{ super() }}",
    "{{ namespace }}",
    "{{ dict }}",
    "{{ {}.fromkeys('abc') }}",
    "{{ 'abc'.encode() }}",
    "{{ 1.0.hex() }}",
    "{{ -5 | batch(-1) }}",
]
WORDS = [
    *"[]{}&*!|>'\":-?@`~,#\t\x00\x07é☃",
    *("{{", "}}", "{%", "%}", "{#", "<<: ", "!!str ", "!vault ", "!unsafe ", "&a ", "*a"),
    *("---\n", "...\n", "%YAML", "2020-13-45", "0777", "1:2:3"),
]


def nodes(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: a container and a key or index."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(pairs):
        yield document, key
        if isinstance(value, (dict, list)):
            yield from nodes(value)


def damaged(text: str, chooser: random.Random) -> str:
    """A document with some values, keys or characters replaced."""
    document = copy.deepcopy(yaml.safe_load(text))
    for _ in range(chooser.randint(1, 3)):
        places = list(nodes(document))
        if not places:
            break
        container, key = chooser.choice(places)
        value = copy.deepcopy(chooser.choice(VALUES))
        match chooser.randrange(5):
            case 0 if isinstance(container, dict):
                other = chooser.choice(
                    [*VALUES[:4], "x", "{{ x }}", "name", "hosts", "when", "loop"]
                )
                container[other] = container.pop(key)
            case 1:
                container[key] = [container[key], value]
            case 2 if isinstance(container, dict):
                words = ["when", "loop", "tags", "vars", "notify", "name"]
                container[chooser.choice(words)] = value
            case _:
                container[key] = value
    dumped: str = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    if chooser.random() < 0.3:
        place = chooser.randrange(len(dumped) + 1)
        dumped = dumped[:place] + chooser.choice(WORDS) + dumped[place + chooser.randint(0, 3) :]
    return dumped


def attempt(folder: Path, chooser: random.Random) -> str:
    """The message of one damaged project, or nothing if it is valid."""
    files = {
        "site.yml": PLAYBOOK,
        "hosts.yml": INVENTORY,
        "more.yml": "m: 1\nlist: [a, b]\n",
        "roles/app/tasks/main.yml": ROLE,
        "roles/app/defaults/main.yml": "y: '{{ x }}'\n",
        "templates/t.j2": TEMPLATE,
        "files/file.txt": "text\n",
    }
    for name in chooser.sample(sorted(files), chooser.choice([1, 1, 2])):
        if name.endswith(".yml"):
            files[name] = damaged(files[name], chooser)
        else:
            place = chooser.randrange(len(files[name]))
            files[name] = files[name][:place] + str(chooser.choice(VALUES)) + files[name][place:]
    extra = []
    if chooser.random() < 0.3:
        name = chooser.choice(["x", "name", "port", "list", "tree"])
        extra = [f"{name}={chooser.choice(VALUES)}"]
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, errors="surrogatepass")
    try:
        run(folder, extra)
    except DeployerError as error:
        return f"exit code {error.exit_code}: {error}"
    return ""


def run(folder: Path, extra: list[str]) -> None:
    given = parse_extra_vars(extra)
    inventory = load_inventory([folder / "hosts.yml"], playbook_folder=folder, extra_vars=given)
    playbook = load_playbook(folder / "site.yml", inventory=inventory, extra_vars=given)

    def site_roles(sites: tuple[Site, ...]) -> list[RoleCall]:
        return []

    for host in list(inventory.hosts.values())[:2]:
        facts = {"ansible_distribution": "Debian", "ansible_hostname": "{{ x }}"}
        render_host(playbook, host, inventory=inventory, facts=facts, site_roles=site_roles)


@pytest.mark.parametrize("seed", range(5))
def test_damaged_projects_end_in_one_message(seed: int, tmp_path: Path) -> None:
    chooser = random.Random(seed)  # noqa: S311 - not for secrets
    invalid = 0
    for _ in range(ROUNDS // 5):
        began = time.thread_time()
        message = attempt(tmp_path, chooser)
        assert message == "" or message.startswith("exit code 1: ")
        assert len(message) < 100_000
        invalid += message != ""
        assert time.thread_time() - began < _MOST_CPU_S
    assert invalid > ROUNDS // 20, "most damage is found"


def main(rounds: int) -> None:
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        for seed in range(rounds):
            began = time.thread_time()
            try:
                attempt(Path(name), random.Random(seed))  # noqa: S311 - not for secrets
            except Exception as error:
                failures += 1
                trace = error.__traceback__
                while trace and trace.tb_next:
                    trace = trace.tb_next
                place = trace.tb_frame.f_code if trace else ""
                print(f"{seed}: {type(error).__name__}: {str(error)[:200]} in {place}")
            if time.thread_time() - began > 2:
                print(f"{seed}: slow, {time.thread_time() - began:.1f} s")
    print(f"{failures} of {rounds} failed")


if __name__ == "__main__":
    main(int(sys.argv[1]))
