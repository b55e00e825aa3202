"""The diagnosis of one address, from here and from inside its host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.commit.outcome import HostReport, RunReport, State
from deployer.diagnose.handshake_variants import HandshakeOptions
from deployer.diagnose.outside import Outside
from deployer.diagnose.url_checks import diagnose_url
from deployer.errors import HostError, UsageError
from deployer.model import CheckResult
from deployer.text.reading import read_limited
from deployer.text.redaction import masked
from deployer.verify.net.access import Access
from deployer.verify.net.address import Address, parse_address
from deployer.verify.net.stream import Deadline
from deployer.verify.probe.attempt import Failure
from deployer.verify.public.dial import PublicDial, overrides_from

_STEPS = 8
#: Shorter values are words that any answer may hold.
_SECRET_LENGTH = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of the command line; `headers` as they were written."""

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
    user: str | None = None
    ask_pass: bool = False
    become: bool = False
    ask_become_pass: bool = False
    accept_new: bool = False


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
            # The result from outside is still worth reporting.
            lost = str(error)
    # The values of the user's own headers are secret, whatever their names.
    secrets = frozenset(value for _, value in options.headers if len(value) >= _SECRET_LENGTH)
    seconds = time.monotonic() - began
    report = HostReport(
        host=address.name,
        state=_state(checks, is_reached=is_reached, is_whole=not lost),
        message=masked(f"The host was not inspected. {lost}" if lost else "", secrets),
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
    """The checks from outside with the host's own diagnosis, and its notes."""
    from deployer.diagnose.host_diagnosis import HostDiagnosis, host_from
    from deployer.playbook import load_settings
    from deployer.run import connections
    from deployer.run.options import SessionOptions
    from deployer.transport.passwords import ask_passwords

    settings = load_settings()
    target = host_from(host, request.inventories)
    if not request.accept_new:
        connections.refuse_unchecked((target,), settings)
    passwords = ask_passwords(
        for_login=request.ask_pass or settings.ask_pass,
        for_become=request.ask_become_pass or settings.ask_become_pass,
    )
    may_become = request.become or request.ask_become_pass or bool(settings.become)
    options = connections.connect_options(
        target,
        connections.becomes_root(target, by_play=may_become),
        options=SessionOptions(
            user=request.user,
            connect_timeout_s=request.timeout_s,
            accept_new=request.accept_new,
        ),
        settings=settings,
        passwords=passwords,
    )
    with HostDiagnosis(target, options) as there:
        return there.diagnose(asked, checks), there.notes


def _state(checks: Sequence[CheckResult], *, is_reached: bool, is_whole: bool) -> State:
    """The state of the address; a failed inspection of the host counts if nothing else fails."""
    is_well = all(check.ok for check in checks)
    if not is_reached or (is_well and not is_whole):
        return "unreachable"
    return "healthy" if is_well else "unhealthy"


def handshake_options(request: Request) -> HandshakeOptions:
    """The options of the handshake.

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
        roots = read_limited(bundle)
        client_context(roots_pem=roots, verified=True)
    except Failure as failure:
        raise UsageError(
            f"--ca-bundle {bundle}: no certificate in PEM form can be read there; nothing was asked"
        ) from failure
    except OSError as error:
        raise UsageError(f"--ca-bundle {bundle}: {error.strerror}; nothing was asked") from error
    return roots
