"""Run a site's checks concurrently and report their results in the order of the plan.

Handshakes whose times are reported start at once, the other checks as soon as those are done or a
moment later, on a few threads; checks that keep a connection idle have their own threads. A failed
check is retried for a while: a proxy that was just reloaded may still answer with its old workers,
and a service that was just started may not listen yet. A check that waiting cannot fix (a
certificate for the wrong name, say) costs that while once, and only when it fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

from deployer.errors import DeployerError
from deployer.model import UNFINISHED, CheckResult, HandshakeResult
from deployer.sites.model import Route, Site
from deployer.verify.judge import refusals
from deployer.verify.judge.attempts import Attempts
from deployer.verify.judge.judge import judge
from deployer.verify.judge.members import as_warning, is_replaced
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Cancelled, Deadline
from deployer.verify.planned.follow_ups import follow_ups
from deployer.verify.planned.model import Kind, PlannedCheck
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.certificate import attempt_tls
from deployer.verify.probe.h2c_variants import attempt_variants
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.http_get import attempt_get
from deployer.verify.probe.lockouts import LEFT_ALONE, counts_clients, locks_out
from deployer.verify.probe.old_tls import attempt_old_tls
from deployer.verify.probe.spec import (
    Http2Probe,
    NameProbe,
    NoProbe,
    OldTlsProbe,
    PlannedProbe,
    TlsProbe,
    UpgradeProbe,
    VariantsProbe,
)
from deployer.verify.public.lookup_checks import Public

if TYPE_CHECKING:
    from deployer.verify.discovery.known import KnownService

_WORKERS = 16
#: The pause between two attempts of a check grows: a failing service is not flooded.
_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 0.5
#: The checks whose times are reported, and how long at most they run alone: next to twenty TLS
#: handshakes, the time of one handshake means little.
_MEASURED: frozenset[Kind] = frozenset({"handshake", "service"})
_ALONE_S = 0.3
#: nginx returns from a reload before its new workers answer: for some hundredths of a second the
#: old workers do, and a broken change would pass.
RELOAD_S = 0.5
#: How long a proxy may still answer with its old configuration after a reload.
_SETTLE_S = 2.0
#: How services answer a handshake on a path that is not that of their WebSocket.
_WRONG_PATH = frozenset({"status", "closed", "dropped", "timeout"})
_BAD_GATEWAY = frozenset({502, 503, 504})


class _Run:
    def __init__(
        self,
        site: Site,
        access: Access,
        *,
        public: Access | None,
        patience_s: float,
        age_s: float,
    ) -> None:
        self._site = site
        self._access = access
        self._public = public
        self._identifying = threading.Lock()
        #: The routes whose service counts connections without a login, and locks clients out.
        self._counting: set[str] = set()
        self._services: dict[str, KnownService | None] = {}
        self._settling = Deadline(min(_SETTLE_S, patience_s) - age_s, within=access.until)
        self._starting = Deadline(patience_s - age_s, within=access.until)

    def collect(self, check: PlannedCheck, held_peer: Future[Attempt] | None) -> Attempts:
        """Make every attempt that the verdict on `check` needs."""
        if check.hop == "public":
            is_left_alone = check.route is not None and self._is_left_alone(check, check.route)
            return (
                Attempts(main=_left_alone(check)) if is_left_alone else self._attempt_public(check)
            )
        pause_s = _PAUSE_S
        while True:
            if check.route is not None and self._is_left_alone(check, check.route):
                return Attempts(main=_left_alone(check))
            attempts = Attempts(main=self._attempt(check.probe))
            if check.route is not None and counts_clients(attempts.main):
                self._counting.add(check.route.path)
            result = judge(self._site, check, attempts)
            if _is_fine(result):
                return attempts
            if held_peer is None:
                attempts = self._with_service(check, attempts)
                if self._is_settled(check, attempts, result):
                    return attempts
            if self._patience(attempts).has_passed() or locks_out(attempts.main):
                break
            # Warnings are retried too: old workers or a starting service may have caused them.
            self._access.until.pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if result.ok:
            return attempts if attempts.peer is not None else self._with_peer(check, attempts)
        return self._explained(check, attempts, held_peer)

    def _is_settled(self, check: PlannedCheck, attempts: Attempts, alone: CheckResult) -> bool:
        """Whether the service's own answer says more than the result without it."""
        if attempts.peer is None:
            return False
        compared = judge(self._site, check, attempts)
        return _is_fine(compared) or (compared.ok and not alone.ok)

    def _explained(
        self, check: PlannedCheck, attempts: Attempts, held_peer: Future[Attempt] | None
    ) -> Attempts:
        """Add what shows why a check failed."""
        if held_peer is not None:
            attempts = replace(attempts, peer=held_peer.result())
        has_good_peer = attempts.peer is not None and attempts.peer.failure is None
        is_asked = has_good_peer and attempts.plain is None and check.plain is not None
        if is_asked and check.plain is not None and self._has_time():
            attempts = replace(attempts, plain=self._attempt(check.plain))
        if self._has_time():
            attempts = replace(attempts, service=self._identified(check, attempts))
        probes = follow_ups(check, attempts.main, attempts.peer) if self._has_time() else {}
        made = {name: self._attempt(probe) for name, probe in probes.items()}
        return replace(attempts, follow_ups=made)

    def _identified(self, check: PlannedCheck, attempts: Attempts) -> KnownService | None:
        """Look at the page of a service that does not open a WebSocket itself; once for a route."""
        directly = attempts.main if check.hop == "backend" else attempts.peer
        peer = check.probe if check.hop == "backend" else check.peer
        if directly is None or directly.failure is None or check.route is None:
            return None
        is_answer = directly.status_code != 101 and directly.failure.code in _WRONG_PATH
        if not is_answer or check.plain is None or not isinstance(peer, UpgradeProbe):
            return None
        with self._identifying:
            key = str(peer.endpoint)
            if key not in self._services:
                from deployer.verify.discovery.find import identify

                self._services[key] = identify(
                    self._site, check.route, peer, check.plain, self._access
                )
            return self._services[key]

    def _with_service(self, check: PlannedCheck, attempts: Attempts) -> Attempts:
        """Add the direct attempts at the service to a check that failed at the proxy."""
        if check.peer is None or not self._has_time():
            return attempts
        attempts = replace(attempts, peer=self._attempt(check.peer))
        refuses = attempts.peer is not None and refusals.is_refusal(check, attempts.peer)
        if check.plain is not None and refuses:
            attempts = replace(attempts, plain=self._attempt(check.plain))
        return attempts

    def _with_peer(self, check: PlannedCheck, attempts: Attempts) -> Attempts:
        """Add the attempt directly to the service, so that a warning can name the hop."""
        if check.peer is None or not self._has_time():
            return attempts
        return replace(attempts, peer=self._attempt(check.peer))

    def _attempt_public(self, check: PlannedCheck) -> Attempts:
        """The same for a check of the hop *public*: nothing there has changed, so no retries."""
        attempts = Attempts(main=self._attempt(check.probe))
        if attempts.main.failure is not None and check.peer is not None:
            attempts = replace(attempts, peer=self._attempt(check.peer))
        if attempts.main.status_code not in (None, 101) and check.plain is not None:
            attempts = replace(attempts, plain=self._attempt(check.plain))
        return attempts

    def attempt_peer(self, check: PlannedCheck) -> Attempt:
        """Probe the service directly, for a check whose idle time is too long to repeat."""
        assert check.peer is not None  # noqa: S101 - only called if there is one
        return self._attempt(check.peer)

    def _patience(self, attempts: Attempts) -> Deadline:
        """How long a failing check may still succeed by itself."""
        return self._starting if may_be_starting(attempts) else self._settling

    def _is_left_alone(self, check: PlannedCheck, route: Route) -> bool:
        """Whether one more handshake may lock clients out of the route's service."""
        is_needed = check.represents_route and check.hop == "proxy"
        is_handshake = isinstance(check.probe, UpgradeProbe | Http2Probe)
        if is_needed or not is_handshake or check.kind in ("service", "foreign-origin", "entry"):
            return False
        return route.path in self._counting

    def _has_time(self) -> bool:
        """Whether there is still time for a meaningful attempt."""
        return not self._access.until.has_passed()

    def _attempt(self, probe: PlannedProbe) -> Attempt:
        attempt = self._carried_out(probe)
        is_cut_short = attempt.failure is not None and attempt.seconds < self._access.timeout_s
        if is_cut_short and not self._has_time() and not self._access.until.is_cancelled():
            words = "could not be checked: earlier checks used up the time limit"
            failure = Failure("check-failed", words)
            return replace(attempt, answer=replace(attempt.answer, error=words), failure=failure)
        return attempt

    def _carried_out(self, probe: PlannedProbe) -> Attempt:
        access = self._public if probe.hop == "public" and self._public else self._access
        try:
            if isinstance(probe, NameProbe):
                return _looked_up(probe)
            if isinstance(probe, NoProbe):
                return Attempt(answer=HandshakeResult(uri=probe.uri, hop=probe.hop))
            if isinstance(probe, OldTlsProbe):
                return attempt_old_tls(probe, access)
            if isinstance(probe, TlsProbe):
                return attempt_tls(probe, access)
            if isinstance(probe, UpgradeProbe):
                return attempt_upgrade(probe, access)
            if isinstance(probe, Http2Probe):
                from deployer.verify.probe.http2_websocket import attempt_http2

                return attempt_http2(probe, access)
            if isinstance(probe, VariantsProbe):
                return attempt_variants(probe, access)
            return attempt_get(probe, access)
        except (DeployerError, Cancelled):
            raise  # the connection to the host is lost, which says nothing about the site
        except Exception as error:  # between apply and confirm, no peer may cause a crash
            words = f"could not be checked: {type(error).__name__}: {error}"
            failure = Failure("check-failed", words)
            answer = HandshakeResult(uri=probe.uri, hop=probe.hop, error=words)
            return Attempt(answer=answer, failure=failure)


def _left_alone(check: PlannedCheck) -> Attempt:
    answer = HandshakeResult(uri=check.probe.uri, hop=check.hop)
    return Attempt(answer=answer, left_alone=LEFT_ALONE)


def _is_fine(result: CheckResult) -> bool:
    """Whether a check passed without a warning."""
    return result.ok and (result.finding is None or result.finding.severity == "note")


def may_be_starting(attempts: Attempts) -> bool:
    """Whether the service does not listen yet, rather than listen and be wrong."""
    made = (attempts.main, attempts.peer)
    failures = [attempt.failure for attempt in made if attempt and attempt.failure]
    refused = any(failure.code == "refused" for failure in failures)
    return refused or (attempts.main.status_code in _BAD_GATEWAY and attempts.peer is None)


def _looked_up(probe: NameProbe) -> Attempt:
    answer = HandshakeResult(uri=probe.uri, hop=probe.hop, timings_s=probe.timings_s)
    problem = probe.lookup.problem
    failure = Failure("name-unresolved", problem) if problem else None
    return Attempt(answer=answer, failure=failure, seconds=probe.lookup.seconds)


def run_checks(
    site: Site,
    checks: tuple[PlannedCheck, ...],
    access: Access,
    *,
    patience_s: float,
    age_s: float,
    on_result: Callable[[CheckResult], None] | None,
    public: Public | None = None,
) -> tuple[CheckResult, ...]:
    """Run `checks` and return their results in the same order; an interrupt fails the rest.

    `age_s` is how long ago the proxy was reloaded and the services started; `patience_s`, the time
    that they may need to settle, counts from then. The checks of `public` run at the same time, and
    their results come last.

    Raises: `DeployerError` if the dial does (the connection to the host is lost).
    """
    run = _Run(
        site,
        access,
        public=public.access if public else None,
        patience_s=patience_s,
        age_s=age_s,
    )
    access.until.pause(min(RELOAD_S, patience_s) - age_s)
    held = [check for check in checks if check.hold_s]
    quick = ThreadPoolExecutor(_WORKERS, thread_name_prefix="verify")
    patient = ThreadPoolExecutor(max(1, 2 * len(held)), thread_name_prefix="verify-hold")
    outside = ThreadPoolExecutor(_WORKERS, thread_name_prefix="verify-public")
    try:
        planning = outside.submit(public.plan) if public else None
        futures: dict[int, Future[Attempts]] = {}
        for number, check in enumerate(checks):
            if check.hold_s:
                peer = patient.submit(run.attempt_peer, check) if check.peer else None
                futures[number] = patient.submit(run.collect, check, peer)
            elif check.kind in _MEASURED:
                futures[number] = quick.submit(run.collect, check, None)
        measured = [futures[n] for n in futures if checks[n].kind in _MEASURED]
        wait(measured, timeout=_ALONE_S)
        for number, check in enumerate(checks):
            if number not in futures:
                futures[number] = quick.submit(run.collect, check, None)
        started = [(check, futures[number]) for number, check in enumerate(checks)]
        if planning is not None:
            more = planning.result()
            started += [(check, outside.submit(run.collect, check, None)) for check in more]
        results = []
        for result in _judged(site, started):
            results.append(result)
            if on_result is not None:
                on_result(result)
        return tuple(results)
    finally:
        # After a success only the peers of held connections are left, and they are not needed;
        # after an error or Ctrl-C, nothing waits any longer.
        access.until.cancel()
        for pool in (quick, patient, outside):
            pool.shutdown(wait=True, cancel_futures=True)


def _judged(
    site: Site, started: Sequence[tuple[PlannedCheck, Future[Attempts]]]
) -> Iterator[CheckResult]:
    """Yield the results in order; of equal findings, only the first is kept."""
    reported: set[tuple[str, str, str]] = set()

    def attempts_of(index: int | None) -> Attempts | None:
        return None if index is None else started[index][1].result()

    for check, future in started:
        try:
            attempts = future.result()
            result = judge(
                site,
                check,
                attempts,
                prerequisite=attempts_of(check.prerequisite),
                address_certificate=attempts_of(check.address_certificate),
                host_certificate=attempts_of(check.host_certificate),
            )
            if not result.ok and is_replaced(check, attempts, started):
                result = as_warning(result)
        except Cancelled:
            result = CheckResult(
                site=site.domain,
                name=check.name,
                target=check.target,
                hop=check.hop,
                ok=False,
                detail=UNFINISHED,
            )
        finding = result.finding
        if finding is not None:
            key = (finding.code, finding.hop, finding.cause)
            if key in reported:
                result = replace(result, finding=None)
            reported.add(key)
        yield result
