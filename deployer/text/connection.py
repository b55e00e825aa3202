"""Ansible's connection variables that are honoured, by what they set.

Several names may set the same thing; as in Ansible, the last one of a tuple wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HOST = ("ansible_host", "ansible_ssh_host")
PORT = ("ansible_port", "ansible_ssh_port")
USER = ("ansible_user", "ansible_ssh_user")
PASSWORD = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
KEY_FILE = ("ansible_private_key_file", "ansible_ssh_private_key_file")
TIMEOUT = ("ansible_timeout", "ansible_ssh_timeout")
SSH_ARGS = ("ansible_ssh_args",)
COMMON_ARGS = ("ansible_ssh_common_args",)
EXTRA_ARGS = ("ansible_ssh_extra_args",)
HOST_KEY_CHECKING = ("ansible_host_key_checking", "ansible_ssh_host_key_checking")
CONNECTION = ("ansible_connection",)
PYTHON = ("ansible_python_interpreter",)
BECOME = ("ansible_become",)
BECOME_METHOD = ("ansible_become_method",)
BECOME_USER = ("ansible_become_user", "ansible_sudo_user")
BECOME_PASSWORD = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
BECOME_EXE = ("ansible_become_exe", "ansible_sudo_exe")
BECOME_FLAGS = ("ansible_become_flags", "ansible_sudo_flags")

#: The supported ways to become a user, by Ansible's names of them.
BECOME_METHODS = ("sudo", "su", "doas")

#: Our own: the file of the host's key.
KNOWN_HOSTS = ("deployer_known_hosts_file",)

HONOURED = frozenset(
    (
        *(*HOST, *PORT, *USER, *PASSWORD, *KEY_FILE, *TIMEOUT, *SSH_ARGS, *COMMON_ARGS),
        *(*EXTRA_ARGS, *HOST_KEY_CHECKING, *CONNECTION, *PYTHON, *BECOME, *BECOME_METHOD),
        *(*BECOME_USER, *BECOME_PASSWORD, *BECOME_EXE, *BECOME_FLAGS),
    )
)

#: Keywords of plays, and the variable of the same meaning, which overrides them.
PLAY_KEYWORDS = {
    "remote_user": USER[0],
    "port": PORT[0],
    "connection": CONNECTION[0],
    "become_user": BECOME_USER[0],
    "become_method": BECOME_METHOD[0],
    "become_exe": BECOME_EXE[0],
    "become_flags": BECOME_FLAGS[0],
}

#: Values of ``ansible_python_interpreter`` that leave the choice to the program.
AUTOMATIC_PYTHON = ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent")

#: `True` and `False` of variables and settings, in lower case; in INI they are strings.
BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1", "1.0", "t", "y"), True),
    **dict.fromkeys(("false", "no", "off", "0", "0.0", "f", "n"), False),
}


def last_set(variables: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the last of `names` that is set, or `None`."""
    for name in reversed(names):
        if (value := variables.get(name)) is not None:
            return value
    return None
