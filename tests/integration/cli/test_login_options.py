"""``-u``, ``-k``, ``-b`` and ``-K`` on a real host, with passwords typed at a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from deployer.lab.lab import Lab
from tests.support.runs import deployer
from tests.support.terminal import Terminal

pytestmark = pytest.mark.lab

LOGIN, SUDO = "right horse", "battery staple"
PLAYBOOK = "- hosts: all\n  tasks:\n    - copy: {dest: /etc/made, content: by deployer}\n"


@pytest.fixture
def project(lab: Lab, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A host where ops logs in with a password, and becomes root with that password.

    The inventory names neither user nor key, and the play does not say become.
    """
    (host,) = lab.hosts
    host.sh(
        f"useradd --create-home --shell /bin/bash ops && echo 'ops:{LOGIN}' | chpasswd\n"
        "echo 'ops ALL=(ALL) ALL' > /etc/sudoers.d/ops\n"
        f"useradd --create-home --shell /bin/bash two && echo 'two:{LOGIN}' | chpasswd\n"
        "echo 'Defaults:two rootpw\ntwo ALL=(ALL) ALL' > /etc/sudoers.d/two\n"
        f"echo 'root:{SUDO}' | chpasswd"
    )
    inventory = lab.inventory()
    for name in ("ansible_user", "ansible_ssh_private_key_file"):
        del inventory["all"]["vars"][name]
    (workdir / "inventory.yml").write_text(yaml.safe_dump(inventory))
    (workdir / "site.yml").write_text(PLAYBOOK)
    monkeypatch.setenv("HOME", str(workdir))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return lab


def typed(*arguments: str, answers: dict[str, str]) -> tuple[int, str]:
    """The exit code and the output of a run in a terminal, with each prompt answered."""
    argv = [sys.executable, "-m", "deployer", *arguments]
    with Terminal(argv, {**os.environ, "NO_COLOR": "1"}) as terminal:
        for prompt, answer in answers.items():
            terminal.wait_for(prompt)
            terminal.type(f"{answer}\n")
        return terminal.read_to_the_end()


def test_a_user_with_a_password_applies_as_root(project: Lab) -> None:
    (host,) = project.hosts
    options = ["-u", "ops", "-k", "-b", "-K"]
    answers = {
        "SSH password: ": LOGIN,
        "BECOME password[defaults to SSH password]: ": "",
        "Apply these changes": "y",
    }
    code, shown = typed("apply", "site.yml", *options, answers=answers)
    assert code == 0, shown
    assert LOGIN not in shown
    assert "file /etc/made  created" in shown
    assert host.sh("stat -c %U /etc/made").strip() == "root"
    last = {"SSH password: ": LOGIN, "SSH password]: ": ""}
    code, shown = typed("plan", "site.yml", *options, "--detailed-exitcode", answers=last)
    assert code == 0, shown


def test_two_different_passwords(project: Lab) -> None:
    answers = {"SSH password: ": LOGIN, "SSH password]: ": SUDO}
    code, shown = typed("plan", "site.yml", "-u", "two", "-kbK", answers=answers)
    assert code == 0, shown
    wrong = {"SSH password: ": "wrong horse"}
    code, shown = typed("plan", "site.yml", "-u", "two", "-k", "-b", answers=wrong)
    assert code == 5, shown
    assert "the password: refused" in shown
    assert "wrong horse" not in shown


def test_without_become_the_user_is_not_root(project: Lab) -> None:
    code, shown = typed("plan", "site.yml", "-u", "ops", "-k", answers={"SSH password: ": LOGIN})
    assert code == 1, shown
    assert "logged in as ops, who is not root" in shown
    assert "Give --become" in shown


def test_without_a_terminal_nothing_is_asked(project: Lab) -> None:
    for option in ("-k", "-K"):
        ran = deployer("plan", "site.yml", option)
        assert ran.code == 1
        assert ran.err == f"Error: {option} prompts for a password, but there is no terminal.\n"


def test_the_play_and_the_inventory_say_otherwise(project: Lab) -> None:
    """As in Ansible, what they say wins over the options."""
    site = Path("site.yml")
    site.write_text(site.read_text().replace("tasks", "become: false\n  tasks", 1))
    code, shown = typed(
        "plan", "site.yml", "-u", "ops", "-k", "-b", answers={"SSH password: ": LOGIN}
    )
    assert code == 1, shown
    assert "logged in as ops, who is not root" in shown
    code, shown = typed(
        "plan", "site.yml", "-u", "x", "-k", "-e", "ansible_user=ops", answers={"word: ": LOGIN}
    )
    assert "logged in as ops" in shown, shown
