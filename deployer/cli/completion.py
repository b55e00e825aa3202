"""``deployer completion``: scripts with which a shell completes commands, options and files."""

from __future__ import annotations

import click

from deployer.cli.command import Command
from deployer.errors import EXIT_DONE


@click.command(
    cls=Command,
    examples=(
        (
            "Complete in bash, from the next login on",
            "deployer completion bash > ~/.local/share/bash-completion/completions/deployer",
        ),
        ("Complete in this zsh", "source <(deployer completion zsh)"),
        (
            "Complete in fish",
            "deployer completion fish > ~/.config/fish/completions/deployer.fish",
        ),
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a completion script for bash, zsh or fish.

    The shell reads the script once; it then asks this program which words fit.
    """
    from click.shell_completion import get_completion_class

    from deployer.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has a class for each choice
    click.echo(found(cli, {}, "deployer", "_DEPLOYER_COMPLETE").source())
    return EXIT_DONE
