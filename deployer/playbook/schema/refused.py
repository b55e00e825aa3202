"""Keywords of Ansible that are not supported, with what to do instead."""

from __future__ import annotations

_BECOME = "a run uses one user on a host: set become on the play"
_CONNECTION = "a run uses one connection per host: set it on the play, or in the inventory"

TASK = {
    "register": "a plan is made before anything runs, so there are no results; "
    "use when with facts, or notify a handler",
    "become_user": _BECOME,
    "become_method": _BECOME,
    "become_flags": _BECOME,
    "become_exe": _BECOME,
    "connection": _CONNECTION,
    "port": _CONNECTION,
    "environment": "set it on the command that needs it",
    "action": "write the module as the key: copy: {…}",
    "remote_user": _CONNECTION,
    "ignore_errors": "a failed apply is rolled back as a whole",
    "ignore_unreachable": "an unreachable host is reported, and never changed",
    "failed_when": "a task fails if its command fails",
    "changed_when": "a plan derives changes from creates, removes and unless",
    "delegate_to": "a task runs on the play's own host; write a play for the other host",
    "delegate_facts": "a task runs on the play's own host",
    "local_action": "a task runs on the play's own host",
    "run_once": "every host has its own plan; limit the play's hosts instead",
    "until": "tasks are not retried; use the site's checks to verify",
    "retries": "tasks are not retried; use the site's checks to verify",
    "delay": "tasks are not retried; use the site's checks to verify",
    "async": "an apply waits for every task",
    "poll": "an apply waits for every task",
    "check_mode": "deployer plan is the dry run",
    "diff": "use --diff or --no-diff for the whole run",
    "listen": "notify a handler by its name",
    "loop_control": "the variable is 'item'; use the task's vars to rename it",
    "rescue": "a failed apply is rolled back as a whole",
    "always": "a failed apply is rolled back as a whole",
    "throttle": "use serial on the play",
    "any_errors_fatal": "use max_fail_percentage on the play",
    "with_items": "write loop",
    "with_list": "write loop",
    "with_dict": 'write loop: "{{ mapping | dict2items }}"',
    "with_fileglob": "name the files in loop, or copy their folder",
    "with_together": "write loop with a list of mappings",
    "with_sequence": 'write loop: "{{ range(1, 5) | list }}"',
    "with_nested": "write loop with a list of mappings",
    "with_subelements": "write loop with a list of mappings",
    "with_first_found": "write when with facts",
    "module_defaults": "write the arguments in each task, or as variables",
    "collections": "write the module's own name",
    "timeout": "every step on a host already has a time limit",
    "debugger": "use deployer plan",
}

#: Of an entry of `roles`.
ROLE = {
    **{
        name: TASK[name]
        for name in (
            *("become_exe", "become_flags", "become_method", "become_user", "check_mode"),
            *("any_errors_fatal", "collections", "connection", "debugger", "delegate_facts"),
            *("delegate_to", "diff", "environment", "ignore_errors", "ignore_unreachable"),
            *("module_defaults", "port", "remote_user", "run_once", "throttle", "timeout"),
        )
    },
    "become": _BECOME,
    "no_log": "set it on the tasks",
}

PLAY = {
    "gather_subset": "facts are always gathered, in the same connection",
    "gather_timeout": "facts are always gathered, in the same connection",
    "pre_tasks": "tasks run after roles and before sites; write a play before this one",
    "post_tasks": "tasks run after roles and before sites; write a play after this one",
    "strategy": "hosts run in parallel; use serial",
    "ignore_errors": "a failed apply is rolled back as a whole",
    "environment": "set it on the command that needs it",
    "import_playbook": "put its plays into this file, or run deployer once for each playbook",
    "vars_prompt": "use -e, or a vars_files file with secret: true",
    "collections": "the supported modules need no collection",
    "force_handlers": "a failed apply is rolled back as a whole",
    "module_defaults": "write the arguments in each task, or as variables",
    "when": "a play has no condition; use when on its tasks and roles",
    "order": "hosts run in the inventory's order",
    "run_once": "limit the play's hosts",
    "no_log": "set it on the tasks",
    "check_mode": "deployer plan is the dry run",
    "debugger": "use deployer plan",
    "diff": "use --diff or --no-diff for the whole run",
    "fact_path": "facts of the host's own are not read",
    "ignore_unreachable": "an unreachable host is reported, and never changed",
    "throttle": "use serial",
    "timeout": "every step on a host already has a time limit",
}
