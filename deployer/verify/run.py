"""Carry out a site's checks, side by side, and tell their results in the order of the plan.

The handshakes whose times are told start at once, the others as soon as those are done or a moment
later, on a few threads; those that hold a connection in silence have threads of
their own. A check that fails is tried again for a while: a proxy that has just been reloaded may
answer with its former workers for a moment, and a service that has just been started may not
listen yet. What cannot pass by waiting (a certificate's name, say) costs that moment once, and only
when it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from deployer.errors import DeployerError
from deployer.model import UNFINISHED, CheckResult, HandshakeResult
from deployer.sites.model import Site
from deployer.verify.judge import login
from deployer.verify.judge.attempts import Attempts
from deployer.verify.judge.judge import judge
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Cancelled, Deadline
from deployer.verify.planned.checks import Kind, PlannedCheck
from deployer.verify.planned.follow_ups import follow_ups
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.certificate import attempt_tls
from deployer.verify.probe.h2c_variants import attempt_variants
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.http_get import attempt_get
from deployer.verify.probe.old_tls import attempt_old_tls
from deployer.verify.probe.spec import (
    Http2Probe,
    NameProbe,
    OldTlsProbe,
    PlannedProbe,
    TlsProbe,
    UpgradeProbe,
    VariantsProbe,
)
from deployer.verify.public.lookup_checks import Public

_WORKERS = 16
_PAUSE_S = 0.1
#: The checks whose times are told, and for how long at most they have the line to themselves: with
#: twenty TLS handshakes beside it, a handshake's time says little.
_MEASURED: frozenset[Kind] = frozenset({"handshake", "service"})
_ALONE_S = 0.3
#: nginx returns from a reload before its new workers answer: for some hundredths of a second its
#: former ones do, and would let a broken change pass. What they say is not asked for.
_RELOAD_S = 0.5
#: How long a proxy may still answer as before after a reload.
_SETTLE_S = 2.0
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
        self._settling = Deadline(min(_SETTLE_S, patience_s) - age_s, within=access.until)
        self._starting = Deadline(patience_s - age_s, within=access.until)

    def tried(self, check: PlannedCheck, held_peer: Future[Attempt] | None) -> Attempts:
        """Everything that the verdict on `check` needs."""
        if check.hop == "public":
            return self._tried_from_here(check)
        while True:
            tried = Attempts(attempt=self._attempt(check.probe))
            result = judge(self._site, check, tried)
            if result.ok and result.finding is None:
                return tried
            if result.ok and self._patience(tried).has_passed():
                return self._with_peer(check, tried)
            if result.ok:  # a warning: former workers, and services that start, deserve none
                self._access.until.pause(_PAUSE_S)
                continue
            if held_peer is None and check.peer is not None and self._has_time():
                tried = replace(tried, peer=self._attempt(check.peer))
                if check.plain is not None and login.is_refused_by_both(check, tried):
                    tried = replace(tried, plain=self._attempt(check.plain))
                if judge(self._site, check, tried).ok:
                    return tried
            if self._patience(tried).has_passed():
                break
            self._access.until.pause(_PAUSE_S)
        if held_peer is not None:
            tried = replace(tried, peer=held_peer.result())
        has_good_peer = tried.peer is not None and tried.peer.failure is None
        if has_good_peer and check.plain is not None and self._has_time():
            tried = replace(tried, plain=self._attempt(check.plain))
        beside = follow_ups(check, tried.attempt, tried.peer) if self._has_time() else {}
        return replace(tried, beside={name: self._attempt(each) for name, each in beside.items()})

    def _with_peer(self, check: PlannedCheck, tried: Attempts) -> Attempts:
        """The same with what the service does, for a warning that says whose it is."""
        if check.peer is None or not self._has_time():
            return tried
        return replace(tried, peer=self._attempt(check.peer))

    def _tried_from_here(self, check: PlannedCheck) -> Attempts:
        """The same for a check of the hop *public*: nothing was changed out there to wait for."""
        tried = Attempts(attempt=self._attempt(check.probe))
        if tried.attempt.failure is not None and check.peer is not None:
            tried = replace(tried, peer=self._attempt(check.peer))
        if tried.attempt.status_code not in (None, 101) and check.plain is not None:
            tried = replace(tried, plain=self._attempt(check.plain))
        return tried

    def attempt_peer(self, check: PlannedCheck) -> Attempt:
        """The same straight to the service, for a check whose silence is too long to repeat."""
        assert check.peer is not None  # noqa: S101 - only asked for where there is one
        return self._attempt(check.peer)

    def _patience(self, tried: Attempts) -> Deadline:
        """How long a failing check may still come right by itself."""
        return self._starting if may_be_starting(tried) else self._settling

    def _has_time(self) -> bool:
        """Whether what a peer does, or does not, still says something about it."""
        return not self._access.until.has_passed()

    def _attempt(self, probe: PlannedProbe) -> Attempt:
        attempt = self._carried_out(probe)
        is_cut_short = attempt.failure is not None and attempt.seconds < self._access.timeout_s
        if is_cut_short and not self._has_time() and not self._access.until.is_cancelled():
            words = "could not be checked: what went before took all the time there was"
            failure = Failure("check-failed", words)
            return replace(attempt, answer=replace(attempt.answer, error=words), failure=failure)
        return attempt

    def _carried_out(self, probe: PlannedProbe) -> Attempt:
        access = self._public if probe.hop == "public" and self._public else self._access
        try:
            if isinstance(probe, NameProbe):
                return _looked_up(probe)
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
            raise  # the way to the host is lost: there is nothing to say about the site
        except Exception as error:  # between apply and confirm, no peer may get us to crash
            words = f"could not be checked: {type(error).__name__}: {error}"
            failure = Failure("check-failed", words)
            answer = HandshakeResult(uri=probe.uri, hop=probe.hop, error=words)
            return Attempt(answer=answer, failure=failure)


def may_be_starting(tried: Attempts) -> bool:
    """Whether it looks as if something does not listen yet, rather than listen and be wrong."""
    attempts = (tried.attempt, tried.peer)
    failures = [attempt.failure for attempt in attempts if attempt and attempt.failure]
    refused = any(failure.code == "refused" for failure in failures)
    return refused or (tried.attempt.status_code in _BAD_GATEWAY and tried.peer is None)


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
    """The result of each of `checks`, in their order; after an interrupt, the rest has failed.

    `age_s` is how long ago the proxy was reloaded and the services started; what they need to come
    to themselves, at most `patience_s`, counts from there. The checks of `public` are made beside
    them, and come last.

    Raises: `DeployerError` where the dial does (the connection to the host is gone).
    """
    run = _Run(
        site,
        access,
        public=public.access if public else None,
        patience_s=patience_s,
        age_s=age_s,
    )
    access.until.pause(min(_RELOAD_S, patience_s) - age_s)
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
                futures[number] = patient.submit(run.tried, check, peer)
            elif check.kind in _MEASURED:
                futures[number] = quick.submit(run.tried, check, None)
        measured = [futures[n] for n in futures if checks[n].kind in _MEASURED]
        wait(measured, timeout=_ALONE_S)
        for number, check in enumerate(checks):
            if number not in futures:
                futures[number] = quick.submit(run.tried, check, None)
        started = [(check, futures[number]) for number, check in enumerate(checks)]
        if planning is not None:
            more = planning.result()
            started += [(check, outside.submit(run.tried, check, None)) for check in more]
        results = []
        for result in _judged(site, started):
            results.append(result)
            if on_result is not None:
                on_result(result)
        return tuple(results)
    finally:
        # After a success nothing is left but the peers of held connections, whose word is not
        # needed; after an error or Ctrl-C, nobody waits for anything any more.
        access.until.cancel()
        for pool in (quick, patient, outside):
            pool.shutdown(wait=True, cancel_futures=True)


def _judged(
    site: Site, started: Sequence[tuple[PlannedCheck, Future[Attempts]]]
) -> Iterator[CheckResult]:
    """The results in order; of findings that say the same, the first alone is kept."""
    told: set[tuple[str, str, str]] = set()

    def tried(place: int | None) -> Attempts | None:
        return None if place is None else started[place][1].result()

    for check, future in started:
        try:
            result = judge(
                site,
                check,
                future.result(),
                prerequisite=tried(check.prerequisite),
                address_certificate=tried(check.address_certificate),
                host_certificate=tried(check.host_certificate),
            )
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
            if key in told:
                result = replace(result, finding=None)
            told.add(key)
        yield result
