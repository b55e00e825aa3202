"""``deployer help``: the same as ``--help`` of a command."""

from __future__ import annotations

from collections.abc import Sequence

import click

from deployer.cli.command import Command
from deployer.errors import EXIT_DONE


def _names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For shell completion: the commands of the program that start with `incomplete`."""
    program = context.find_root().command
    names = program.list_commands(context) if isinstance(program, click.Group) else []
    return [name for name in names if name.startswith(incomplete)]


@click.command(
    cls=Command,
    examples=(
        ("List the commands and exit codes", "deployer help"),
        ("Show the options of a command", "deployer help certs renew"),
    ),
)
@click.argument("names", metavar="[COMMAND]", nargs=-1, shell_complete=_names)
@click.pass_context
def help(context: click.Context, names: Sequence[str]) -> int:
    """Show the help of a command."""
    found = context.find_root()
    for name in names:
        group = found.command
        command = group.get_command(found, name) if isinstance(group, click.Group) else None
        if command is None:
            raise click.exceptions.NoSuchCommand(
                name,
                possibilities=group.list_commands(found) if isinstance(group, click.Group) else (),
                ctx=found,
            )
        found = click.Context(command, info_name=name, parent=found)
    click.echo(found.get_help())
    return EXIT_DONE
