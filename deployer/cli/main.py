"""The command line: its commands, each imported when it is called, and the exit code of a run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

import click

from deployer import __version__
from deployer.cli.command import LazyGroup
from deployer.errors import (
    EXIT_CHANGES,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_REVERTED,
    EXIT_STRANDED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    DeployerError,
    defect_words,
)

#: The commands in the order in which a user meets them, with the first sentence of their help.
_SECTIONS = {
    "Start a project": {
        "init": "Write site.yml and inventory.yml from a ready playbook.",
        "check": "Check a project for errors without contacting any host.",
        "lab": "Boot disposable Debian hosts on this machine to rehearse on.",
    },
    "Change hosts": {
        "plan": "Show what an apply would change, as a diff, and change nothing.",
        "apply": "Plan, ask, apply, verify with real handshakes, then confirm or roll back.",
        "rollback": "Return to an earlier confirmed generation: plan, ask, apply, verify.",
        "reload": "Test the proxy's configuration, reload it, and verify.",
        "drain": "Take an upstream out of rotation; its open WebSockets stay.",
        "recover": "Roll back what an interrupted run left on a host.",
        "certs": "Show certificates, renew them, or schedule renewal.",
    },
    "Inspect hosts": {
        "verify": "Check running services with real handshakes, changing nothing.",
        "diagnose": "Find out what is wrong with any WebSocket, regardless of who set it up.",
        "history": "Show what was applied on each host, newest first.",
    },
    "Other commands": {
        "completion": "Print a completion script for bash, zsh or fish.",
        "help": "Show the help of a command.",
        "version": "Print the version.",
    },
}

#: How many new objects Python looks through for garbage; its default is 700. A run that has nothing
#: to do makes fewer.
_NEW_OBJECTS = 500_000

#: Commands that may have changed a host when a defect ends them.
_CHANGING = frozenset({"apply", "rollback", "reload", "drain", "recover", "renew", "schedule"})

EXIT_CODES = {
    EXIT_DONE: "done, or nothing to do",
    EXIT_USAGE: "wrong usage, playbook, inventory or template; no host was touched",
    EXIT_CHANGES: "plan --detailed-exitcode found changes",
    EXIT_REVERTED: "a change or check failed; every host is in its former state",
    EXIT_STRANDED: "a host is not in a known good state: a person must look",
    EXIT_UNREACHABLE: "a host is unreachable; nothing was changed on it",
    EXIT_INTERRUPTED: "interrupted with Ctrl-C",
}


class _Deployer(LazyGroup):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(f"{code:>3}", text) for code, text in EXIT_CODES.items()])


@click.group(
    cls=_Deployer,
    package="deployer.cli",
    sections=_SECTIONS,
    examples=(
        ("Write a first project", "deployer init goaccess"),
        ("Check it, then apply it", "deployer check site.yml && deployer apply site.yml"),
    ),
)
@click.version_option(__version__, prog_name="deployer")
def cli() -> None:
    """Deploy WebSocket services behind a reverse proxy, and keep only what a handshake confirms."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave the process with its exit code.

    Nearly all objects of a short run are modules, classes and functions, which stay. Looking for
    garbage among them took a quarter of a run that had nothing to do, half of it when Python ends.
    """
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
    exit_code = run(arguments)
    gc.freeze()
    sys.exit(exit_code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. No user error ends in a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return int(cli.main(list(arguments), prog_name="deployer", standalone_mode=False) or 0)
    except DeployerError as error:
        click.echo(f"Error: {error}", err=True)
        return _ended_early(arguments, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}{_where_to_look(error)}", err=True)
        return _ended_early(arguments, error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return _ended_early(arguments, "interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_DONE
    except Exception as error:
        # Hosts roll back what is pending when the connection ends; whether they did is not known.
        code = EXIT_STRANDED if set(arguments[:2]) & _CHANGING else EXIT_USAGE
        message = defect_words(error)
        if isinstance(error, OSError) and error.filename is not None:
            message = f"{error.filename}: {error.strerror or error}"
        click.echo(f"Error: {message}", err=True)
        return _ended_early(arguments, message, code)


def _where_to_look(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return "" if context is None else f"\nSee `{context.command_path} --help`."


def _ended_early(arguments: Sequence[str], message: str, exit_code: int) -> int:
    """The exit code; with ``--json``, print a document too, as none is printed yet."""
    if "--json" in arguments:
        from deployer.report.document import as_json, error_document

        command = " ".join(arguments[: 2 if arguments[0] in ("certs", "lab") else 1])
        document = error_document(command, exit_code=exit_code, message=message)
        click.echo(as_json(document))
    return exit_code
