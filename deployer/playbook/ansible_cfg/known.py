"""The settings of Ansible that are refused, and those that have no effect here.

Refused is what would change which hosts are reached, how, and with which values. Settings of
Ansible's output, caches and other programs have no effect, and are listed in a note. A test
compares these tables with the documentation of ansible-core.
"""

from __future__ import annotations

from collections.abc import Mapping

_PLUGINS = "plugins and modules of your own are not supported"
_HOSTS_FILE = "set it for the hosts, in the inventory"
_BECOME = "use the settings of [privilege_escalation]"

#: Refused settings: what to do instead, and the values (in lower case) that change nothing.
REFUSED: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    **{
        ("defaults", key): (_PLUGINS, ("",))
        for key in (
            *("action_plugins", "become_plugins", "connection_plugins", "filter_plugins"),
            *("inventory_plugins", "library", "lookup_plugins", "module_utils"),
            *("plugin_filters_cfg", "strategy_plugins", "test_plugins", "vars_plugins"),
        )
    },
    ("defaults", "any_errors_fatal"): ("use max_fail_percentage: 0 on the play", ("false", "no")),
    ("defaults", "ask_vault_pass"): ("use vault_password_file", ("false", "no")),
    ("defaults", "executable"): ("programs are started without a shell", ("/bin/sh", "/bin/bash")),
    ("defaults", "force_handlers"): ("a failed apply is rolled back as a whole", ("false", "no")),
    ("defaults", "force_valid_group_names"): (
        "names of groups are taken as they are written",
        ("never", "ignore", "false", "silently"),
    ),
    ("defaults", "hash_behaviour"): ("a variable replaces one of lower precedence", ("replace",)),
    ("defaults", "inventory_ignore_extensions"): ("name the inventory's files with -i", ("",)),
    ("defaults", "inventory_ignore_patterns"): ("name the inventory's files with -i", ("",)),
    ("defaults", "yaml_valid_extensions"): ("name YAML files .yml, .yaml or .json", ("",)),
    ("defaults", "jinja2_extensions"): ("no extensions of Jinja are supported", ("",)),
    ("defaults", "error_on_undefined_vars"): ("undefined variables are errors", ("true", "yes")),
    ("defaults", "inject_facts_as_vars"): ("facts are also variables", ("true", "yes")),
    ("defaults", "null_representation"): ("null is rendered as in Ansible", ("",)),
    ("defaults", "no_log"): ("set no_log on the tasks", ("false", "no")),
    ("defaults", "playbook_vars_root"): ("variables next to the playbook are read", ("top",)),
    ("defaults", "precedence"): ("the precedence of variables is Ansible's", ("",)),
    ("defaults", "private_role_vars"): ("variables of roles are visible in the play", ("false",)),
    ("defaults", "run_vars_plugins"): ("variables are read when they are needed", ("demand",)),
    ("defaults", "strategy"): ("hosts run in parallel; use serial", ("linear", "free", "")),
    ("defaults", "su"): (_BECOME, ("false", "no")),
    ("defaults", "task_timeout"): ("every step on a host has a time limit", ("0",)),
    ("defaults", "vars_plugins_enabled"): (_PLUGINS, ("host_group_vars",)),
    ("defaults", "vault_id_match"): ("every known password is tried", ("false", "no")),
    ("connection", "ssh_agent"): ("start ssh-agent before, with SSH_AUTH_SOCK", ("none",)),
    ("inventory", "ignore_extensions"): ("name the inventory's files with -i", ("",)),
    ("inventory", "ignore_patterns"): ("name the inventory's files with -i", ("",)),
    ("inventory_plugin_yaml", "yaml_valid_extensions"): ("name YAML files .yml or .yaml", ("",)),
    ("paramiko_connection", "host_key_auto_add"): ("use --accept-new", ("false", "no")),
    ("paramiko_connection", "host_key_checking"): ("use --accept-new", ("true", "yes")),
    ("paramiko_connection", "banner_timeout"): ("use [defaults] timeout", ("30",)),
    ("paramiko_connection", "private_key_file"): ("use [defaults] private_key_file", ("",)),
    ("paramiko_connection", "proxy_command"): (
        "use [ssh_connection] ssh_common_args: -o ProxyCommand=…",
        ("",),
    ),
    ("paramiko_connection", "remote_port"): ("use [defaults] remote_port", ("22",)),
    ("paramiko_connection", "remote_user"): ("use [defaults] remote_user", ("",)),
    ("paramiko_connection", "timeout"): ("use [defaults] timeout", ("10",)),
    ("privilege_escalation", "become_allow_same_user"): (
        "who is the user already does not become it",
        ("false", "no"),
    ),
    ("ssh_connection", "password_mechanism"): (
        "passwords are sent over the SSH protocol itself",
        ("sshpass", "ssh_askpass", "disable"),
    ),
    ("ssh_connection", "pkcs11_provider"): ("add the token to ssh-agent: ssh-add -s", ("",)),
    ("ssh_connection", "ssh_executable"): (
        "no ssh process is started: write a wrapper's options to ssh_common_args",
        ("ssh", "/usr/bin/ssh", "/bin/ssh"),
    ),
    ("su_become_plugin", "executable"): (_BECOME, ("su",)),
    ("su_become_plugin", "flags"): (_BECOME, ("",)),
    ("su_become_plugin", "localized_prompts"): (_BECOME, ("",)),
    ("su_become_plugin", "password"): (_BECOME, ()),
    ("su_become_plugin", "user"): (_BECOME, ("root",)),
    ("sudo_become_plugin", "chdir"): ("the agent uses absolute paths", ("/",)),
    ("tags", "run"): ("use --tags", ("", "all")),
    ("tags", "skip"): ("use --skip-tags", ("",)),
}

_OUTPUT = "it is for Ansible's own output"
_FACTS = "facts are gathered in the same connection, and not cached"
_ONE_CHANNEL = "the agent is sent once, over the channel that also runs it"
_ELSEWHERE = "it is for other programs and connections"
_ALWAYS = "an inventory that cannot be read is always an error"
_CALLBACKS = "callbacks are not supported; use --json or --junit"

_WORDS: Mapping[str, tuple[str, ...]] = {
    _OUTPUT: (
        *("action_warnings", "ansible_managed", "callback_format_pretty"),
        *("callback_result_format", "check_mode_markers", "cow_selection", "cowpath"),
        *("cowsay_enabled_stencils", "debug", "deprecation_warnings", "devel_warning"),
        *("display_args_to_stdout", "display_failed_stderr", "display_ok_hosts"),
        *("display_skipped_hosts", "display_traceback", "docsite_root_url", "editor"),
        *("force_color", "localhost_warning", "log_filter", "log_path", "log_verbosity"),
        *("max_diff_size", "nocolor", "nocows", "pager", "show_custom_stats"),
        *("show_per_host_start", "show_task_path_on_failure", "system_warnings"),
        *("verbose_to_stderr", "verbosity", "command_warnings"),
    ),
    _FACTS: (
        *("cache_plugins", "fact_caching", "fact_caching_connection", "fact_caching_prefix"),
        *("fact_caching_timeout", "facts_modules", "gathering", "old_plugin_cache_clear"),
        *("gather_subset", "gather_timeout"),
    ),
    _ONE_CHANNEL: (
        *("admin_users", "allow_world_readable_tmpfiles", "async_dir", "common_remote_group"),
        *("keep_remote_files", "local_tmp", "module_compression", "module_ignore_exts"),
        *("module_strict_utf8_response", "no_target_syslog", "pipelining", "poll_interval"),
        *("internal_poll_interval", "python_module_rlimit_nofile", "remote_tmp"),
        *("syslog_facility", "system_tmpdirs", "target_log_info", "use_persistent_connections"),
    ),
    _CALLBACKS: (
        *("bin_ansible_callbacks", "callback_plugins", "callbacks_enabled", "stdout_callback"),
        *("callback_whitelist",),
    ),
    _ELSEWHERE: (
        *("cliconf_plugins", "collections_on_ansible_version_mismatch", "collections_path"),
        *("collections_paths", "collections_scan_sys_path", "doc_fragment_plugins", "home"),
        *("httpapi_plugins", "module_args", "module_name", "netconf_plugins"),
        *("network_group_modules", "playbook_dir", "terminal_plugins"),
        *("validate_action_group_metadata", "vault_encrypt_identity", "vault_encrypt_salt"),
        *("vault_identity", "win_async_startup_timeout"),
    ),
    "templates follow the rules of ansible-core 2.19": (
        *("allow_broken_conditionals", "allow_embedded_templates", "allow_unsafe_lookups"),
        "jinja2_native",
    ),
    "such mistakes are always errors": (
        *("duplicate_dict_key", "error_on_missing_handler", "invalid_task_attribute_failed"),
    ),
    "tasks are not debugged": ("enable_task_debugger", "task_debugger_ignore_errors"),
    "a failed run is repeated as a whole": ("retry_files_enabled", "retry_files_save_path"),
}

#: Settings without effect, with the reason.
NO_EFFECT: Mapping[tuple[str, str], str] = {
    **{("defaults", key): why for why, keys in _WORDS.items() for key in keys},
    **{
        ("connection", key): _ONE_CHANNEL
        for key in ("pipelining", "ssh_agent_executable", "ssh_agent_key_lifetime")
    },
    ("connection", "retries"): "a host that cannot be reached is reported, and unchanged",
    ("diff", "always"): "changes are always shown as a diff",
    ("diff", "context"): _OUTPUT,
    ("inventory", "any_unparsed_is_failed"): _ALWAYS,
    ("inventory", "unparsed_is_failed"): _ALWAYS,
    ("inventory", "unparsed_warning"): _ALWAYS,
    ("inventory", "inventory_unparsed_warning"): _ALWAYS,
    ("inventory", "host_pattern_mismatch"): "a pattern that names nothing is always an error",
    ("inventory", "enable_plugins"): "inventories are files in YAML or INI, and lists of hosts",
    ("inventory", "export"): _ELSEWHERE,
    **{
        ("inventory", key): "inventories are not cached"
        for key in ("cache", "cache_connection", "cache_plugin", "cache_prefix", "cache_timeout")
    },
    ("inventory_plugin_script", "always_show_stderr"): _ELSEWHERE,
    ("inventory_plugins", "use_extra_vars"): _ELSEWHERE,
    ("jinja2", "dont_type_filters"): "templates follow the rules of ansible-core 2.19",
    ("paramiko_connection", "look_for_keys"): "keys are found by the rules of OpenSSH",
    ("paramiko_connection", "pty"): _ONE_CHANNEL,
    ("paramiko_connection", "record_host_keys"): "use --accept-new to record new keys",
    ("paramiko_connection", "use_rsa_sha2_algorithms"): "they are always used",
    ("privilege_escalation", "agnostic_become_prompt"): "sudo's own prompt is replaced",
    **{
        ("ssh_connection", key): _ONE_CHANNEL
        for key in (
            *("control_path", "control_path_dir", "pipelining", "scp_executable", "scp_if_ssh"),
            *("scp_extra_args", "sftp_batch_mode", "sftp_executable", "sftp_extra_args"),
            *("sshpass_prompt", "transfer_method", "usetty", "verbosity"),
        )
    },
    ("ssh_connection", "retries"): "a host that cannot be reached is reported, and unchanged",
    ("vars_host_group_vars", "stage"): "variables are read when they are needed",
}

#: Sections without any effect.
SECTIONS: Mapping[str, str] = {
    "callback_tree": _CALLBACKS,
    "colors": _OUTPUT,
    "galaxy": _ELSEWHERE,
    "netconf_connection": _ELSEWHERE,
    "persistent_connection": _ELSEWHERE,
    "powershell": _ELSEWHERE,
    "runas_become_plugin": _ELSEWHERE,
    "selinux": _ELSEWHERE,
    "testing": _ELSEWHERE,
    "winrm": _ELSEWHERE,
}

#: Environment variables, in the order in which Ansible reads them: the last one wins.
ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    "ANSIBLE_ANY_ERRORS_FATAL": ("defaults", "any_errors_fatal"),
    "ANSIBLE_ASK_PASS": ("defaults", "ask_pass"),
    "ANSIBLE_ASK_VAULT_PASS": ("defaults", "ask_vault_pass"),
    "ANSIBLE_BECOME": ("privilege_escalation", "become"),
    "ANSIBLE_BECOME_ASK_PASS": ("privilege_escalation", "become_ask_pass"),
    "ANSIBLE_BECOME_EXE": ("privilege_escalation", "become_exe"),
    "ANSIBLE_BECOME_FLAGS": ("privilege_escalation", "become_flags"),
    "ANSIBLE_BECOME_METHOD": ("privilege_escalation", "become_method"),
    "ANSIBLE_BECOME_PASS": ("sudo_become_plugin", "password"),
    "ANSIBLE_BECOME_PASSWORD_FILE": ("defaults", "become_password_file"),
    "ANSIBLE_BECOME_USER": ("privilege_escalation", "become_user"),
    "ANSIBLE_CONNECTION_PASSWORD_FILE": ("defaults", "connection_password_file"),
    "ANSIBLE_EXECUTABLE": ("defaults", "executable"),
    "ANSIBLE_FILTER_PLUGINS": ("defaults", "filter_plugins"),
    "ANSIBLE_FORKS": ("defaults", "forks"),
    "ANSIBLE_HASH_BEHAVIOUR": ("defaults", "hash_behaviour"),
    "ANSIBLE_HOST_KEY_CHECKING": ("defaults", "host_key_checking"),
    "ANSIBLE_INVENTORY": ("defaults", "inventory"),
    "ANSIBLE_INVENTORY_IGNORE": ("inventory", "ignore_extensions"),
    "ANSIBLE_INVENTORY_IGNORE_REGEX": ("inventory", "ignore_patterns"),
    "ANSIBLE_JINJA2_EXTENSIONS": ("defaults", "jinja2_extensions"),
    "ANSIBLE_LIBRARY": ("defaults", "library"),
    "ANSIBLE_NO_LOG": ("defaults", "no_log"),
    "ANSIBLE_PARAMIKO_PROXY_COMMAND": ("paramiko_connection", "proxy_command"),
    "ANSIBLE_PKCS11_PROVIDER": ("ssh_connection", "pkcs11_provider"),
    "ANSIBLE_PRECEDENCE": ("defaults", "precedence"),
    "ANSIBLE_PRIVATE_KEY_FILE": ("defaults", "private_key_file"),
    "ANSIBLE_PYTHON_INTERPRETER": ("defaults", "interpreter_python"),
    "ANSIBLE_REMOTE_PORT": ("defaults", "remote_port"),
    "ANSIBLE_REMOTE_USER": ("defaults", "remote_user"),
    "ANSIBLE_ROLES_PATH": ("defaults", "roles_path"),
    "ANSIBLE_RUN_TAGS": ("tags", "run"),
    "ANSIBLE_SKIP_TAGS": ("tags", "skip"),
    "ANSIBLE_SSH_AGENT": ("connection", "ssh_agent"),
    "ANSIBLE_SSH_ARGS": ("ssh_connection", "ssh_args"),
    "ANSIBLE_SSH_COMMON_ARGS": ("ssh_connection", "ssh_common_args"),
    "ANSIBLE_SSH_EXECUTABLE": ("ssh_connection", "ssh_executable"),
    "ANSIBLE_SSH_EXTRA_ARGS": ("ssh_connection", "ssh_extra_args"),
    "ANSIBLE_SSH_HOST_KEY_CHECKING": ("ssh_connection", "host_key_checking"),
    "ANSIBLE_SUDO_EXE": ("sudo_become_plugin", "executable"),
    "ANSIBLE_SUDO_FLAGS": ("sudo_become_plugin", "flags"),
    "ANSIBLE_SUDO_PASS": ("sudo_become_plugin", "password"),
    "ANSIBLE_SUDO_USER": ("sudo_become_plugin", "user"),
    "ANSIBLE_STRATEGY": ("defaults", "strategy"),
    "ANSIBLE_TIMEOUT": ("defaults", "timeout"),
    "ANSIBLE_SSH_TIMEOUT": ("ssh_connection", "timeout"),
    "ANSIBLE_TRANSPORT": ("defaults", "transport"),
    "ANSIBLE_VARS_PLUGINS": ("defaults", "vars_plugins"),
    "ANSIBLE_VAULT_IDENTITY_LIST": ("defaults", "vault_identity_list"),
    "ANSIBLE_VAULT_PASSWORD_FILE": ("defaults", "vault_password_file"),
}
