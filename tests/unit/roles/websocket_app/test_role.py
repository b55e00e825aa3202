"""The role for custom services: its unit, and the values that it rejects."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.errors import SourceErrors
from tests.unit.sites.test_playbooks import UNIT, app, tasks, text


def with_vars(folder: Path, more: str, *, command: str = "[/usr/bin/app]") -> Path:
    playbook = app(folder, command=command)
    playbook.write_text(playbook.read_text() + more)
    return playbook


def unit(folder: Path, more: str, *, command: str = "[/usr/bin/app]") -> list[str]:
    return text(tasks(with_vars(folder, more, command=command))[UNIT]).splitlines()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("", "WorkingDirectory=/"),
        ("        app_working_dir: /srv/app\n", "WorkingDirectory=/srv/app"),
        ("", "Restart=always"),
        ("        app_restart: on-failure\n", "Restart=on-failure"),
        ("        app_restart: 'no'\n", "Restart=no"),
        ("        app_restart_delay: 0.5\n", "RestartSec=0.5s"),
        ("        app_start_timeout: 90\n", "TimeoutStartSec=95s"),
        ("        app_writable: [/srv/a, /srv/b]\n", "ReadWritePaths=/srv/a /srv/b"),
        ("        app_group: web\n", "Group=web"),
    ],
)
def test_the_lines_of_the_unit(more: str, line: str, tmp_path: Path) -> None:
    assert line in unit(tmp_path, more)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", "8765"),
        ("        app_health: /health?deep=1\n", '8765 "/health?deep=1"'),
        (
            "        app_health: /health\n        app_health_host: app.example.com\n",
            "--host app.example.com 8765 /health",
        ),
        ("        app_health: /100%\n", '8765 "/100%%"'),
        ("        app_socket: /run/myapp/a.sock\n", "/run/myapp/a.sock"),
    ],
)
def test_the_unit_waits_for_the_service(more: str, words: str, tmp_path: Path) -> None:
    lines = unit(tmp_path, more)
    program = "/usr/local/lib/deployer/until-it-answers --pid $MAINPID --within 30"
    assert f"ExecStartPost={program} {words}" in lines


def test_the_unit_does_not_wait_for_a_service_without_a_port(tmp_path: Path) -> None:
    playbook = app(tmp_path)
    playbook.write_text(playbook.read_text().replace("app_port: 8765", "app_port: null"))
    found = tasks(playbook)
    assert "ExecStartPost" not in text(found[UNIT])
    assert "/usr/local/lib/deployer/until-it-answers" not in found


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("/opt/myapp/server", "/opt/myapp/current/server"),
        ("/opt/myapp/current/server", "/opt/myapp/current/server"),
        ("/opt/myapp/currently", "/opt/myapp/current/currently"),
        ("/opt/myapp/releases/x/server", "/opt/myapp/releases/x/server"),
        ("/opt/myapps/server", "/opt/myapps/server"),
    ],
)
def test_the_program_is_that_of_the_active_release(
    argument: str, written: str, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/server").write_text("")
    lines = unit(tmp_path, "        app_src: app\n", command=f"[{argument}]")
    assert f"ExecStart={written}" in lines


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            "        app_restart: sometimes\n",
            "app_restart: 'sometimes' is not one of always, on-success",
        ),
        ("        app_restart_delay: soon\n", "app_restart_delay: 'soon' is not a number"),
        (
            "        app_start_timeout: 600\n",
            "app_start_timeout: 600 is not a number from 1 to 120",
        ),
        ("        app_health: health\n", "app_health: 'health' is not a path such as /health"),
        ("        app_health_host: a b\n", "app_health_host: 'a b' is not a domain"),
        ('        app_health: "/a\\nUser=root"\n', "is not a path such as /health"),
        (
            '        app_writable: ["/srv /etc"]\n',
            "app_writable[0]: '/srv /etc' is not a path for a config: a space",
        ),
        (
            '        app_working_dir: "/srv\\nUser=root"\n',
            "is not an absolute path: it contains a control character",
        ),
        ("        app_socket: run/a.sock\n", "app_socket: 'run/a.sock' is not an absolute path"),
    ],
)
def test_invalid_values_are_rejected(more: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceErrors) as error:
        tasks(with_vars(tmp_path, more))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("        app_keep_releases: 1\n", "app_keep_releases: 1 is not a number from 2 to 100"),
        ("        app_build: [make]\n", "'build' requires 'creates'"),
        (
            "        app_build: [make]\n        app_built: ../x\n",
            "app_built: '../x' is not a relative path",
        ),
        ("        app_src: nowhere\n", "no file 'nowhere'"),
    ],
)
def test_invalid_releases_are_rejected(more: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/server").write_text("")
    source = "" if "app_src" in more else "        app_src: app\n"
    with pytest.raises(SourceErrors) as error:
        tasks(with_vars(tmp_path, source + more))
    assert words in str(error.value)
