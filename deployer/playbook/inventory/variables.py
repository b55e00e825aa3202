"""Ansible's connection variables: which are honoured, which have no effect, which are refused.

Sources: the pages of the plugins ssh, paramiko_ssh, local, winrm, psrp, sudo, su, runas, sh, cmd
and powershell in Ansible's documentation; a test compares these tables with that of ansible-core.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from deployer.errors import SourceError
from deployer.playbook.yaml.source import Problems, Spot, YamlMap, nearest, spot_of
from deployer.text.connection import HONOURED

_ONE_CHANNEL = "the agent is sent once, over the channel that also runs it"

#: Variables that tune how Ansible copies and starts its modules, with the reason why nothing is
#: left for them to do.
NO_EFFECT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "ansible_pipelining",
            "ansible_ssh_pipelining",
            "ansible_sftp_batch_mode",
            "ansible_sftp_executable",
            "ansible_sftp_extra_args",
            "ansible_scp_executable",
            "ansible_scp_extra_args",
            "ansible_scp_if_ssh",
            "ansible_ssh_transfer_method",
            "ansible_ssh_use_tty",
            "ansible_paramiko_pty",
        ),
        _ONE_CHANNEL,
    ),
    **dict.fromkeys(
        ("ansible_control_path", "ansible_control_path_dir"), "a run uses one connection per host"
    ),
    **dict.fromkeys(
        (
            "ansible_remote_tmp",
            "ansible_system_tmpdirs",
            "ansible_async_dir",
            "ansible_common_remote_group",
            "ansible_shell_allow_world_readable_temp",
            "ansible_shell_remote_tmp",
        ),
        "the agent runs from memory, without temporary files of modules",
    ),
    **dict.fromkeys(
        ("ansible_deprecation_warnings", "ansible_target_log_info", "ansible_no_target_syslog"),
        "it is for Ansible's own output",
    ),
    **dict.fromkeys(
        ("ansible_local_become_strip_preamble", "ansible_local_become_success_timeout"),
        "sudo's own prompt is replaced",
    ),
    "ansible_admin_users": "the agent runs from memory, without temporary files of modules",
    "ansible_facts_modules": "facts are gathered in the same connection",
    "ansible_python_module_rlimit_nofile": "the limits of the host's login apply",
    "ansible_ssh_verbosity": "no ssh process is started; see deployer's own --verbose",
    "ansible_ssh_retries": "a host that cannot be reached is reported, and unchanged",
    "ansible_interpreter_python_fallback": "python3 of the host's PATH is used",
    "ansible_paramiko_use_rsa_sha2_algorithms": "they are always used",
    "ansible_paramiko_look_for_keys": "keys are found by the rules of OpenSSH",
    "ansible_paramiko_record_host_keys": "use --accept-new to record new keys",
    "ansible_shell_set_module_language": "the agent's own messages are in English",
    "ansible_group_priority": "it is for groups, in the inventory itself",
}

_AS_OPENSSH = "set it in ~/.ssh/config, which is honoured"
_PLAIN = "write the name without 'paramiko'"
_NO_WINDOWS = "only Linux hosts over SSH are supported"
_BECOME = "use ansible_become_method: sudo, su or doas, with ansible_become_user, _exe and _flags"

#: Refused variables: what to do instead, and the values that change nothing.
REFUSED: Mapping[str, tuple[str, tuple[object, ...]]] = {
    "ansible_ssh_executable": (
        "no ssh process is started: write a wrapper's options to ansible_ssh_common_args",
        ("ssh", "/usr/bin/ssh", "/bin/ssh"),
    ),
    "ansible_shell_executable": (
        "programs are started without a shell",
        ("/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash"),
    ),
    "ansible_shell_type": ("the login shell must be a POSIX shell", ("sh", "bash", "dash", "zsh")),
    "ansible_ssh_pkcs11_provider": ("add the token to ssh-agent: ssh-add -s", ("",)),
    **dict.fromkeys(
        ("ansible_private_key", "ansible_ssh_private_key"),
        ("add the key to ssh-agent, or name its file: ansible_ssh_private_key_file", ()),
    ),
    **dict.fromkeys(
        ("ansible_private_key_passphrase", "ansible_ssh_private_key_passphrase"),
        ("add the key to ssh-agent: ssh-add FILE", ()),
    ),
    **dict.fromkeys(
        ("ansible_ssh_password_mechanism", "ansible_sshpass_prompt"),
        (
            "passwords are sent over the SSH protocol itself",
            ("sshpass", "ssh_askpass", "disable", ""),
        ),
    ),
    "ansible_become_prompt_l10n": ("sudo's own prompt is replaced", ()),
    "ansible_sudo_chdir": ("the agent uses absolute paths", ("/",)),
    "ansible_paramiko_proxy_command": ("use ansible_ssh_common_args: -o ProxyCommand=…", ("",)),
    "ansible_paramiko_host_key_auto_add": ("use --accept-new to accept new keys", (False,)),
    "ansible_paramiko_host_key_checking": ("use --accept-new to accept new keys", (True,)),
    "ansible_paramiko_banner_timeout": ("use ansible_ssh_timeout, which limits each step", ()),
    "ansible_module_compression": ("the agent is always compressed", ("ZIP_DEFLATED",)),
}

#: Refused families of variables, by their first words.
_FAMILIES: Mapping[str, str] = {
    "ansible_paramiko_": _PLAIN,
    "ansible_win_": _NO_WINDOWS,
    "ansible_winrm_": _NO_WINDOWS,
    "ansible_psrp_": _NO_WINDOWS,
    "ansible_powershell_": _NO_WINDOWS,
    "ansible_cmd_": _NO_WINDOWS,
    "ansible_runas_": _NO_WINDOWS,
    "ansible_aws_ssm_": _NO_WINDOWS,
    "ansible_network_": "network devices are not supported",
    "ansible_httpapi_": "network devices are not supported",
    "ansible_netconf_": "network devices are not supported",
    "ansible_persistent_": "network devices are not supported",
    "ansible_docker_": "containers are not supported; run sshd in it",
    "ansible_podman_": "containers are not supported; run sshd in it",
    "ansible_kubectl_": "containers are not supported; run sshd in it",
    "ansible_lxd_": "containers are not supported; run sshd in it",
    "ansible_lxc_": "containers are not supported; run sshd in it",
    "ansible_jail_": "containers are not supported; run sshd in it",
    "ansible_chroot_": "containers are not supported; run sshd in it",
    **dict.fromkeys(
        (
            f"ansible_{method}_"
            for method in (
                *("su", "doas", "dzdo", "ksu", "pbrun", "pfexec", "pmrun", "sesu"),
                *("machinectl", "enable", "sudosu", "run0"),
            )
        ),
        _BECOME,
    ),
}

#: How similar a misspelled name is; facts such as ``ansible_hostname`` are less so.
_TYPO = 0.9

#: Prefixes under which only known names make sense; facts are not connection variables.
_KNOWN_ONLY = ("ansible_ssh_", "ansible_become_", "ansible_sudo_", "ansible_shell_")
_FACTS = re.compile(r"ansible_ssh_host_key_\w+_public(_keytype)?")


def check_name(name: str, value: object, spot: Spot) -> str:
    """Why a variable has no effect, or an empty string.

    Raises: SourceError, for a connection variable that is not honoured.
    """
    if not name.startswith("ansible_") or name in HONOURED:
        return ""
    if name in NO_EFFECT:
        return NO_EFFECT[name]
    hint, harmless = REFUSED.get(name, ("", ()))
    if hint:
        if value in harmless:
            return ""
        raise _refused(name, spot, hint)
    for prefix, why in _FAMILIES.items():
        if name.startswith(prefix):
            raise _refused(name, spot, why)
    known = (*HONOURED, *NO_EFFECT, *REFUSED)
    is_own = name.startswith(_KNOWN_ONLY) and not _FACTS.fullmatch(name)
    # A host whose address is in a misspelled variable is a different host.
    if is_own or difflib.get_close_matches(name, known, n=1, cutoff=_TYPO):
        raise spot.error(
            f"'{name}' is not a connection variable of Ansible",
            hint=nearest(name, known) or "choose a name without this prefix for a variable",
        )
    return ""


def check_place(variables: YamlMap) -> None:
    """Check that there is no connection variable where a connection already exists.

    Raises: SourceErrors.
    """
    problems = Problems()
    for key in variables:
        if key in HONOURED or key in NO_EFFECT or key in REFUSED:
            problems.add(
                spot_of(variables, key, key=True).error(
                    f"{key} cannot be set here: a run uses one connection per host",
                    hint="set it in the inventory, in the play's vars, or with -e",
                )
            )
    problems.raise_if_any()


def _refused(name: str, spot: Spot, hint: str) -> SourceError:
    return spot.error(f"{name} is not supported", hint=hint)
