"""The options of the commands, each said once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from deployer.errors import EXIT_DONE

_Command = TypeVar("_Command", bound=Callable[..., Any])


def together(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Several options as one."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


playbook = click.argument("playbook", metavar="SITE.yml", type=click.Path(path_type=Path))

limit = click.option("-l", "--limit", metavar="PATTERN", help="Only these hosts of the playbook's.")

ask_become_pass = click.option(
    "-K", "--ask-become-pass", is_flag=True, help="Ask for the password of sudo."
)

as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on standard output."
)

which_hosts = together(
    click.option(
        "-i",
        "--inventory",
        "inventories",
        multiple=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Inventory file; default: inventory.yml beside the playbook. May be repeated.",
    ),
    limit,
    click.option(
        "-e",
        "--extra-vars",
        multiple=True,
        metavar="VARS",
        help="key=value, YAML, JSON or @file; wins over every other variable. May be repeated.",
    ),
)

on_hosts = together(
    which_hosts,
    click.option("-t", "--tags", metavar="TAGS", help="Only tasks with one of these tags."),
)

over_ssh = together(
    click.option(
        "-f",
        "--forks",
        default=10,
        show_default=True,
        type=click.IntRange(1, 500),
        help="Hosts at a time.",
    ),
    ask_become_pass,
    click.option(
        "--accept-new", is_flag=True, help="Accept and remember keys of hosts never seen before."
    ),
    click.option("--install-python", is_flag=True, help="Install python3 on hosts that have none."),
    click.option(
        "--timeout",
        "connect_timeout_s",
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        type=click.FloatRange(0.1, 3600),
        help="How long a host may take to answer.",
    ),
    as_json,
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
)

diff = click.option(
    "--diff/--no-diff", default=True, help="Show texts as unified diffs, or names alone."
)

confirm_timeout = click.option(
    "--confirm-timeout",
    "confirm_timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(1, 86400),
    help="How long the host waits after this command's last word before it reverts by itself; "
    "default: what the checks need, and two minutes.",
)

lock_timeout = click.option(
    "--lock-timeout",
    "lock_timeout_s",
    default=0.0,
    metavar="SECONDS",
    type=click.FloatRange(0, 86400),
    help="How long to wait for another run on the same host; default: not at all.",
)

keep = click.option(
    "--keep",
    default=10,
    show_default=True,
    metavar="N",
    type=click.IntRange(1, 1000),
    help="How many generations the host keeps to go back to.",
)

no_watchdog = click.option(
    "--no-watchdog",
    "watchdog",
    flag_value=False,
    default=True,
    type=bool,
    help="Do not let the host's systemd take the commit back if the run is cut off.",
)

no_staging_first = click.option(
    "--no-staging-first",
    "staging_first",
    flag_value=False,
    default=True,
    type=bool,
    help="Do not rehearse a host's first order of Let's Encrypt with its staging.",
)

reports = together(
    click.option(
        "--html",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write a page about the run: what changed, the hops, their times, the findings.",
    ),
    click.option(
        "--junit",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write the checks as JUnit XML, for CI.",
    ),
)

canaries = click.option(
    "--canaries",
    default=5,
    show_default=True,
    metavar="N",
    type=click.IntRange(0, 100),
    help="Hold N connections on each WebSocket route while a running proxy is changed, and say "
    "which of them survive; 0 for none.",
)

out = click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Seal the plan into FILE, which holds secrets; `deployer apply FILE` applies exactly it.",
)


def _explained(context: click.Context, _: click.Parameter, code: str | None) -> None:
    if code is not None:
        from deployer.findings import explanation

        width = min(shutil.get_terminal_size().columns, 132) if sys.stdout.isatty() else None
        click.echo(explanation(code, width=width))
        context.exit(EXIT_DONE)


explain = click.option(
    "--explain",
    metavar="CODE",
    is_eager=True,
    expose_value=False,
    callback=_explained,
    help="Say what a finding's code means, how to tell it from others, and what mends it.",
)

measured = together(
    click.option(
        "--idle", is_flag=True, help="Measure how long each hop lets a silent connection live."
    ),
    click.option(
        "--idle-limit",
        "idle_limit",
        metavar="DURATION",
        help="How long --idle waits at most: 90s, 10m, 2h.  [default: 330s]",
    ),
    click.option(
        "--load",
        metavar="N",
        type=click.IntRange(1, 60000),
        help="Open N connections to each site, hold them, and say which limit they meet.",
    ),
    click.option(
        "--rate",
        metavar="R",
        type=click.FloatRange(1, 5000),
        help="How many connections --load opens a second.  [default: 200]",
    ),
    click.option(
        "--hold",
        metavar="DURATION",
        help="How long --load holds them: 30s, 10m.  [default: 10s]",
    ),
)

watched = together(
    click.option(
        "--watch",
        metavar="TIME",
        help="Verify again every TIME, such as 60s, and tell what has changed, until Ctrl-C.",
    ),
    click.option(
        "--metrics",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write metrics for Prometheus, for node_exporter's textfile collector.",
    ),
)

resolve = click.option(
    "--resolve",
    multiple=True,
    metavar="NAME:PORT:ADDRESS",
    help="Ask this machine in place of what DNS says. May be repeated.",
)

#: Those of `diagnose`, which needs no playbook.
outside = together(
    click.option(
        "--origin", metavar="ORIGIN", help="The page that connects; default: the site's own."
    ),
    click.option(
        "--subprotocol",
        "subprotocols",
        multiple=True,
        metavar="NAME",
        help="A subprotocol to offer. May be repeated.",
    ),
    click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="A header to send along, such as a session's Cookie; its value is never shown. "
        "May be repeated.",
    ),
    click.option("--send", metavar="TEXT", help="A message to send once the connection is open."),
    click.option("--expect", metavar="TEXT", help="The message that must then come."),
    resolve,
    click.option(
        "--ca-bundle",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Roots to judge certificates by, in PEM; default: those that this system trusts.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        type=click.FloatRange(0.1, 300),
        help="How long each answer may take.",
    ),
    click.option(
        "--host",
        metavar="USER@SERVER",
        help="Look from the inside too: the proxy's configuration, state and logs on that host.",
    ),
    click.option(
        "-i",
        "--inventory",
        "inventories",
        multiple=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Inventory of the playbook, or in which --host is a name. May be repeated.",
    ),
    limit,
    click.option(
        "-e",
        "--extra-vars",
        multiple=True,
        metavar="VARS",
        help="Variables of the playbook, as for `apply`. May be repeated.",
    ),
    click.option("--become", is_flag=True, help="Become root on the host, by sudo."),
    ask_become_pass,
    click.option(
        "--accept-new",
        is_flag=True,
        help="Accept and remember the key of a host never seen before.",
    ),
    as_json,
    click.option(
        "-v", "--verbose", is_flag=True, help="Show requests and answers as they were sent."
    ),
)
