"""``deployer diagnose``: any address, or the sites of a playbook, from outside and inside."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options
from deployer.cli.command import Command, Number, combine, option
from deployer.errors import UsageError

if TYPE_CHECKING:
    from deployer.report.files import ReportFiles
    from deployer.run.diagnose import Request

_HANDSHAKE = "Handshake"
_INSIDE = "From inside the host"

_handshake = combine(
    option(
        "--origin",
        group=_HANDSHAKE,
        metavar="ORIGIN",
        help="Send this Origin, that of the page that connects; default: the site's own.",
    ),
    option(
        "--subprotocol",
        "subprotocols",
        group=_HANDSHAKE,
        multiple=True,
        metavar="NAME",
        help="Offer this subprotocol. Repeatable.",
    ),
    option(
        "--header",
        "headers",
        group=_HANDSHAKE,
        multiple=True,
        metavar="'NAME: VALUE'",
        help="Send this header, such as a session's Cookie. Its value is never shown. Repeatable.",
    ),
    option(
        "--send",
        group=_HANDSHAKE,
        metavar="TEXT",
        help="Send this message once the connection is open.",
    ),
    option(
        "--expect", group=_HANDSHAKE, metavar="TEXT", help="Wait for this message as the answer."
    ),
    options.resolve(_HANDSHAKE),
    option(
        "--ca-bundle",
        group=_HANDSHAKE,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Trust the PEM roots in FILE instead of this system's.",
    ),
    option(
        "--timeout",
        "timeout_s",
        group=_HANDSHAKE,
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        type=Number(0.1, 300),
        help="Time limit for each answer.",
    ),
)


@click.command(
    cls=Command,
    examples=(
        ("Diagnose an address", "deployer diagnose wss://chat.example.com/ws"),
        (
            "Look at the server's configuration, too",
            "deployer diagnose wss://chat.example.com/ws --host admin@192.0.2.7 --become",
        ),
    ),
)
@click.argument("url", metavar="URL|SITE.yml")
@_handshake
@option(
    "--host",
    group=_INSIDE,
    metavar="USER@SERVER",
    help="Inspect this server, too: the proxy's configuration, state and logs.",
)
@options.selection
@options.login
@options.become
@options.ask_become_pass
@options.accept_new
@options.output
@options.explain
@options.reports
def diagnose(
    url: str,
    *,
    limit: str | None,
    extra_vars: Sequence[str],
    as_json: bool,
    verbose: bool,
    html: Path | None,
    junit: Path | None,
    **given: Any,
) -> int:
    """Find out what is wrong with any WebSocket, regardless of who set it up.

    URL is a wss:// or ws:// address, or the address of a page that opens one. With SITE.yml, every
    site is verified as by `deployer verify`, and diagnosed from outside. Nothing is changed.
    """
    from deployer.cli.diagnose_playbook import is_playbook, run_diagnose_playbook

    if is_playbook(url):
        return run_diagnose_playbook(
            Path(url),
            limit=limit,
            extra_vars=extra_vars,
            as_json=as_json,
            verbose=verbose,
            html=html,
            junit=junit,
            **given,
        )
    if limit is not None or extra_vars:
        raise UsageError("--limit and --extra-vars require a playbook")
    from deployer.report.files import ReportFiles
    from deployer.run.diagnose import Request

    request = Request(url=url, **given)
    files = ReportFiles(html=html, junit=junit)
    return _run(request, as_json=as_json, verbose=verbose, files=files)


def _run(request: Request, *, as_json: bool, verbose: bool, files: ReportFiles) -> int:
    """Diagnose an address and report it; the exit code.

    Raises:
        UsageError: an invalid address or option; nothing was contacted.
    """
    from datetime import datetime

    from deployer.report.diagnosis import show_diagnosed
    from deployer.report.document import as_json as json_text
    from deployer.report.document import run_document
    from deployer.report.output import Output
    from deployer.run.diagnose import diagnosed

    _refuse_idle_options(request)
    files.check_writable()
    run = diagnosed(request)
    show_diagnosed(run, output=Output(sys.stderr if as_json else sys.stdout), verbose=verbose)
    if not as_json and not files:
        return run.exit_code
    document = run_document(run)
    if as_json:
        print(json_text(document))
    return files.after(run.exit_code, document, at=datetime.now().astimezone())


def _refuse_idle_options(request: Request) -> None:
    """Raises: UsageError for an option that has no effect without ``--host``."""
    if request.host is not None:
        return
    given = {
        "--inventory": request.inventories,
        "--user": request.user,
        "--ask-pass": request.ask_pass,
        "--become": request.become,
        "--ask-become-pass": request.ask_become_pass,
        "--accept-new": request.accept_new,
    }
    for name, value in given.items():
        if value:
            raise UsageError(
                f"{name} requires --host or a playbook; nothing was contacted",
                hint="Give --host USER@SERVER to inspect the server from inside.",
            )
