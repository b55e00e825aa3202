"""``state: absent`` for sites, tasks and roles; how tasks are recognised; and which are skipped."""

from __future__ import annotations

import pytest

from deployer.errors import SourceErrors
from deployer.playbook import RoleCall
from tests.support.playbook_project import Project

ROLE = "- copy: {dest: /srv/role, content: x}\n"
SITES = """- hosts: web
  sites:
    - {domain: a.example, routes: [{path: /, root: /srv}]}
    - {domain: b.example, state: absent}
"""


def absent(project: Project, text: str) -> dict[str, bool]:
    rendered = project.render(text)
    return {task.args.get("dest", ""): task.absent for task in rendered.tasks}


def test_an_absent_site_needs_only_its_domain(project: Project) -> None:
    rendered = project.render(SITES)
    assert [site.domain for site in rendered.sites] == ["a.example"]
    assert rendered.absent_sites == {"b.example"}


def test_the_files_of_an_absent_site_may_be_gone(project: Project) -> None:
    tls = "tls: {issuer: provided, certificate: no.pem, key: no.key}"
    rendered = project.render(SITES.replace("state: absent", f"state: absent, {tls}"))
    assert rendered.absent_sites == {"b.example"}


def test_the_state_of_a_site_may_be_a_template(project: Project) -> None:
    text = SITES.replace("state: absent", "state: \"{{ 'absent' if old else 'present' }}\"")
    rendered = project.render(text, extra_vars={"old": True})
    assert rendered.absent_sites == {"b.example"}
    with pytest.raises(SourceErrors, match="missing key 'routes'"):
        project.render(text, extra_vars={"old": False})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("state: absent", "proxy: nginx", "missing key 'routes'"),
        ("state: absent", "routes: []", "routes must not be empty"),
        ("state: absent", "state: gone", "state must be 'present' or 'absent', not 'gone'"),
        ("b.example", "a.example", "two sites of web1 have the name 'a.example'"),
    ],
)
def test_errors_of_sites(project: Project, old: str, new: str, words: str) -> None:
    with pytest.raises(SourceErrors, match=words):
        project.render(SITES.replace(old, new))


def test_an_absent_task_block_or_role_marks_what_it_names(project: Project) -> None:
    project.write({"roles/app/tasks/main.yml": ROLE, "more.yml": ROLE.replace("role", "more")})
    assert absent(
        project,
        """- hosts: web
  roles: [{role: app, state: absent}]
  tasks:
    - {copy: {dest: /srv/a, content: x}, state: absent}
    - {copy: {dest: /srv/b, content: x}, state: present}
    - {copy: {dest: /srv/c, content: x}}
    - state: absent
      block:
        - copy: {dest: /srv/d, content: x}
    - import_tasks: more.yml
      state: absent
""",
    ) == {
        "/srv/role": True,
        "/srv/a": True,
        "/srv/b": False,
        "/srv/c": False,
        "/srv/d": True,
        "/srv/more": True,
    }


def test_an_absent_role_does_not_bring_its_dependencies(project: Project) -> None:
    project.write(
        {
            "roles/app/tasks/main.yml": ROLE,
            "roles/app/meta/main.yml": "dependencies: [base]\n",
            "roles/base/tasks/main.yml": ROLE.replace("role", "base"),
        }
    )
    text = "- hosts: web\n  roles: [{role: app, state: %s}]\n"
    assert absent(project, text % "present") == {"/srv/base": False, "/srv/role": False}
    assert absent(project, text % "absent") == {"/srv/role": True}


def test_the_state_of_a_task_is_no_template(project: Project) -> None:
    text = '- hosts: web\n  tasks: [{copy: {dest: /x, content: x}, state: "{{ s }}"}]\n'
    with pytest.raises(SourceErrors, match="a task's state is a word, not a template"):
        project.render(text)


def test_a_playbook_is_one_project(project: Project) -> None:
    text = "- hosts: web\n  project: shop\n- hosts: web\n  project: %s\n"
    assert project.render(text % "shop").tasks == ()
    with pytest.raises(SourceErrors, match="project: blog, but an earlier play has project: shop"):
        project.render(text % "blog")


# --- which tasks are skipped ----------------------------------------------------------------------

SKIPPING = """- hosts: web
  roles:
    - {role: app, vars: {name: one}}
    - {role: app, vars: {name: two}, when: false}
  tasks:
    - {name: Always, copy: {dest: /always, content: x}}
    - {name: Never, copy: {dest: /never, content: x}, when: false}
    - name: Some
      copy: {dest: "/some/{{ item }}", content: x}
      loop: [1, 2]
      when: item == 1
    - name: None of them
      copy: {dest: "/none/{{ item }}", content: x}
      loop: []
"""


def test_skipped_tasks_are_known_also_in_one_of_several_calls_of_a_role(project: Project) -> None:
    project.write(
        {"roles/app/tasks/main.yml": "- {name: App, copy: {dest: '/{{ name }}', content: x}}\n"}
    )
    rendered = project.render(SKIPPING)
    (chosen,) = {task.origin for task in rendered.tasks if task.args["dest"] == "/one"}
    skipped = rendered.skipped - {"/Never", "/Some"}
    assert len(skipped) == 1
    assert chosen not in skipped
    assert next(iter(skipped)).startswith("app@")
    assert rendered.skipped >= {"/Never", "/Some"}


def test_a_task_that_applies_in_another_part_of_its_role_is_not_skipped(project: Project) -> None:
    tasks = "- {name: Part, copy: {dest: '/{{ part }}', content: x}, when: part == 'two'}\n"
    project.write({"roles/parts/tasks/main.yml": tasks})
    calls = [RoleCall(role="parts", vars={"part": part}) for part in ("one", "two")]
    rendered = project.render(SITES, roles=calls)
    assert rendered.skipped == frozenset()
    assert [task.origin for task in rendered.tasks] == ["parts/Part"]


def test_the_tasks_of_a_site_know_its_domain(project: Project) -> None:
    tasks = (
        "- {name: Site, copy: {dest: '/{{ item.domain }}', content: x}, loop: '{{ all_sites }}'}\n"
        "- {name: Shared, copy: {dest: /shared, content: x}}\n"
    )
    project.write({"roles/proxy/tasks/main.yml": tasks})
    call = RoleCall(role="proxy", vars={"all_sites": [{"domain": "a.example"}]})
    rendered = project.render(SITES, roles=[call])
    assert {task.args["dest"]: task.site for task in rendered.tasks} == {
        "/a.example": "a.example",
        "/shared": "",
    }
