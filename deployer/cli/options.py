"""The options that several commands share, each defined once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from deployer.cli.command import Decorator, Integer, Number, combine, option
from deployer.errors import EXIT_DONE

SELECTION = "Hosts and variables"
TASKS = "Tasks"
CONNECTION = "Connection"
COMMIT = "Commit"
OUTPUT = "Output"
LISTS = "List and check"

_FILE = click.Path(path_type=Path)


def _joined(_: click.Context, __: click.Parameter, words: Sequence[str]) -> str | None:
    """A repeated option with comma-separated words as one text."""
    return ",".join(words) or None


playbook = click.argument("playbook", metavar="SITE.yml", type=_FILE)

# --- which hosts, variables and tasks -------------------------------------------------------------

selection = combine(
    option(
        "-i",
        "--inventory",
        "inventories",
        group=SELECTION,
        multiple=True,
        metavar="FILE",
        type=_FILE,
        help="Inventory file; default: inventory.yml next to the playbook. Repeatable.",
    ),
    option(
        "-l",
        "--limit",
        group=SELECTION,
        metavar="PATTERN",
        help="Limit the run to hosts matching PATTERN.",
    ),
    option(
        "-e",
        "--extra-vars",
        group=SELECTION,
        multiple=True,
        metavar="VARS",
        help="Variables that override all others: key=value, YAML, JSON or @FILE. Repeatable.",
    ),
)

tags = combine(
    option(
        "-t",
        "--tags",
        group=TASKS,
        multiple=True,
        callback=_joined,
        metavar="TAGS",
        help="Run only tasks with one of these tags, separated by commas. Repeatable.",
    ),
    option(
        "--skip-tags",
        group=TASKS,
        multiple=True,
        callback=_joined,
        metavar="TAGS",
        help="Skip tasks with one of these tags. Repeatable.",
    ),
)

lists = combine(
    option(
        "--list-hosts", group=LISTS, is_flag=True, help="List the hosts of each play, and exit."
    ),
    option("--list-tags", group=LISTS, is_flag=True, help="List the tags of each play, and exit."),
    option(
        "--syntax-check",
        group=LISTS,
        is_flag=True,
        help="Check the playbook for errors without contacting a host, and exit.",
    ),
)

#: The lists to print instead of running a command.
RequestedLists = frozenset[str]


def requested_lists(given: dict[str, Any]) -> RequestedLists:
    """Those of ``hosts``, ``tags`` and ``syntax``; their options are removed from `given`."""
    options = {"hosts": "list_hosts", "tags": "list_tags", "syntax": "syntax_check"}
    return frozenset([name for name, option in options.items() if given.pop(option)])


# --- connections ----------------------------------------------------------------------------------

login = combine(
    option(
        "-u",
        "--user",
        group=CONNECTION,
        metavar="USER",
        help="Log in as USER on hosts whose inventory does not set ansible_user.",
    ),
    option("-k", "--ask-pass", group=CONNECTION, is_flag=True, help="Prompt for the SSH password."),
)

become = option(
    "-b",
    "--become",
    group=CONNECTION,
    is_flag=True,
    help="Become root with sudo, unless the play sets become itself.",
)

ask_become_pass = option(
    "-K",
    "--ask-become-pass",
    group=CONNECTION,
    is_flag=True,
    help="Prompt for the sudo password.",
)

accept_new = option(
    "--accept-new",
    group=CONNECTION,
    is_flag=True,
    help="Accept and remember the keys of hosts that are seen for the first time.",
)

connection = combine(
    login,
    become,
    ask_become_pass,
    option(
        "-f",
        "--forks",
        group=CONNECTION,
        metavar="N",
        type=Integer(1, 500),
        help="Work on at most N hosts at the same time; default: 10.",
    ),
    accept_new,
    option(
        "--timeout",
        "connect_timeout_s",
        group=CONNECTION,
        metavar="SECONDS",
        type=Number(0.1, 3600),
        help="Time limit for each step of a connection; default: 10.",
    ),
)

install_python = option(
    "--install-python",
    group=CONNECTION,
    is_flag=True,
    help="Install python3 on hosts that have none.",
)

# --- commits --------------------------------------------------------------------------------------


def yes(purpose: str) -> Decorator:
    """``-y/--yes``: answers a question in advance."""
    return option("-y", "--yes", group=COMMIT, is_flag=True, help=purpose)


check_mode = option(
    "-C",
    "--check",
    "--dry-run",
    "dry_run",
    group=COMMIT,
    is_flag=True,
    help="Show what would change, and change nothing.",
)

confirm_timeout = option(
    "--confirm-timeout",
    "confirm_timeout_s",
    group=COMMIT,
    metavar="SECONDS",
    type=Number(1, 86400),
    help="Have the host roll back on its own if it hears nothing from this command for SECONDS; "
    "default: the time that the checks need plus 2 minutes.",
)

lock_timeout = option(
    "--lock-timeout",
    "lock_timeout_s",
    group=COMMIT,
    default=0.0,
    metavar="SECONDS",
    type=Number(0, 86400),
    help="Wait up to SECONDS for another run on the same host; default: do not wait.",
)

no_neighbours = option(
    "--no-neighbours",
    "neighbours",
    group=COMMIT,
    flag_value=False,
    default=True,
    type=bool,
    help="Change a host even if the sites that it already serves cannot all be listed or "
    "asked; those that can be are still checked.",
)

commit = combine(
    lock_timeout,
    option(
        "--keep",
        group=COMMIT,
        default=10,
        show_default=True,
        metavar="N",
        type=Integer(1, 1000),
        help="Keep N generations on the host to roll back to.",
    ),
    option(
        "--no-watchdog",
        "watchdog",
        group=COMMIT,
        flag_value=False,
        default=True,
        type=bool,
        help="Do not arm the systemd timer that rolls back if this run is cut off.",
    ),
    option(
        "--no-preflight",
        "preflight",
        group=COMMIT,
        flag_value=False,
        default=True,
        type=bool,
        help="Do not check before the first change that the services of the sites answer: for "
        "those that start later.",
    ),
    no_neighbours,
    option(
        "--canaries",
        group=COMMIT,
        default=5,
        show_default=True,
        metavar="N",
        type=Integer(0, 100),
        help="Hold N connections on each WebSocket route while a running proxy changes, and "
        "report which of them survive; 0 for none.",
    ),
)


def _names(_: click.Context, __: click.Parameter, words: Sequence[str]) -> tuple[str, ...]:
    """A repeated option with comma-separated names, in lower case."""
    names = (name.strip().lower() for word in words for name in word.split(","))
    return tuple(name for name in names if name)


displace = option(
    "--displace",
    "displaces",
    group=COMMIT,
    multiple=True,
    callback=_names,
    metavar="NAME",
    help="Allow the host to stop serving NAME, which is no site of the playbook. Repeatable.",
)

prune = combine(
    option(
        "--prune",
        group=TASKS,
        is_flag=True,
        help="Remove what earlier generations of this playbook created and it no longer names.",
    ),
    option(
        "--prune-packages",
        group=TASKS,
        is_flag=True,
        help="With --prune or `state: absent`, remove packages too.",
    ),
    option(
        "--prune-certificates",
        group=TASKS,
        is_flag=True,
        help="With --prune or `state: absent`, remove certificates and their keys too.",
    ),
)

no_staging_first = option(
    "--no-staging-first",
    "staging_first",
    group=COMMIT,
    flag_value=False,
    default=True,
    type=bool,
    help="Skip the Let's Encrypt staging rehearsal before a host's first order.",
)

out = option(
    "--out",
    group=OUTPUT,
    metavar="FILE",
    type=_FILE,
    help="Seal the plan into FILE, which holds secrets; `deployer apply FILE` applies exactly "
    "that plan.",
)

# --- output ---------------------------------------------------------------------------------------

diff = option(
    "-D",
    "--diff/--no-diff",
    group=OUTPUT,
    default=True,
    help="Show changed texts as unified diffs (the default), or only what changes.",
)

as_json = option(
    "--json",
    "as_json",
    group=OUTPUT,
    is_flag=True,
    help="Print one JSON document on standard output.",
)

verbose = option("-v", "--verbose", group=OUTPUT, is_flag=True, help="Show more detail.")

output = combine(as_json, verbose)

reports = combine(
    option(
        "--html",
        group=OUTPUT,
        metavar="FILE",
        type=_FILE,
        help="Write an HTML report: changes, checks by hop, times, findings.",
    ),
    option(
        "--junit",
        group=OUTPUT,
        metavar="FILE",
        type=_FILE,
        help="Write the checks as JUnit XML, for CI.",
    ),
)

# --- checks ---------------------------------------------------------------------------------------


def resolve(group: str) -> Decorator:
    """``--resolve``, in the `group` that suits the command."""
    return option(
        "--resolve",
        group=group,
        multiple=True,
        metavar="NAME:PORT:ADDRESS",
        help="Connect to ADDRESS instead of resolving NAME, like curl --resolve. Repeatable.",
    )


def _explained(context: click.Context, _: click.Parameter, code: str | None) -> None:
    if code is not None:
        from deployer.findings import explanation

        width = min(shutil.get_terminal_size().columns, 132) if sys.stdout.isatty() else None
        click.echo(explanation(code, width=width))
        context.exit(EXIT_DONE)


explain = option(
    "--explain",
    group=OUTPUT,
    metavar="CODE",
    is_eager=True,
    expose_value=False,
    callback=_explained,
    help="Explain a finding's code: its causes, how to tell them apart, and the fix. Then exit.",
)
