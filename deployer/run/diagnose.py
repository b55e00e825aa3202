"""The command `diagnose`: any address, looked at from here."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deployer.commit.outcome import HostReport, RunReport, State
from deployer.diagnose.address import Address, parse_address
from deployer.diagnose.handshake_variants import HandshakeOptions
from deployer.diagnose.outside import Outside
from deployer.diagnose.url_checks import diagnose_url
from deployer.errors import HostError, UsageError
from deployer.model import CheckResult
from deployer.report.document import as_json as json_text
from deployer.report.document import run_document
from deployer.report.files import ReportFiles
from deployer.report.output import Output
from deployer.text.redaction import masked
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.probe.attempt import Failure
from deployer.verify.public.dial import PublicDial, overrides_from

_STEPS = 8
#: Shorter values are words that any answer may hold.
_SECRET_LENGTH = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for on the command line; `headers` as they were written."""

    url: str
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    resolve: tuple[str, ...] = ()
    ca_bundle: Path | None = None
    timeout_s: float = 10.0
    send: str | None = None
    expect: str | None = None
    host: str | None = None
    inventories: tuple[Path, ...] = ()
    become: bool = False
    ask_become_pass: bool = False
    accept_new: bool = False


def run_diagnose(request: Request, *, as_json: bool, verbose: bool, files: ReportFiles) -> int:
    """Look, and say what was found; the exit code.

    Raises:
        UsageError: an address or option that cannot be meant; nothing was asked.
    """
    from deployer.report.diagnosed import show_diagnosed

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
    """Raises: UsageError for an option that would do nothing without ``--host``."""
    if request.host is not None:
        return
    given = {
        "--inventory": request.inventories,
        "--become": request.become,
        "--ask-become-pass": request.ask_become_pass,
        "--accept-new": request.accept_new,
    }
    for option, value in given.items():
        if value:
            raise UsageError(
                f"{option} has a meaning with --host or a playbook alone; nothing was asked",
                hint="The inside of a server is looked at with --host USER@SERVER.",
            )


def diagnosed(request: Request) -> RunReport:
    """The whole diagnosis as a run over one host: the one that the address names.

    With a `host` in the request, from the inside too, where it lets us in. Raises: UsageError.
    """
    began = time.monotonic()
    address, options = parse_address(request.url), handshake_options(request)
    dial = PublicDial(overrides_from(request.resolve))
    until = Deadline(_STEPS * request.timeout_s)
    access = Access(
        dial=dial,
        timeout_s=request.timeout_s,
        until=until,
        roots_pem=_roots(request.ca_bundle),
    )
    outside = Outside(access, dial)
    try:
        checks, is_reached = diagnose_url(request.url, options, outside)
    finally:
        until.cancel()
    notes: tuple[str, ...] = ()
    lost = ""
    if request.host is not None:
        asked = outside.asked or ([(address, options)] if address.is_websocket else [])
        try:
            checks, notes = _with_inside(request, request.host, asked, checks)
            is_reached = True
        except HostError as error:
            # What was seen from outside is worth telling all the same.
            lost = str(error)
    # What goes out in a header of the person's own is nobody else's business, whatever its name.
    secrets = frozenset(value for _, value in options.headers if len(value) >= _SECRET_LENGTH)
    seconds = time.monotonic() - began
    report = HostReport(
        host=address.name,
        state=_state(checks, is_reached=is_reached, is_whole=not lost),
        message=masked(f"The inside was not looked at. {lost}" if lost else "", secrets),
        checks=masked(checks, secrets),
        notes=masked(notes, secrets),
        seconds=seconds,
        secrets=secrets,
    )
    return RunReport(command="diagnose", hosts=(report,), seconds=seconds)


def _with_inside(
    request: Request,
    host: str,
    asked: Sequence[tuple[Address, HandshakeOptions]],
    checks: tuple[CheckResult, ...],
) -> tuple[tuple[CheckResult, ...], tuple[str, ...]]:
    """What was seen from outside, with what the host itself tells, and what it could not."""
    from deployer.diagnose.host_diagnosis import HostDiagnosis, host_access

    way = host_access(
        host,
        inventories=request.inventories,
        become=request.become,
        ask_become_pass=request.ask_become_pass,
        accept_new=request.accept_new,
        timeout_s=request.timeout_s,
    )
    with HostDiagnosis(way) as there:
        return there.looked(asked, checks), there.notes


def _state(checks: Sequence[CheckResult], *, is_reached: bool, is_whole: bool) -> State:
    """How the address does; an inside that could not be looked at counts where nothing is wrong."""
    is_well = all(check.ok for check in checks)
    if not is_reached or (is_well and not is_whole):
        return "unreachable"
    return "healthy" if is_well else "unhealthy"


def handshake_options(request: Request) -> HandshakeOptions:
    """How the handshake is to be made.

    Raises: UsageError.
    """
    headers = []
    for text in request.headers:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or "\n" in text or "\r" in text:
            raise UsageError(
                f"--header {name.strip()}: not of the form NAME: VALUE; nothing was asked",
                hint="For instance: --header 'Cookie: session=…'",
            )
        headers.append((name.strip(), value.strip()))
    return HandshakeOptions(
        origin=request.origin,
        subprotocols=request.subprotocols,
        headers=tuple(headers),
        send=request.send,
        expect=request.expect,
    )


def _roots(bundle: Path | None) -> bytes | None:
    if bundle is None:
        return None
    from deployer.verify.net.tls import client_context

    try:
        roots = bundle.read_bytes()
        client_context(roots_pem=roots, verified=True)
    except Failure as failure:
        raise UsageError(
            f"--ca-bundle {bundle}: no certificate in PEM form can be read there; nothing was asked"
        ) from failure
    except OSError as error:
        raise UsageError(f"--ca-bundle {bundle}: {error.strerror}; nothing was asked") from error
    return roots
