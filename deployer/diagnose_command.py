"""The command `diagnose`: any address, looked at from here."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.diagnose import reason, reason_page
from deployer.diagnose.address import Address, has_scheme, parsed
from deployer.diagnose.outside import Outside, PageSeen
from deployer.diagnose.pages import Opened
from deployer.diagnose.reason import results
from deployer.diagnose.variants import Wish
from deployer.errors import UsageError
from deployer.model import CheckResult
from deployer.outcome import HostReport, RunReport, State
from deployer.report.document import as_json as json_text
from deployer.report.document import run_document
from deployer.report.output import Output
from deployer.verify.access import Access
from deployer.verify.public import PublicDial, overrides_from
from deployer.verify.stream import Deadline

_STEPS = 8


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


def run_diagnose(request: Request, *, as_json: bool, verbose: bool) -> int:
    """Look, and say what was found; the exit code.

    Raises:
        UsageError: an address or option that cannot be meant; nothing was asked.
    """
    from deployer.report.diagnosed import show_diagnosed

    run = diagnosed(request)
    show_diagnosed(run, output=Output(sys.stderr if as_json else sys.stdout), verbose=verbose)
    if as_json:
        print(json_text(run_document(run)))
    return run.exit_code


def diagnosed(request: Request) -> RunReport:
    """The whole diagnosis as a run over one host: the one that the address names.

    With a `host` in the request, from the inside too. Raises: UsageError, UnreachableError.
    """
    began = time.monotonic()
    address, wish = parsed(request.url), wish_of(request)
    dial = PublicDial(overrides_from(request.resolve))
    until = Deadline(_STEPS * request.timeout_s)
    access = Access(
        dial=dial,
        timeout_s=request.timeout_s,
        until=until,
        roots_pem=_roots(request.ca_bundle),
    )
    try:
        checks, is_reached = _looked_at(request, address, wish, Outside(access, dial))
    finally:
        until.cancel()
    notes: tuple[str, ...] = ()
    if request.host is not None:
        checks, notes = _with_inside(request, request.host, address, wish, checks)
        is_reached = True
    seconds = time.monotonic() - began
    report = HostReport(
        host=address.name,
        state=_state(checks, is_reached=is_reached),
        checks=checks,
        notes=notes,
        seconds=seconds,
        secrets=frozenset(value for _, value in wish.headers),
    )
    return RunReport(command="diagnose", hosts=(report,), seconds=seconds)


def _looked_at(
    request: Request, address: Address, wish: Wish, outside: Outside
) -> tuple[tuple[CheckResult, ...], bool]:
    """The checks, and whether anybody answered at all."""
    looked = _asked(address, wish, outside)
    if not has_scheme(request.url) and not looked[1]:
        again = _asked(parsed(f"http://{request.url}"), wish, outside)
        return again if again[1] else looked
    return looked


def _asked(address: Address, wish: Wish, outside: Outside) -> tuple[tuple[CheckResult, ...], bool]:
    if address.is_websocket:
        seen = outside.websocket(address, wish)
        return results(seen), seen.is_reached
    return _page(address, wish, outside)


def _page(address: Address, wish: Wish, outside: Outside) -> tuple[tuple[CheckResult, ...], bool]:
    """A page and every WebSocket that it opens, or the WebSocket that its address is itself."""
    seen = outside.reached(address, wish)
    found = reason.reach_results(seen)
    if not seen.is_reached or seen.is_stopped:
        return found, seen.is_reached
    page = outside.page(address, wish)
    if not page.opened and not page.is_endless:
        handshake = outside.handshake(address, wish)
        if handshake.status_code == 101 or reason_page.is_websocket_answer(page.attempt):
            return results(outside.websocket(address, wish)), True
    checks = [*found, reason_page.result(page)]
    handshakes, meant = {}, {}
    for opened in page.opened:
        asked = _wish_of_page(wish, page, opened)
        there = opened.address
        if reason_page.is_blocked(page, opened):
            continue  # no browser would ask there
        if opened.meant is not None:
            handshakes[there.uri] = outside.handshake(there, asked)
            if handshakes[there.uri].status_code != 101:
                there = opened.meant
        seen = outside.websocket(there, asked)
        if opened.meant is there and seen.handshake is not None:
            meant[opened.address.uri] = seen.handshake
        checks += _without_repetition(results(seen), checks)
    checks += reason_page.opened_results(page, handshakes, meant)
    return tuple(checks), True


def _wish_of_page(wish: Wish, page: PageSeen, opened: Opened) -> Wish:
    """The handshake as the page makes it; a credential is for the server that it was given for."""
    return replace(
        wish,
        origin=wish.origin or page.address.origin,
        subprotocols=wish.subprotocols or opened.subprotocols,
        headers=wish.headers if opened.address.name == page.address.name else (),
    )


def _without_repetition(
    more: Sequence[CheckResult], told: Sequence[CheckResult]
) -> list[CheckResult]:
    """What was not told of the page's own server already."""
    known = {(check.name, check.target) for check in told}
    return [check for check in more if (check.name, check.target) not in known]


def _with_inside(
    request: Request,
    host: str,
    address: Address,
    wish: Wish,
    checks: tuple[CheckResult, ...],
) -> tuple[tuple[CheckResult, ...], tuple[str, ...]]:
    """What was seen from outside, with what the host itself tells, and what it could not."""
    from deployer.diagnose.on_host import OnHost, way_from

    way = way_from(
        host,
        inventories=request.inventories,
        become=request.become,
        ask_become_pass=request.ask_become_pass,
        accept_new=request.accept_new,
        timeout_s=request.timeout_s,
    )
    with OnHost(way) as there:
        return there.looked(address, wish, checks), there.notes


def _state(checks: Sequence[CheckResult], *, is_reached: bool) -> State:
    if not is_reached:
        return "unreachable"
    return "healthy" if all(check.ok for check in checks) else "unhealthy"


def wish_of(request: Request) -> Wish:
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
    return Wish(
        origin=request.origin,
        subprotocols=request.subprotocols,
        headers=tuple(headers),
        send=request.send,
        expect=request.expect,
    )


def _roots(bundle: Path | None) -> bytes | None:
    if bundle is None:
        return None
    try:
        return bundle.read_bytes()
    except OSError as error:
        raise UsageError(f"--ca-bundle {bundle}: {error.strerror}; nothing was asked") from error
