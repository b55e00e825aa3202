"""Connection variables: honoured or refused, wherever they are set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import UsageError
from deployer.model import Host
from deployer.playbook import load_inventory, load_playbook, parse_extra_vars
from deployer.playbook.load.connections import inventories
from deployer.run.connections import becomes_root, connect_options, refuse_unchecked
from deployer.run.options import SessionOptions
from deployer.transport import ssh_config
from deployer.transport.command import Elevation
from deployer.transport.connecting import interpreter
from deployer.transport.options import ConnectOptions
from deployer.transport.passwords import Passwords
from deployer.transport.settings import host_settings, jump_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.chdir(tmp_path)
    ssh_config.forget()
    return tmp_path


def project(folder: Path, *, where: str, lines: str, extra: list[str] | None = None) -> Host:
    """The host of a project with variables, lines of YAML, in one place."""
    (folder / "group_vars").mkdir()
    (folder / "host_vars").mkdir()
    (folder / "inventory.yml").write_text("web: {hosts: {w1: }}\n")
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    if where == "inventory":
        (folder / "inventory.yml").write_text(f"web:\n  hosts: {{w1: }}\n  vars:\n{indented}")
    elif where in ("group_vars/web.yml", "host_vars/w1.yml", "more.yml"):
        (folder / where).write_text(lines)
    play = "- hosts: web\n  tasks: []\n"
    if where == "play":
        play += f"  vars:\n{indented}"
    elif where == "more.yml":
        play += "  vars_files: [more.yml]\n"
    (folder / "site.yml").write_text(play)
    if where == "-e":
        (folder / "extra.yml").write_text(lines)
        extra = ["@extra.yml"]
    given = parse_extra_vars(extra or [])
    inventory = load_inventory([Path("inventory.yml")], playbook_folder=Path(), extra_vars=given)
    playbook = load_playbook(Path("site.yml"), inventory=inventory, extra_vars=given)
    (own,) = inventories(playbook.plays, inventory)
    (host,) = own.select("web")
    return host


PLACES = ["inventory", "group_vars/web.yml", "host_vars/w1.yml", "play", "more.yml", "-e"]


@pytest.mark.parametrize("where", PLACES)
def test_a_jump_host_is_never_ignored(where: str, tmp_path: Path) -> None:
    host = project(
        tmp_path,
        where=where,
        lines="gate: hop.example.com\n"
        "ansible_ssh_common_args: '-o ProxyJump=me@{{ gate }}:2222 -F none'\n"
        "ansible_ssh_extra_args: -4 -i other\n"
        "ansible_user: deploy\n"
        "ansible_port: '2200'\n"
        "ansible_ssh_timeout: 3\n"
        "ansible_ssh_private_key_file: keys/id\n",
    )
    settings = host_settings(host, ConnectOptions(user="option", connect_timeout_s=9))
    assert settings.proxy_jump == ("me@hop.example.com:2222",)
    assert (settings.user, settings.port, settings.connect_timeout_s) == ("deploy", 2200, 3.0)
    assert settings.identity_files == ("keys/id", "other")
    assert settings.only_identities
    assert settings.address_family == "inet"


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ansible_ssh_common_args: -o ForwardAgent=yes", "ForwardAgent=yes is not supported"),
        ("ansible_ssh_common_args: -L 1:a:2", "the ssh option -L is not supported"),
        ("ansible_ssh_executable: /opt/ssh-wrapper", "ansible_ssh_executable is not supported"),
        ("ansible_become_method: runas", "'runas' is not supported"),
        ("ansible_su_user: root", "ansible_su_user is not supported"),
        ("ansible_connection: docker", "'docker' is not supported"),
        ("ansible_winrm_transport: ntlm", "ansible_winrm_transport is not supported"),
        ("ansible_ssh_comon_args: -J gate", "not a connection variable"),
        ("ansible_conection: local", "did you mean 'ansible_connection'"),
        ("ansible_hosts: 192.0.2.1", "did you mean 'ansible_host'"),
        ("ansible_become_usr: x", "did you mean 'ansible_become_user'"),
        ("ansible_shell_type: powershell", "ansible_shell_type is not supported"),
        ("ansible_ssh_timeout: soon", "'soon' is not a number of seconds"),
        ('ansible_become_flags: "-H \'"', "a quote is not closed"),
        ("ansible_python_interpreter: -x", "'-x' is not an interpreter"),
        ('ansible_user: "a\\nb"', "ansible_user"),
        ("ansible_ssh_private_key_passphrase: secret", "is not supported"),
        ("ansible_paramiko_user: x", "write the name without 'paramiko'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_place(
    where: str, line: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        project(tmp_path, where=where, lines=line + "\n")
    text = str(caught.value)
    assert problem in text
    file = {"inventory": "inventory.yml:4", "play": "site.yml:4", "-e": "extra.yml:1"}
    assert f"{file.get(where, f'{where}:1')}:" in text, text


@pytest.mark.parametrize("where", ["defaults", "vars", "role", "task"])
def test_connection_variables_of_roles_and_tasks_are_refused(where: str, tmp_path: Path) -> None:
    (tmp_path / "inventory.yml").write_text("web: {hosts: {w1: }}\n")
    role = tmp_path / "roles/app"
    for part in ("tasks", "defaults", "vars"):
        (role / part).mkdir(parents=True)
        (role / part / "main.yml").write_text("[]" if part == "tasks" else "a: 1\n")
    if where in ("defaults", "vars"):
        (role / where / "main.yml").write_text("ansible_ssh_common_args: -J gate\n")
    roles = "[{role: app, vars: {ansible_user: x}}]" if where == "role" else "[app]"
    task = "{name: x, file: {path: /x, state: directory}, vars: {ansible_become_user: x}}"
    tasks = f"[{task}]" if where == "task" else "[]"
    (tmp_path / "site.yml").write_text(f"- hosts: web\n  roles: {roles}\n  tasks: {tasks}\n")
    with pytest.raises(UsageError, match="cannot be set here: a run uses one connection per host"):
        load_playbook(Path("site.yml"), inventory=load_inventory([Path("inventory.yml")]))


def test_plays_that_reach_a_host_in_different_ways_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inventory.yml").write_text("web: {hosts: {w1: , w2: }}\n")
    play = "- hosts: {0}\n  vars: {{ansible_user: {1}}}\n  tasks: []\n"
    inventory = load_inventory([Path("inventory.yml")])
    for second, fails in (("w2", False), ("web", True)):
        (tmp_path / "site.yml").write_text(play.format("w1", "a") + play.format(second, "b"))
        playbook = load_playbook(Path("site.yml"), inventory=inventory)
        if fails:
            with pytest.raises(
                UsageError, match=r"site\.yml:5:\d+: the plays .* in different ways"
            ):
                inventories(playbook.plays, inventory)
        else:
            users = [
                own.select(play.hosts)[0].user
                for play, own in zip(
                    playbook.plays, inventories(playbook.plays, inventory), strict=True
                )
            ]
            assert users == ["a", "b"]


def host_with(**variables: Any) -> Host:
    return Host(name="w1", hostname="w1", vars=variables)


def test_the_last_of_several_names_wins(tmp_path: Path) -> None:
    (tmp_path / "h.ini").write_text(
        "w1 ansible_host=a ansible_ssh_host=b ansible_port=1 ansible_ssh_port=2 "
        "ansible_user=u ansible_ssh_user=v\n"
    )
    host = load_inventory([Path("h.ini")]).hosts["w1"]
    assert (host.hostname, host.port, host.user) == ("b", 2, "v")
    named = host_with(ansible_password="a", ansible_ssh_pass="b", ansible_ssh_password="c")
    assert host_settings(named, ConnectOptions(password="typed")).password == "c"


def test_settings_of_ansible_cfg_are_below_the_command_line_and_variables() -> None:
    options = ConnectOptions(
        user="setting",
        defaults={
            "ansible_ssh_common_args": "-J from-cfg",
            "ansible_ssh_private_key_file": "/cfg/id",
            "ansible_port": 2201,
        },
    )
    settings = host_settings(host_with(), options)
    assert (settings.proxy_jump, settings.port) == (("from-cfg",), 2201)
    assert settings.identity_files == ("/cfg/id",)
    own = host_settings(host_with(ansible_ssh_common_args="-J own", ansible_port=22), options)
    assert (own.proxy_jump, own.port) == (("own",), 22)


def test_options_of_ssh_come_in_the_order_of_ansible() -> None:
    host = host_with(
        ansible_ssh_args="-o User=first -o Port=1",
        ansible_ssh_common_args="-o Port=2 -l common -o ConnectTimeout=1m",
        ansible_ssh_extra_args="-o HostKeyAlias=x -o ProxyCommand='nc %h %p'",
        ansible_user="own",
        ansible_port=3,
    )
    settings = host_settings(host, ConnectOptions())
    assert (settings.user, settings.port, settings.key_name) == ("first", 1, "x")
    assert settings.connect_timeout_s == 60.0
    assert settings.proxy_command == "nc w1 1"


def test_an_ssh_config_of_its_own_applies_to_jump_hosts_too(home: Path) -> None:
    (home / "conf").write_text("Host gate\n User jumper\nHost *\n Port 26\n ProxyJump gate\n")
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text("Host *\n User no-one\n")
    host = host_with(ansible_ssh_common_args="-F conf")
    settings = host_settings(host, ConnectOptions())
    assert (settings.port, settings.proxy_jump) == (26, ("gate",))
    jump = jump_settings("gate", before=(), host=host, options=ConnectOptions())
    assert (jump.user, jump.port) == ("jumper", 26)


@pytest.mark.parametrize(
    "variables",
    [
        {"ansible_host_key_checking": False},
        {"ansible_ssh_common_args": "-o StrictHostKeyChecking=no"},
        {"ansible_ssh_args": "-o stricthostkeychecking=off"},
    ],
)
def test_the_check_of_host_keys_cannot_be_turned_off(
    variables: dict[str, object], tmp_path: Path
) -> None:
    from deployer.playbook.ansible_cfg.settings import AnsibleSettings

    with pytest.raises(UsageError, match="--accept-new"):
        host_settings(host_with(**variables), ConnectOptions())
    assert host_settings(host_with(**variables), ConnectOptions(accept_new=True)).accept_new
    words = " ".join(f"{key}='{value}'" for key, value in variables.items())
    (tmp_path / "h.ini").write_text(f"w1 {words}\n")
    with pytest.raises(UsageError, match=r"h\.ini:1:\d+: .* turns off the check of host keys"):
        refuse_unchecked(load_inventory([Path("h.ini")]).hosts.values(), AnsibleSettings())


def test_new_keys_may_be_accepted_by_an_option_of_ssh() -> None:
    host = host_with(ansible_ssh_common_args="-o StrictHostKeyChecking=accept-new")
    assert host_settings(host, ConnectOptions()).accept_new
    assert not host_settings(host_with(), ConnectOptions()).accept_new


def test_login_methods() -> None:
    cases = {
        "-o PasswordAuthentication=no": ("publickey",),
        "-o PubkeyAuthentication=no": ("password",),
        "-o PreferredAuthentications=password,publickey": ("password", "publickey"),
        "-o PreferredAuthentications=publickey": ("publickey",),
    }
    for text, methods in cases.items():
        host = host_with(ansible_ssh_extra_args=text)
        assert host_settings(host, ConnectOptions()).methods == methods


def argv(*, user: str = "me", password: str | None = None, **variables: Any) -> list[str]:
    options = ConnectOptions(become=True, become_password=password)
    elevation = Elevation.of(options, host="w1", user=user, variables=variables)
    return elevation.argv(["program"])


def test_becoming_another_user() -> None:
    plain = ["env", "LC_ALL=C", "sudo", "-n", "--", "program"]
    assert argv() == plain
    assert argv(user="root") == ["program"]
    assert argv(user="app", ansible_become_user="app") == ["program"]
    assert argv(ansible_become_user="root") == plain
    assert argv(user="root", ansible_become_user="app")[2:] == [
        "sudo",
        "-n",
        "-u",
        "app",
        "--",
        "program",
    ]
    assert argv(ansible_sudo_user="b", ansible_become_user="a")[4:6] == ["-u", "b"]
    assert argv(ansible_become_exe="/opt/sudo -k", ansible_become_flags="-H -S -n")[2:] == [
        *("/opt/sudo", "-k", "-H", "-S", "-n", "-n", "--", "program")
    ]
    with_password = argv(password="x", ansible_become_flags="-HSn -E -n --non-interactive")
    assert with_password[2:6] == ["sudo", "-HS", "-E", "-S"]
    assert "-n" not in with_password


def test_a_variable_decides_about_root_and_its_password() -> None:
    from deployer.playbook.ansible_cfg.settings import AnsibleSettings

    assert becomes_root(host_with(), by_play=True)
    assert not becomes_root(host_with(ansible_become=False), by_play=True)
    assert becomes_root(host_with(ansible_become=True), by_play=False)
    for variables, setting, expected in (
        ({}, None, "typed"),
        ({"ansible_become_password": "own"}, "cfg", "own"),
        ({}, "cfg", "typed"),
    ):
        options = connect_options(
            host_with(**variables),
            True,
            options=SessionOptions(),
            settings=AnsibleSettings(variables={"ansible_become_password": setting}),
            passwords=Passwords(become="typed"),
        )
        assert options.become_password == expected


def test_the_interpreter() -> None:
    for text, words in (
        ("/opt/py/bin/python3", ["/opt/py/bin/python3"]),
        ("/usr/bin/env python3.9", ["/usr/bin/env", "python3.9"]),
        ("auto", []),
        ("auto_legacy_silent", []),
    ):
        host = host_with(ansible_python_interpreter=text)
        assert interpreter(host, ConnectOptions()) == words


def test_templates_in_connection_variables(tmp_path: Path) -> None:
    (tmp_path / "inv").mkdir()
    (tmp_path / "inv/hosts.yml").write_text(
        "all:\n  hosts: {w1: }\n  vars:\n"
        "    ansible_ssh_private_key_file: '{{ inventory_dir }}/id_{{ inventory_hostname }}'\n"
        "    ansible_python_interpreter: '{{ ansible_playbook_python }}'\n"
        "    ansible_become_password: '{{ secret_word }}'\n"
        "    ansible_user: '{{ who }}'\n"
    )
    host = load_inventory(
        [Path("inv/hosts.yml")], extra_vars={"secret_word": "x", "who": "extra"}
    ).hosts["w1"]
    assert host.vars["ansible_ssh_private_key_file"] == f"{tmp_path}/inv/id_w1"
    assert host.vars["ansible_python_interpreter"] == sys.executable
    assert host.vars["ansible_become_password"] == "x"
    assert host.user == "extra"


def test_facts_and_own_variables_are_no_connection_variables(tmp_path: Path) -> None:
    names = "ansible_hostname ansible_user_id ansible_distribution ansible_ssh_host_key_rsa_public"
    words = " ".join(f"{name}=x" for name in (*names.split(), "ansible_own_thing", "user"))
    (tmp_path / "h.ini").write_text(f"w1 {words}\n")
    inventory = load_inventory([Path("h.ini")])
    assert inventory.hosts["w1"].vars["ansible_hostname"] == "x"
    assert inventory.notes == ()


def test_variables_without_effect_are_named(tmp_path: Path) -> None:
    (tmp_path / "h.ini").write_text("[web]\nw1\nw2\n[web:vars]\nansible_pipelining=True\n")
    (note,) = load_inventory([Path("h.ini")]).notes
    assert note.startswith("h.ini:5:20: ansible_pipelining has no effect: ")


def test_this_machine_needs_no_mention(tmp_path: Path) -> None:
    (tmp_path / "h.yml").write_text("all: {vars: {a: 1}, hosts: {w1: }}\n")
    inventory = load_inventory([Path("h.yml")])
    (here,) = inventory.select("localhost")
    assert here.is_local
    assert here.vars["a"] == 1
    assert "localhost" not in inventory.hosts
