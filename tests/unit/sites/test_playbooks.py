"""The ready playbooks and their roles, rendered by the real playbook engine."""

from __future__ import annotations

import datetime
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from deployer.certificates.internal_ca.authority import InternalCa
from deployer.errors import SourceErrors
from deployer.playbook import (
    RenderedTask,
    RenderOptions,
    RoleCall,
    load_inventory,
    load_playbook,
    render_host,
)
from deployer.playbook.builtin import playbooks_path, roles_path
from deployer.proxies.roles import Ordering, ServingHost, proxy_roles
from deployer.sites.model import Site

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
FACTS = {
    "ansible_all_ipv6_addresses": ["fe80::1"],
    "ansible_distribution": "Debian",
    "ansible_distribution_major_version": "12",
    "ansible_fqdn": "host.example.com",
}
BARE = {"nginx": {"installed": None, "candidate": "1.22.1-9"}}
UNIT = "/etc/systemd/system/myapp.service"

APP = """\
- name: Service
  hosts: all
  become: true
  roles:
    - role: websocket_app
      vars:
        app_name: myapp
        app_command: {command}
        app_environment: {environment}
        app_port: 8765
"""


def tasks(
    playbook: Path,
    *,
    facts: dict[str, object] | None = None,
    packages: dict[str, dict[str, str | None]] = BARE,
) -> dict[str, RenderedTask]:
    """The tasks of a playbook for one host, by the path that they write, else by name."""
    folder = playbook.parent
    (folder / "inventory.yml").write_text("all: {hosts: {host: {ansible_host: 192.0.2.1}}}\n")
    inventory = load_inventory([folder / "inventory.yml"], playbook_folder=folder)
    about = facts or FACTS

    def site_roles(sites: tuple[Site, ...]) -> Sequence[RoleCall]:
        ca = InternalCa(folder / "ca")
        files = {site.domain: ca.certificate_for(site.names, now=NOW) for site in sites}
        host = ServingHost(facts=about, packages=packages)
        calls = proxy_roles(sites, host=host, certificates=files, ordering=Ordering())
        return [RoleCall(role=call.role, vars=call.vars, source=call.source) for call in calls]

    rendered = render_host(
        load_playbook(playbook, inventory=inventory, role_paths=[roles_path()]),
        inventory.hosts["host"],
        inventory=inventory,
        facts=about,
        options=RenderOptions(extra_vars={}),
        site_roles=site_roles,
    )
    named = {task.name: task for task in rendered.tasks}
    return named | {task.args["dest"]: task for task in rendered.tasks if "dest" in task.args}


def ready(name: str, folder: Path) -> Path:
    playbook = folder / "site.yml"
    playbook.write_text((playbooks_path() / name).read_text())
    return playbook


def text(task: RenderedTask) -> str:
    content = task.args["content"]
    return content if isinstance(content, str) else content.decode()


def app(folder: Path, *, command: str = "[/usr/bin/app]", environment: str = "{}") -> Path:
    playbook = folder / "site.yml"
    playbook.write_text(APP.format(command=command, environment=environment))
    return playbook


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RenderedTask]:
    return tasks(ready("goaccess.yml", tmp_path_factory.mktemp("report")))


def test_the_report_s_page_connects_to_its_site(report: dict[str, RenderedTask]) -> None:
    unit = text(report["/etc/systemd/system/goaccess.service"])
    assert "    --ws-url=wss://stats.example.com:443/ws\n" in unit
    assert "    --port=7890 \\\n" in unit
    assert "    --addr=127.0.0.1 \\\n" in unit
    assert "\nReadWritePaths=/var/www/stats\n" in unit
    site = text(report["/etc/nginx/sites-available/stats.example.com.conf"])
    assert "server     127.0.0.1:7890;" in site
    assert "root       /var/www/stats;" in site


LOGS = {
    "apache": ("/var/log/apache2/other_vhosts_access.log \\", "--log-format=VCOMBINED \\"),
    "haproxy": ("/var/tmp/requests.log \\", "--log-format=COMBINED \\"),
    "nginx": ("/var/log/nginx/access.log \\", "--log-format=COMBINED \\"),
}


@pytest.mark.parametrize("proxy", LOGS)
def test_the_report_reads_the_log_of_the_site_s_proxy(proxy: str, tmp_path: Path) -> None:
    playbook = ready("goaccess.yml", tmp_path)
    playbook.write_text(playbook.read_text().replace("proxy: nginx ", f"proxy: {proxy} "))
    found = tasks(playbook)
    unit = text(found["/etc/systemd/system/goaccess.service"]).splitlines()
    assert {f"    {word}" for word in LOGS[proxy]} <= set(unit)
    if proxy == "haproxy":
        assert "log-format '%ci - - [" in text(found["/etc/haproxy/haproxy.cfg"])


def test_the_key_is_secret_and_not_world_readable(report: dict[str, RenderedTask]) -> None:
    key = report["/etc/ssl/deployer/stats.example.com/privkey.pem"]
    assert (key.no_log, key.args["mode"]) == (True, "0600")
    others = [task for path, task in report.items() if not path.endswith("privkey.pem")]
    assert not any("PRIVATE KEY" in str(task.args) for task in others if task is not key)


def test_the_default_site_is_left_alone_if_the_host_has_ipv6(
    report: dict[str, RenderedTask],
) -> None:
    assert "/etc/nginx/sites-enabled/default" not in report


@pytest.mark.parametrize(("installed", "kept_out"), [(None, True), ("1.22.1-9", False)])
def test_the_default_site_is_removed_if_nginx_could_not_start_with_it(
    tmp_path: Path, installed: str | None, kept_out: bool
) -> None:
    facts: dict[str, object] = {**FACTS, "ansible_all_ipv6_addresses": []}
    packages = {"nginx": {"installed": installed, "candidate": "1.22.1-9"}}
    found = tasks(ready("goaccess.yml", tmp_path), facts=facts, packages=packages)
    assert ("/etc/nginx/sites-enabled/default" in found) is kept_out


def test_a_custom_service_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/server.py").write_text("print()\n")
    found = tasks(ready("websocket-app.yml", tmp_path))
    assert "\nExecStart=/usr/bin/python3 server.py\n" in text(found[UNIT])
    assert "\nWorkingDirectory=/opt/myapp/current\n" in text(found[UNIT])
    environment = found["/etc/default/myapp"]
    assert (environment.no_log, environment.args["mode"]) == (True, "0600")
    assert text(environment).endswith('LOG_LEVEL="info"\nPORT="8765"\n')


ARGUMENTS = {
    "plain": "plain",
    "--port=1": "--port=1",
    "a b": '"a b"',
    "50%n": '"50%%n"',
    "$HOME": '"$$HOME"',
    r"\"": r'"\""',
    r"\\": r'"\\"',
    r"a\nUser=root": r'"a\nUser=root"',
    ";": '";"',
    "": '""',
}


def test_every_argument_stays_one_argument(tmp_path: Path) -> None:
    command = ", ".join(f'"{argument}"' for argument in ARGUMENTS)
    lines = text(tasks(app(tmp_path, command=f"[/usr/bin/app, {command}]"))[UNIT]).splitlines()
    assert f"ExecStart=/usr/bin/app {' '.join(ARGUMENTS.values())}" in lines
    assert [line for line in lines if line.startswith("User=")] == ["User=myapp"]


def test_an_environment_variable_stays_one_value(tmp_path: Path) -> None:
    playbook = app(tmp_path, environment=r"""{ODD: "a \"b\" $HOME `id` \\n\nC=1"}""")
    written = text(tasks(playbook)["/etc/default/myapp"])
    assert 'ODD="a \\"b\\" \\$HOME \\`id\\` \\\\n\nC=1"\n' in written


def test_an_invalid_name_is_rejected(tmp_path: Path) -> None:
    playbook = app(tmp_path, environment=r'{"A\nB": x}')
    with pytest.raises(SourceErrors, match="a name has letters, digits and underscores"):
        tasks(playbook)


@pytest.mark.parametrize(("knows_pings", "last"), [(True, ["--ping-interval=30"]), (False, [])])
def test_goaccess_pings_if_its_version_supports_it(
    knows_pings: bool, last: list[str], tmp_path: Path
) -> None:
    found = tasks(ready("goaccess.yml", tmp_path))
    unit = found["/etc/systemd/system/goaccess.service"].args["content"].decode()
    command = unit.partition("ExecStart=")[2].partition("\nRestart=")[0].replace("\\\n", "")
    shell, _, script, *words = shlex.split(command.replace("$$", "$"))
    goaccess = tmp_path / "goaccess"
    shows = "  --ping-interval=<secs>" if knows_pings else "  --port=<port>"
    goaccess.write_text(
        f'#!/bin/sh\n[ "$1" != --help ] || exec echo "{shows}"\nprintf "%s\\n" "$@"\n'
    )
    goaccess.chmod(0o755)
    (tmp_path / "access.log").touch()
    words[1] = str(tmp_path / "access.log")
    ran = subprocess.run(
        [shell, "-c", script, *words],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [*words[1:], *last]
