"""Passwords of connections in rendered plays."""

from __future__ import annotations

from tests.support.playbook_project import Project


def test_passwords_of_connections_are_secret_wherever_they_are_set(project: Project) -> None:
    rendered = project.render(
        "- hosts: web\n  vars: {ansible_password: play-password}\n  tasks:\n"
        "    - copy: {dest: /x, content: '{{ ansible_password }}'}\n"
    )
    assert rendered.secrets == {"play-password"}
    assert rendered.tasks[0].secret
