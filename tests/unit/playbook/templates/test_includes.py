"""Templates include files of their role and playbook only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployer.errors import SourceErrors
from tests.support.playbook_project import Project

PLAY = "- hosts: web\n  tasks: [template: {src: main.j2, dest: /f}]\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.j2").write_text("secret\n")
    project = Project(tmp_path / "project")
    (project.folder / "templates").mkdir(parents=True)
    return project


def error_of(project: Project, text: str, play: str = PLAY) -> str:
    project.write({"templates/main.j2": text})
    with pytest.raises(SourceErrors) as caught:
        project.render(play)
    shown = str(caught.value).replace(str(project.folder), "P")
    assert "root:" not in shown
    assert "\nsecret" not in shown
    return shown


STATEMENTS = [
    "{% include NAME %}",
    "{% include [NAME] %}",
    "{% include NAME ignore missing %}",
    "{% include ['nope.j2', NAME] ignore missing %}",
    "{% include where %}",
    "{% extends NAME %}",
    "{% import NAME as x %}",
    "{% from NAME import x %}",
]


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("name", ["/etc/passwd", "../../outside/secret.j2", "a/../../x.j2"])
def test_files_elsewhere_are_refused(project: Project, statement: str, name: str) -> None:
    play = PLAY.replace("  tasks", f"  vars: {{where: {name}}}\n  tasks")
    shown = error_of(project, "one\n" + statement.replace("NAME", repr(name)), play)
    assert f"P/templates/main.j2:2:1: '{name}' cannot be included: " in shown


@pytest.mark.parametrize("statement", STATEMENTS[:1] + STATEMENTS[5:])
def test_links_that_lead_outside_are_refused(project: Project, statement: str) -> None:
    folder = project.folder / "templates"
    (folder / "link.j2").symlink_to("../../outside/secret.j2")
    (folder / "folder").symlink_to("../../outside")
    (folder / "inner.j2").write_text("{% include 'link.j2' %}")
    for name in ("link.j2", "folder/secret.j2"):
        shown = error_of(project, "one\n" + statement.replace("NAME", repr(name)))
        assert "P/templates/main.j2:2:1: " in shown
        assert "outside of the folders of the role and the playbook" in shown
    assert "P/templates/inner.j2:1:1: " in error_of(project, "{% include 'inner.j2' %}")


def test_links_inside_of_the_project_are_followed(project: Project) -> None:
    project.write(
        {"shared/part.j2": "part {{ a }}", "templates/main.j2": "{% include 'link.j2' %}"}
    )
    (project.folder / "templates/link.j2").symlink_to("../shared/part.j2")
    rendered = project.render(PLAY.replace("  tasks", "  vars: {a: 1}\n  tasks"))
    assert rendered.tasks[0].args["content"] == b"part 1"


def test_a_role_includes_its_own_files_and_those_of_the_playbook(project: Project) -> None:
    roles = project.folder.parent / "elsewhere"
    project.write({"templates/of_playbook.j2": "playbook"})
    (roles / "app/templates").mkdir(parents=True)
    (roles / "app/tasks").mkdir()
    (roles / "app/tasks/main.yml").write_text("- template: {src: main.j2, dest: /f}\n")
    text = "{% include 'of_role.j2' %} {% include 'of_playbook.j2' %}"
    (roles / "app/templates/main.j2").write_text(text)
    (roles / "app/templates/of_role.j2").write_text("role")
    (project.folder / "roles").mkdir()
    (project.folder / "roles/app").symlink_to(roles / "app")
    rendered = project.render("- hosts: web\n  roles: [app]\n")
    assert rendered.tasks[0].args["content"] == b"role playbook"


def test_an_absolute_source_is_the_authors_choice(project: Project) -> None:
    outside = project.folder.parent / "outside"
    play = "- hosts: web\n  tasks:\n"
    play += f"    - copy: {{src: {outside}/secret.j2, dest: /a}}\n"
    play += f"    - template: {{src: {outside}/secret.j2, dest: /b}}\n"
    assert [task.args["content"] for task in project.render(play).tasks] == [b"secret\n"] * 2
    (outside / "secret.j2").write_text("{% include 'other.j2' %}")
    (outside / "other.j2").write_text("other")
    with pytest.raises(SourceErrors, match=r"secret\.j2:1:1: .*other\.j2 cannot be included"):
        project.render(play)


def test_values_include_nothing(project: Project) -> None:
    project.write({"part.j2": "part"})
    with pytest.raises(SourceErrors, match="only template files include others"):
        project.value("{% include 'part.j2' %}")


@pytest.mark.parametrize("kind", ["pipe", "folder", "missing"])
def test_what_is_not_a_file_is_not_included(project: Project, kind: str) -> None:
    path = project.folder / "templates/odd.j2"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    shown = error_of(project, "{% include 'odd.j2' %}")
    assert "P/templates/main.j2:1:1: no template 'odd.j2' to include" in shown


def test_templates_that_include_each_other(project: Project) -> None:
    project.write({"templates/other.j2": "{% include 'main.j2' %}"})
    assert "too deep or too large" in error_of(project, "{% include 'other.j2' %}")
