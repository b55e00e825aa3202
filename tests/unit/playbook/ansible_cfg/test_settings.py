"""ansible.cfg: where it is found, what is honoured, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.playbook.ansible_cfg.settings import AnsibleSettings, load_settings
from deployer.run.connections import connect_options, forks
from deployer.run.options import SessionOptions
from deployer.run.project import load_project
from deployer.transport.passwords import Passwords


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is not the home."""
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return here


def read(text: str, **environment: str) -> AnsibleSettings:
    Path("ansible.cfg").write_text(text)
    return load_settings(environment)


def test_without_a_file_nothing_is_set() -> None:
    assert load_settings({}) == AnsibleSettings()


def test_what_is_honoured(folder: Path) -> None:
    settings = read(
        "# comment\n"
        "[defaults]\n"
        "inventory = hosts.yml, ~/more\n"
        "remote_user: deploy   ; an inline comment\n"
        "private_key_file = '~/.ssh/id'\n"
        "forks=25\n"
        "timeout = 4\n"
        "roles_path = roles:/opt/roles\n"
        "host_key_checking = yes\n"
        "interpreter_python = auto_silent\n"
        "remote_port = 2222\n"
        "[privilege_escalation]\n"
        "become = True\n"
        "become_method = sudo\n"
        "become_user = root\n"
        "become_flags = -H\n"
        "become_ask_pass = on\n"
        "[ssh_connection]\n"
        "ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s\n"
        "ssh_common_args = -J gate\n"
    )
    home = Path("~").expanduser()
    assert settings.inventories == (Path("hosts.yml"), home / "more")
    assert settings.roles_paths == (Path("roles"), Path("/opt/roles"))
    assert (settings.user, settings.forks, settings.timeout_s) == ("deploy", 25, 4)
    assert (settings.become, settings.ask_become_pass, settings.ask_pass) == (True, True, False)
    assert settings.variables == {
        "ansible_ssh_private_key_file": f"{home}/.ssh/id",
        "ansible_python_interpreter": "auto_silent",
        "ansible_port": 2222,
        "ansible_become_method": "sudo",
        "ansible_become_user": "root",
        "ansible_become_flags": "-H",
        "ansible_ssh_args": "-C -o ControlMaster=auto -o ControlPersist=60s",
        "ansible_ssh_common_args": "-J gate",
    }
    assert settings.unchecked is None
    assert settings.notes == ()


def test_where_the_file_is_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "home/.ansible.cfg").write_text("[defaults]\nremote_user = home\n")
    assert load_settings({}).user == "home"
    Path("ansible.cfg").write_text("[defaults]\nremote_user = here\n")
    assert load_settings({}).user == "here"
    other = tmp_path / "other"
    other.mkdir()
    (other / "ansible.cfg").write_text("[defaults]\nremote_user = other\nforks = 7\n")
    (other / "named.cfg").write_text("[defaults]\nremote_user = named\nroles_path = r\n")
    assert load_settings({"ANSIBLE_CONFIG": str(other)}).user == "other"
    named = load_settings({"ANSIBLE_CONFIG": str(other / "named.cfg")})
    assert (named.user, named.roles_paths) == ("named", (other / "r",))
    missing = load_settings({"ANSIBLE_CONFIG": str(other / "missing.cfg")})
    assert missing.user == "here"
    assert "missing.cfg does not exist" in missing.notes[0]


def test_a_file_that_anyone_could_have_written_is_not_read(folder: Path) -> None:
    folder.chmod(0o777)
    settings = read("[defaults]\nremote_user = intruder\n")
    assert settings.user is None
    assert "everyone may write in this folder" in settings.notes[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[defaults]\nforks = many\n", "ansible.cfg:2:1: forks: 'many' is not a number"),
        ("[defaults]\nremote_user = a b\n", "ansible.cfg:2:1: remote_user: "),
        ("[defaults]\n\nhash_behaviour = merge\n", "ansible.cfg:3:1: hash_behaviour is not"),
        ("[defaults]\nlibrary = ./modules\n", "ansible.cfg:2:1: library is not supported"),
        ("[defaults]\nremot_user = x\n", "ansible.cfg:2:1: Ansible has no setting 'remot_user'"),
        ("[defaults]\nbecome = x\n[defaults]\n", "ansible.cfg:3:1: a second section [defaults]"),
        ("[defaults]\nforks = 1\nforks = 2\n", "ansible.cfg:3:1: a second 'forks'"),
        ("forks = 1\n", "ansible.cfg:1:1: a setting before the first section"),
        ("[defaults]\nwhat\n", "ansible.cfg:2:1: neither a section nor a setting"),
        (
            "[privilege_escalation]\nbecome_method = runas\n",
            "ansible.cfg:2:1: become_method: 'runas'",
        ),
        ("[privilege_escalation]\nbecome = maybe\n", "'maybe' is neither true nor false"),
        ("[ssh_connection]\nssh_args = -L 1:a:2\n", "ansible.cfg:2:1: ssh_args: the ssh option -L"),
        ("[ssh_connection]\nssh_executable = /opt/ssh\n", "ssh_executable is not supported"),
        ("[defaults]\ntransport = local\n", "'local' is not supported as the default"),
        ("[tags]\nrun = web\n", "run is not supported"),
        ("[defaults]\nprivate_key_file = {{ x }}/id\n", "is a template"),
        ("[sudo_become_plugin]\nflags = '-H\n", "a quote is not closed"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert problem in str(caught.value)


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        read("[defaults]\nforks = many\nlibrary = x\n[ssh_connection]\nssh_args = -t\n")
    assert str(caught.value).count("ansible.cfg:") == 3


def test_settings_without_effect_are_named() -> None:
    settings = read(
        "[defaults]\nstdout_callback = yaml\ngathering = smart\nsome_old_thing = 1\n"
        "[callback_profile_tasks]\nsort_order = none\n[colors]\nok = blue\n"
    )
    assert [note.partition(" has")[0] for note in settings.notes] == [
        "ansible.cfg:2:1: stdout_callback",
        "ansible.cfg:3:1: gathering",
        "ansible.cfg:4:1: some_old_thing",
        "ansible.cfg:6:1: sort_order",
        "ansible.cfg:8:1: ok",
    ]


def test_settings_without_a_value_and_for_all_sections() -> None:
    settings = read(
        "[DEFAULT]\nforks = 4\n[defaults]\nprivate_key_file =\nremote_user:\n[colors]\nok = blue\n"
    )
    assert (settings.forks, settings.user, settings.variables) == (4, None, {})
    assert "ansible.cfg:4:1: private_key_file has no effect: it has no value" in settings.notes
    with pytest.raises(UsageError, match=r"ansible\.cfg:2:1: forks: 'x'"):
        read("[DEFAULT]\nforks = x\n[defaults]\n")


def test_the_environment_overrides_the_file() -> None:
    text = "[defaults]\nremote_user = file\n[ssh_connection]\nssh_common_args = -J file\n"
    settings = read(
        text, ANSIBLE_REMOTE_USER="env", ANSIBLE_SSH_COMMON_ARGS="-J env", ANSIBLE_NOCOWS="1"
    )
    assert settings.user == "env"
    assert settings.variables["ansible_ssh_common_args"] == "-J env"
    with pytest.raises(UsageError, match="ANSIBLE_LIBRARY"):
        read(text, ANSIBLE_LIBRARY="/x")


def test_the_settings_of_a_plugin_override_the_general_ones() -> None:
    settings = read("[ssh_connection]\ntimeout = 3\n[defaults]\ntimeout = 9\n")
    assert settings.timeout_s == 3


def test_the_command_line_overrides_the_file() -> None:
    settings = read("[defaults]\nforks = 3\nremote_user = cfg\ntimeout = 2\n")
    given = SessionOptions(user="typed", forks=8, connect_timeout_s=5.0)
    for options, expected in ((given, ("typed", 5.0, 8)), (SessionOptions(), ("cfg", 2, 3))):
        from deployer.model import Host

        found = connect_options(
            Host(name="w1", hostname="w1"),
            False,
            options=options,
            settings=settings,
            passwords=Passwords(),
        )
        assert (found.user, found.connect_timeout_s, forks(options, settings)) == expected


def test_host_keys_are_checked_unless_the_command_line_accepts_new_ones(folder: Path) -> None:
    Path("ansible.cfg").write_text(
        "[defaults]\nhost_key_checking = False\ninventory = inv/\nroles_path = shared\n"
    )
    (folder / "inv").mkdir()
    (folder / "inv/hosts").write_text("[web]\nw1\n")
    (folder / "shared/app/tasks").mkdir(parents=True)
    (folder / "shared/app/tasks/main.yml").write_text("[]\n")
    Path("site.yml").write_text("- hosts: web\n  roles: [app]\n")
    site = Path("site.yml")
    assert [host.name for host in load_project(site, SessionOptions()).hosts()] == ["w1"]
    glances: list[object] = []
    with pytest.raises(UsageError, match=r"ansible\.cfg:2:1: host_key_checking is off"):
        load_project(site, SessionOptions(), at_first_glance=glances.append)
    assert glances == []  # nothing is contacted before
    load_project(site, SessionOptions(accept_new=True), at_first_glance=glances.append)
    assert len(glances) == 1


def test_passwords_from_files(folder: Path) -> None:
    Path("word").write_text("hush\n")
    settings = read(
        "[defaults]\nbecome_password_file = word\nconnection_password_file = ./word\n"
        "vault_password_file = word\n"
    )
    assert settings.variables["ansible_become_password"] == "hush"
    assert settings.variables["ansible_ssh_password"] == "hush"
    assert settings.vault_password_files == (Path("word"),)
    with pytest.raises(UsageError, match="cannot read vault password file missing"):
        read("[defaults]\nbecome_password_file = missing\n")
