"""``deployer version``: the same as ``deployer --version``."""

from __future__ import annotations

import click

from deployer import __version__
from deployer.cli.command import Command
from deployer.errors import EXIT_DONE


@click.command(cls=Command, examples=(("Print the version", "deployer version"),))
def version() -> int:
    """Print the version."""
    click.echo(f"deployer, version {__version__}")
    return EXIT_DONE
