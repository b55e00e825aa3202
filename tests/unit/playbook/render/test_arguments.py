"""A role's own argument specification, checked as Ansible does it."""

from __future__ import annotations

import pytest

from deployer.errors import SourceErrors
from tests.support.playbook_project import Project

SPEC = """
argument_specs:
  main:
    options:
      size: {type: int, required: true, description: How large}
      mode: {type: str, choices: [fast, "no"]}
      names: {type: list, elements: str}
      users:
        type: list
        elements: dict
        options:
          name: {type: str, required: true}
          uid: {type: int}
"""
TASKS = "- copy: {dest: /size, content: '{{ size }}'}\n  tags: a\n  when: false\n"


def project_with(project: Project, variables: str, *, more: str = "") -> str:
    project.write({"roles/mine/meta/argument_specs.yml": SPEC, "roles/mine/tasks/main.yml": TASKS})
    return f"- hosts: web\n  roles:\n    - role: mine\n      vars: {variables}\n{more}"


@pytest.mark.parametrize(
    "variables",
    [
        "{size: 3}",
        '{size: "3"}',
        '{size: "3.0", mode: fast}',
        "{size: 3, mode: no}",
        '{size: 3, names: "a,b", users: []}',
        "{size: 3, names: [1, a], users: [{name: a, uid: '7'}]}",
        '{size: "{{ 1 + 2 }}"}',
        "{size: 3, mode: null, other: x}",
    ],
)
def test_values_that_ansible_accepts(project: Project, variables: str) -> None:
    project.render(project_with(project, variables))


@pytest.mark.parametrize(
    ("variables", "line", "words"),
    [
        ("{mode: fast}", 3, "the required variable 'size' is missing"),
        ("{mode: '{{ size }}'}", 3, "the required variable 'size' is missing"),
        ("{size: lots}", 4, "size: 'lots' is not a whole number"),
        ("{size: 1.5}", 4, "size: 1.5 is not a whole number"),
        ("{size: [1]}", 4, "is not a whole number"),
        ("{size: 3, mode: slow}", 4, "mode: 'slow' is not one of fast, no"),
        ("{size: 3, names: {a: b}}", 4, "is not a list"),
        ("{size: 3, users: [{uid: 1}]}", 4, "the required key 'name' in users[0] is missing"),
        ("{size: 3, users: [{name: a, uid: x}]}", 4, "users[0].uid: 'x' is not a whole number"),
        ("{size: 3, users: [{nme: a}]}", 4, "unknown key 'nme' in users[0]"),
    ],
)
def test_values_that_ansible_refuses(
    project: Project, variables: str, line: int, words: str
) -> None:
    """Regardless of tags and conditions of the tasks that would use them."""
    with pytest.raises(SourceErrors) as error:
        project.render(project_with(project, variables), tags=frozenset({"other"}))
    assert words in str(error.value)
    assert f"site.yml:{line}:" in str(error.value)


def test_a_role_that_is_not_applied_is_not_checked(project: Project) -> None:
    text = project_with(project, "{}", more="      when: false\n")
    assert project.render(text).tasks == ()


def test_a_secret_value_is_not_shown(project: Project) -> None:
    project.write({"secret.yml": "hidden: top-secret\n"})
    text = project_with(project, '{size: "{{ hidden }}"}', more="  vars_files:\n")
    text += "    - {file: secret.yml, secret: true}\n"
    with pytest.raises(SourceErrors) as error:
        project.render(text)
    assert "top-secret" not in str(error.value)
    assert "size: (secret) is not a whole number" in str(error.value)


def test_a_specification_with_an_error(project: Project) -> None:
    text = project_with(project, "{size: 3}")
    wrong = SPEC.replace("type: int, required", "type: integer, required")
    project.write({"roles/mine/meta/argument_specs.yml": wrong})
    with pytest.raises(SourceErrors, match="'integer' is not a type"):
        project.render(text)
