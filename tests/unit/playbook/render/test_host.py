"""Playbooks rendered for a host: precedence, templates, tasks, handlers, sites, secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.errors import SourceErrors
from deployer.playbook import (
    RoleCall,
    load_inventory,
    load_playbook,
    render_host,
)
from deployer.sites.model import Site, Upstream
from tests.support.playbook_project import FACTS, Project

PRECEDENCE = [
    ("roles/app/defaults/main.yml", "v: defaults\n", "defaults"),
    ("group_vars/all.yml", "v: all\n", "all"),
    ("group_vars/web.yml", "v: group\n", "group"),
    ("host_vars/web1.yml", "v: host\n", "host"),
    ("play", "vars: {v: play}", "play"),
    ("files.yml", "v: vars_files\n", "vars_files"),
    ("roles/app/vars/main.yml", "v: role\n", "role"),
    ("entry", "vars: {v: entry}", "entry"),
    ("extra", "", "extra"),
]


@pytest.mark.parametrize("level", range(len(PRECEDENCE)))
def test_precedence(project: Project, level: int) -> None:
    names = [name for name, _, _ in PRECEDENCE[: level + 1]]
    project.write({name: text for name, text, _ in PRECEDENCE[: level + 1] if "." in name})
    project.write({"roles/app/tasks/main.yml": "- copy: {dest: /v, content: '{{ v }}'}\n"})
    play = "- hosts: web\n"
    play += "  vars: {v: play}\n" if "play" in names else ""
    play += "  vars_files: [files.yml]\n" if "files.yml" in names else ""
    play += f"  roles: [{{role: app{', vars: {v: entry}' if 'entry' in names else ''}}}]\n"
    rendered = project.render(play, extra_vars={"v": "extra"} if "extra" in names else {})
    assert rendered.tasks[0].args["content"].decode() == PRECEDENCE[level][2]


EXPRESSIONS = [
    ("{{ port }}", "80"),
    ("{{ port + 1 }}", "81"),
    ("{{ derived }}", "http://h:80"),
    ("{{ missing | default('d') }}", "d"),
    ("{{ broken | default('d') }}", "d"),
    ("{{ broken is defined }}", "False"),
    ("{{ tree | to_json }}", '{"b": [1, 2], "a": {"items": "x"}}'),
    ("{{ tree.a.items }}", "x"),
    ("{{ tree | dict2items | map(attribute='key') | join(',') }}", "b,a"),
    ("{{ [{'key': 'k', 'value': 1}] | items2dict }}", '{\n    "k": 1\n}'),
    ("{{ 'x' | b64encode | b64decode }}", "x"),
    (
        "{{ '/a/b.c' | basename }} {{ '/a/b.c' | dirname }} {{ 'b.c' | splitext | last }}",
        "b.c /a .c",
    ),
    ("{{ 'a-b' | regex_replace('([a-z])-([a-z])', '\\2-\\1') }}", "b-a"),
    ("{{ 'port 80' | regex_search('[0-9]+') }}", "80"),
    ("{{ (port > 79) | ternary('high', 'low') }}", "high"),
    ('{{ "it\'s" | quote }}', "'it'\"'\"'s'"),
    ("{{ 'yes' | bool }}{{ 'no' | bool }}", "TrueFalse"),
    ("{{ {'a': 1} | combine({'b': 2}) | to_json }}", '{"a": 1, "b": 2}'),
    ("{{ [1, 1, 2] | unique | union([3]) | difference([2]) | join }}", "13"),
    ("{{ [1, 2] | intersect([2]) | first }}", "2"),
    ("{{ 'x' | hash('sha256') | length }}", "64"),
    ("{{ 'https://h:1/p' | urlsplit('port') }}", "1"),
    ("{{ 'a,b,c' | split(',') | zip([1, 2]) | map('join', '=') | join(' ') }}", "a=1 b=2"),
    ("{{ tree | to_nice_yaml | from_yaml | to_json }}", '{"a": {"items": "x"}, "b": [1, 2]}'),
    ("{{ '1.22.1' is version('1.25', '<') }} {{ '1.9' is version('1.10', '>=') }}", "True False"),
    ("{{ 'abc' is match('b') }} {{ 'abc' is search('b') }}", "False True"),
    ("{{ 1 is truthy }} {{ '' is falsy }}", "True True"),
    (
        "{{ inventory_hostname }} {{ group_names[0] }} {{ groups.web | join(',') }}",
        "web1 web web1,web2",
    ),
    ("{{ hostvars['web1'].ansible_host }} {{ hostvars.web2.inventory_hostname }}", "10.0.0.9 web2"),
    ("{{ ansible_distribution }} {{ ansible_default_ipv4.address }}", "Debian 10.0.0.1"),
    ("{{ ansible_facts.distribution }}", "Debian"),
]
VARIABLES = (
    '{port: 80, derived: "http://h:{{ port }}", broken: "{{ nothing }}", '
    "tree: {b: [1, 2], a: {items: x}}}"
)


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_expressions(project: Project, expression: str, expected: str) -> None:
    assert project.value(expression, VARIABLES) == expected


def test_facts_are_never_templates(project: Project) -> None:
    facts = {"ansible_hostname": "{{ 1 + 1 }}"}
    assert project.value("{{ ansible_hostname }}", facts=facts) == "{{ 1 + 1 }}"


def test_canonical_tasks(project: Project) -> None:
    project.write({"files/one.txt": "1\n", "files/site/a/b.txt": "2\n"})
    rendered = project.render(
        """
- hosts: web
  vars: {size: 3}
  tasks:
    - ansible.builtin.apt: {pkg: "nginx, curl"}
    - package: {name: [telnet], state: absent}
    - copy: {src: one.txt, dest: /srv/, mode: 0600}
    - copy: {src: site/, dest: /srv/www, owner: www-data}
    - file: {dest: /srv/link, src: ../x, state: link}
    - systemd: {name: app.service, state: started, enabled: yes}
    - user: {name: app, system: true, home: /srv/app, groups: [a, b], append: true}
      args: {uid: "{{ size }}"}
    - command: make "a b" {{ size }}
      args: {chdir: /srv, creates: "/srv/out{{ size }}"}
      environment: {SIZE: "{{ size }}"}
    - command: {argv: [a, "{{ size }}"], unless: test -e /x}
    - copy: {dest: /etc/x, content: "{{ {'a': size} }}", mode: "{{ nothing | default(omit) }}"}
"""
    )
    assert [(task.module, dict(task.args)) for task in rendered.tasks] == [
        ("package", {"names": ["nginx", "curl"], "state": "present"}),
        ("package", {"names": ["telnet"], "state": "absent"}),
        ("copy", {"dest": "/srv/one.txt", "content": b"1\n", "mode": "0600"}),
        ("file", {"path": "/srv/www", "state": "directory", "owner": "www-data"}),
        ("file", {"path": "/srv/www/a", "state": "directory", "owner": "www-data"}),
        ("copy", {"dest": "/srv/www/a/b.txt", "content": b"2\n", "owner": "www-data"}),
        ("file", {"path": "/srv/link", "state": "link", "src": "../x"}),
        ("service", {"name": "app.service", "state": "started", "enabled": True}),
        (
            "user",
            {
                "name": "app",
                "uid": 3,
                "append": True,
                "home": "/srv/app",
                "system": True,
                "groups": ["a", "b"],
                "state": "present",
            },
        ),
        (
            "command",
            {
                "argv": ["make", "a b", "3"],
                "chdir": "/srv",
                "creates": "/srv/out3",
                "environment": {"SIZE": "3"},
            },
        ),
        ("command", {"argv": ["a", "3"], "unless": ["test", "-e", "/x"]}),
        ("copy", {"dest": "/etc/x", "content": b'{\n    "a": 3\n}'}),
    ]


def test_loop_when_block_and_import(project: Project) -> None:
    project.write({"more.yml": "- package: {name: imported}\n"})
    rendered = project.render(
        """
- hosts: web
  vars: {users: {ann: 1, bob: 2}}
  tasks:
    - name: Home
      file: {path: "/home/{{ item.key }}", state: directory}
      loop: "{{ users | dict2items }}"
      when: item.value > 1
    - block:
        - package: {name: "{{ name }}"}
        - package: {name: never}
          when: false
      vars: {name: inner}
      when: [ansible_distribution == 'Debian', "'web' in group_names"]
    - import_tasks: more.yml
      when: ansible_distribution == 'Debian'
    - include_tasks: more.yml
      when: ansible_distribution == 'Alpine'
"""
    )
    assert [task.args.get("path") or task.args["names"] for task in rendered.tasks] == [
        "/home/bob",
        ["inner"],
        ["imported"],
    ]


TAGGED = """
- hosts: web
  tags: [play]
  tasks:
    - {package: {name: one}, tags: a}
    - {package: {name: two}, tags: [b, never]}
    - {package: {name: three}, tags: always}
    - {package: {name: four}}
"""


@pytest.mark.parametrize(
    ("wanted", "skipped", "expected"),
    [
        (None, "", "one three four"),
        ("a", "", "one three"),
        ("b", "", "two three"),
        ("play", "", "one two three four"),
        ("all", "a", "three four"),
        ("a", "always", "one"),
        ("other", "", "three"),
    ],
)
def test_tags(project: Project, wanted: str | None, skipped: str, expected: str) -> None:
    rendered = project.render(
        TAGGED,
        tags=None if wanted is None else frozenset([wanted]),
        skip_tags=frozenset(filter(None, [skipped])),
    )
    assert " ".join(task.args["names"][0] for task in rendered.tasks) == expected


def test_roles_dependencies_handlers_and_templates(project: Project) -> None:
    project.write(
        {
            "roles/base/tasks/main.yml": "- package: {name: base}\n  notify: restart app\n",
            "roles/base/handlers/main.yml": "- name: restart app\n"
            "  service: {name: base, state: restarted}\n"
            "- name: unused\n  service: {name: base, state: reloaded}\n",
            "roles/app/meta/main.yml": "dependencies: [base]\n",
            "roles/app/defaults/main.yml": "app_port: 3000\n",
            "roles/app/tasks/main.yml": "- template: {src: app.conf.j2, dest: /etc/app/}\n"
            "  notify: restart app\n",
            "roles/app/handlers/main.yml": "- name: restart app\n"
            "  service: {name: app, state: restarted}\n",
            "roles/app/templates/app.conf.j2": "port {{ app_port }}\n"
            "{% if true %}\n  {% include 'part.j2' %}\n{% endif %}\n",
            "roles/app/templates/part.j2": "role {{ role_name }}\n",
        }
    )
    rendered = project.render(
        "- hosts: web\n  roles: [app, {role: base}]\n  tasks:\n"
        "    - {copy: {dest: /p, content: '{{ app_port }}'}, notify: restart app}\n"
    )
    base, app, play = rendered.tasks
    assert base.args["names"] == ["base"]
    assert app.args == {"dest": "/etc/app/app.conf", "content": b"port 3000\n  role app\n"}
    assert play.args["content"] == b"3000"
    assert base.notify == play.notify == ("restart app",)
    assert app.notify == ("app : restart app",)
    assert [(each.name, each.args["name"]) for each in rendered.handlers] == [
        ("restart app", "base"),
        ("app : restart app", "app"),
    ]


def test_a_template_sets_a_variable_for_an_included_one(project: Project) -> None:
    """It takes precedence over any variable of that name."""
    project.write(
        {
            "templates/list.j2": "{% set a = 1 %}{% for b in [2] %}"
            "{% with c = 3 %}{% include 'one.j2' %}{% endwith %}{% endfor %}\n",
            "templates/one.j2": "{{ a }} {{ b }} {{ c }} {{ d }}",
        }
    )
    rendered = project.render(
        "- hosts: web\n  vars: {a: x, b: x, c: x, d: 4}\n"
        "  tasks: [template: {src: list.j2, dest: /f}]\n"
    )
    assert rendered.tasks[0].args["content"] == b"1 2 3 4\n"


SITE = """
- hosts: web
  vars: {port: 7890, paths: [{path: /ws, websocket: "127.0.0.1:{{ port }}"}]}
  sites:
    - domain: Stats.Example.com
      aliases: [www.example.com]
      tls: {issuer: internal, hsts: 1d}
      routes: "{{ paths }}"
      verify: [{path: /ws/x, send: ping, expect: pong, hold: 5}]
    - domain: 192.0.2.7
      routes:
        - {path: /, root: "/srv/{{ inventory_hostname }}"}
        - {path: /a, upstream: ["unix:/run/a.sock", "https://h"], strip_prefix: yes, match: exact}
"""


def test_sites_and_their_roles(project: Project) -> None:
    seen: list[tuple[Site, ...]] = []
    project.write(
        {
            "roles/proxy/tasks/main.yml": "- notify: reload\n"
            "  copy: {dest: /c, content: '{{ text }} {{ sites[0].domain }}'}\n",
            "roles/proxy/handlers/main.yml": "- name: reload\n"
            "  command: {argv: [reload, '{{ text }}']}\n",
            "site.yml": SITE,
        }
    )
    inventory = load_inventory([project.folder / "hosts.yml"])
    playbook = load_playbook(project.folder / "site.yml", inventory=inventory)

    def site_roles(sites: tuple[Site, ...]) -> list[RoleCall]:
        seen.append(sites)
        return [RoleCall(role="proxy", vars={"text": "{{ raw }}", "sites": sites})]

    rendered = render_host(
        playbook.plays[0],
        inventory.hosts["web1"],
        inventory=inventory,
        facts=FACTS,
        site_roles=site_roles,
    )
    first, second = rendered.sites
    assert seen == [(first, second)]
    assert first.names == ("stats.example.com", "www.example.com")
    assert first.tls.hsts_s == 86400
    assert first.routes[0].upstreams == (Upstream(host="127.0.0.1", port=7890),)
    assert (first.verify[0].expect, first.verify[0].hold_s) == ("pong", 5.0)
    assert not second.has_tls
    assert second.routes[0].root == "/srv/web1"
    assert [str(each) for each in second.routes[1].upstreams] == [
        "unix:/run/a.sock",
        "https://h:443",
    ]
    assert rendered.tasks[0].args["content"] == b"{{ raw }} stats.example.com"
    assert rendered.handlers[0].args["argv"] == ["reload", "{{ raw }}"]


def test_values_that_use_a_secret_are_secret(project: Project) -> None:
    project.write(
        {
            "secrets.yml": "token: s3cr3t-{{ inventory_hostname }}\npin: 12\n",
            "templates/t.j2": "{{ header }}\n",
        }
    )
    rendered = project.render(
        """
- hosts: web
  vars: {header: "Bearer {{ token }}", plain: x, copied: s3cr3t-web1}
  vars_files: [{file: secrets.yml, secret: true}]
  tasks:
    - {name: by template, template: {src: t.j2, dest: /a}}
    - {name: by length, copy: {dest: /b, content: "{{ pin }}"}}
    - {name: by text, copy: {dest: /c, content: "{{ copied }}"}}
    - {name: by word, copy: {dest: /d, content: x}, no_log: true}
    - {name: "not {{ plain }}", copy: {dest: /e, content: "{{ plain }}"}}
    - {name: not by when, copy: {dest: /f, content: x}, when: token is defined}
    - {name: named, copy: {dest: "/g/{{ item }}", content: x}, loop: ["{{ token }}"]}
"""
    )
    assert {task.name: task.secret for task in rendered.tasks} == {
        "by template": True,
        "by length": True,
        "by text": True,
        "by word": True,
        "not x": False,
        "not by when": False,
        "named": True,
    }
    assert rendered.secrets == {"s3cr3t-web1"}


def test_every_error_of_a_host_at_once(project: Project) -> None:
    with pytest.raises(SourceErrors) as caught:
        project.render(
            """
- hosts: web
  vars: {port: 99999, path: "/a;b"}
  sites:
    - domain: a.example.com
      routes:
        - {path: "{{ path }}", websocket: "h:{{ port }}"}
  tasks:
    - {copy: {dest: /a, content: "{{ nope }}"}}
    - {copy: {dest: a, content: x}}
"""
        )
    # The last one needs no host: it is found by the load, and the others are not looked for.
    assert [error.source.line for error in caught.value.errors if error.source] == [10]
    with pytest.raises(SourceErrors) as caught:
        project.render((project.folder / "site.yml").read_text().replace("dest: a,", "dest: /b,"))
    assert [error.source.line for error in caught.value.errors if error.source] == [7, 7, 9]


def test_own_role_overrides_the_built_in_one(project: Project) -> None:
    project.write({"roles/nginx/tasks/main.yml": "- package: {name: mine}\n"})
    assert project.render("- hosts: web\n  roles: [nginx]\n").tasks[0].args["names"] == ["mine"]


def test_names_that_a_play_or_a_site_displaces(project: Project) -> None:
    rendered = project.render(
        "- hosts: web\n"
        "  displaces: [Old.example.com, '{{ more }}']\n"
        "  sites:\n"
        "    - domain: a.example.com\n"
        "      displaces: default, wiki.example.com\n"
        "      routes: [{path: /, root: /srv}]\n",
        extra_vars={"more": "intern.example.com"},
    )
    assert rendered.displaces == {
        "old.example.com",
        "intern.example.com",
        "default",
        "wiki.example.com",
    }


def test_play_settings_from_extra_vars(project: Project) -> None:
    project.write(
        {
            "site.yml": "- hosts: '{{ target }}'\n  serial: ['{{ n }}', 50%]\n"
            "  vars_files: ['{{ target }}.yml']\n  tasks:\n",
            "web.yml": "a: 1\n",
        }
    )
    inventory = load_inventory([project.folder / "hosts.yml"])
    playbook = load_playbook(
        project.folder / "site.yml", inventory=inventory, extra_vars={"target": "web", "n": 2}
    )
    assert playbook.plays[0].hosts == "web"
    assert playbook.plays[0].serial == (2, "50%")
    assert dict(playbook.plays[0].vars) == {"a": 1}


def test_one_template_of_a_built_in_role_is_overridden(project: Project) -> None:
    project.write({"roles/goaccess/templates/goaccess.service.j2": "[Unit]\n# mine\n"})
    tasks = project.render("- hosts: web\n  roles: [goaccess]\n").tasks
    units = [task.args for task in tasks if str(task.args.get("dest", "")).endswith(".service")]
    assert [unit["content"] for unit in units] == [b"[Unit]\n# mine\n"]
    assert any(task.module == "package" for task in tasks)


def test_a_broken_role_of_a_site_stops_every_host(project: Project) -> None:
    project.write({"roles/proxy/tasks/main.yml": "- package: {nam: x}\n", "site.yml": SITE})
    inventory = load_inventory([project.folder / "hosts.yml"])
    playbook = load_playbook(project.folder / "site.yml", inventory=inventory)
    for host in inventory.hosts.values():
        with pytest.raises(SourceErrors, match="unknown key 'nam'"):
            render_host(
                playbook,
                host,
                inventory=inventory,
                facts=FACTS,
                site_roles=lambda sites: [RoleCall(role="proxy")],
            )


def test_errors_never_contain_a_secret(project: Project) -> None:
    project.write({"secrets.yml": "token: s3cr3t-value\n"})
    with pytest.raises(SourceErrors) as caught:
        project.render(
            "- hosts: web\n  vars_files: [{file: secrets.yml, secret: true}]\n  tasks:\n"
            "    - copy: {dest: /a, src: 'missing-{{ token }}'}\n"
            "    - template: {dest: /a, src: '{{ token }}'}\n"
            "    - file: {path: '{{ token }}', state: directory}\n"
            "    - copy: {dest: /a, content: '{{ token | from_json }}'}\n"
            "    - copy: {dest: /a, content: '{{ token.missing }}'}\n"
        )
    assert len(caught.value.errors) == 5
    assert "s3cr3t" not in str(caught.value)
    assert "no file 'missing-(secret)'" in str(caught.value)


def test_an_error_in_a_variable_has_the_position_in_its_file(project: Project) -> None:
    project.write({"group_vars/web.yml": "paths:\n  - path: /ws\n    websocket: h:99999\n"})
    with pytest.raises(SourceErrors) as caught:
        project.render(
            "- hosts: web\n  sites:\n    - domain: a.example\n      routes: '{{ paths }}'\n"
        )
    (error,) = caught.value.errors
    assert str(error.source).endswith("group_vars/web.yml:3:16")
    assert error.excerpt == "    websocket: h:99999"


def test_an_undefined_name_in_a_group_variable_has_its_position(project: Project) -> None:
    project.write(
        {"group_vars/web.yml": "x: 1\nurl: 'http://{{ hots }}'\n", "group_vars/db.yml": "url: 2\n"}
    )
    with pytest.raises(SourceErrors, match=r"group_vars/web.yml:2:6: 'hots' is undefined"):
        project.value("{{ url }}")


def test_a_single_task_may_set_become(tmp_path: Path) -> None:
    from deployer.run.options import SessionOptions
    from deployer.run.project import load_project

    (tmp_path / "inventory.yml").write_text("all: {hosts: {web1: }}\n")
    playbook = tmp_path / "site.yml"
    playbook.write_text("- hosts: all\n  tasks: [{become: true, copy: {dest: /a, content: b}}]\n")
    project = load_project(playbook, SessionOptions())
    assert project.becomes_root(project.inventory.hosts["web1"])


def test_a_host_gets_the_plays_that_match_it(project: Project) -> None:
    plays = [
        f"- hosts: '{hosts}'\n  tasks: [{{copy: {{dest: /{n}, content: x}}}}]\n"
        for n, hosts in enumerate(("web1", "web2", "all", "web:!web1", "web:&all"))
    ]
    found = [task.args["dest"] for task in project.render("".join(plays)).tasks]
    assert found == ["/0", "/2", "/4"]
