"""sudo, su and doas: the command line, whose password is asked for, and what refusals mean."""

from __future__ import annotations

import shlex

import pytest

from deployer.errors import AuthenticationError
from deployer.transport.command import Elevation
from deployer.transport.options import ConnectOptions
from deployer.transport.refusal import Ended


def _elevation(password: str | None = None, **variables: str) -> Elevation:
    options = ConnectOptions(become=True, become_password=password)
    named = {f"ansible_become_{name}": value for name, value in variables.items()}
    return Elevation.of(options, host="web1", user="ops", variables=named)


def test_each_method_has_its_command_line() -> None:
    env = ["env", "LC_ALL=C"]
    hostile = ["a b", "$(id)"]
    assert _elevation().argv(hostile) == [*env, "sudo", "-n", "--", *hostile]
    argv = _elevation(method="su", user="web", flags="-l").argv(hostile)
    assert argv[:6] == [*env, "su", "-l", "web", "-c"]
    assert shlex.split(argv[6]) == ["exec", *hostile]
    argv = _elevation(method="doas", user="web", exe="/opt/doas").argv(hostile)
    assert argv == [*env, "/opt/doas", "-n", "-u", "web", "--", *hostile]


def test_variables_of_sudo_have_no_effect_on_others() -> None:
    variables = {
        "ansible_become_method": "su",
        "ansible_sudo_exe": "/s",
        "ansible_sudo_flags": "-x",
    }
    options = ConnectOptions(become=True)
    found = Elevation.of(options, host="web1", user="ops", variables=variables)
    assert found.argv(["id"]) == ["env", "LC_ALL=C", "su", "root", "-c", "exec id"]


def test_doas_takes_no_password() -> None:
    with pytest.raises(AuthenticationError, match="doas reads the password of ops from a terminal"):
        _elevation("secret", method="doas")


@pytest.mark.parametrize(
    ("method", "password", "said", "problem"),
    [
        ("su", None, "Password: su: Authentication failure", "su asks for the password of root"),
        ("su", "x", "su: Authentication failure", "su rejects the password of root"),
        ("su", "x", "su: user web does not exist or the user entry", "the host has no user root"),
        ("su", None, "env: 'su': No such file or directory", "there is no su on the host"),
        ("doas", None, "doas: Authentication required", "doas asks for the password of ops"),
        ("doas", None, "doas: Operation not permitted", "ops may not become root with doas"),
        (
            "doas",
            None,
            "doas: doas is not enabled, /etc/doas.conf: No such file or directory",
            "ops may not become root with doas",
        ),
        ("sudo", None, "sudo: a password is required", "sudo asks for the password of ops"),
        ("sudo", "x", "Sorry, try again.", "sudo rejects the password of ops"),
        ("sudo", None, "sudo: unable to fork: Operation not permitted", "sudo refuses: sudo: una"),
    ],
)
def test_what_a_refusal_means(method: str, password: str | None, said: str, problem: str) -> None:
    ended = Ended(elevation=_elevation(password, method=method), status=1, said=said)
    assert problem in str(ended.error())
