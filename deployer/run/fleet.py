"""The hosts of a run: planned in parallel, changed batch by batch, all reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Protocol, TypeVar

from deployer.commit.contact import Progress, RunOptions
from deployer.commit.outcome import HostReport, RunReport, all_or_none
from deployer.model import CheckResult, Document, Host
from deployer.run.batches import Batch
from deployer.run.host import HostRun
from deployer.run.project import Project

if TYPE_CHECKING:
    from concurrent.futures import Future

    from deployer.certificates.controller import ControllerCertificates
    from deployer.run.measure import Measure
    from deployer.run.sealed.model import SealedHost, SealedPlan
    from deployer.sites.drains import Drain

_Result = TypeVar("_Result")

#: How soon Ctrl-C is noticed, at the latest.
_NOTICE_S = 0.2

#: States in which a host's certificates can be renewed after its commit.
_RENEWABLE = ("unchanged", "confirmed")

#: Shows plans, and returns whether they may be applied.
Approve = Callable[[Sequence[HostReport]], bool]


class Watcher(Progress, Protocol):
    """Receives the progress of a run over several hosts."""

    def looked(self, report: HostReport) -> None:
        """A host is planned, or could not be."""

    def ended(self, report: HostReport) -> None:
        """A host's run has ended."""

    def interrupted(self) -> None:
        """Ctrl-C was pressed; unfinished work is ended in an orderly way."""


class Unwatched:
    """For a run that shows no progress."""

    def doing(self, host: str, what: str) -> None:
        """Not shown."""

    def step(self, host: str, event: Document) -> None:
        """Not shown."""

    def checked(self, host: str, result: CheckResult) -> None:
        """Not shown."""

    def looked(self, report: HostReport) -> None:
        """Not shown."""

    def ended(self, report: HostReport) -> None:
        """Not shown."""

    def interrupted(self) -> None:
        """Not shown."""


class Fleet:
    """The hosts of one command and their connections; a sealed plan has no `project`."""

    def __init__(
        self,
        project: Project | None,
        hosts: Sequence[Host],
        *,
        batches: Sequence[Batch],
        options: RunOptions,
        watcher: Watcher,
        forks: int,
    ) -> None:
        self._started = options.started
        self._batches = batches
        self._watcher = watcher
        self._forks = forks
        self._cancelled = Event()
        self._hosts = tuple(hosts)
        self._certificates: ControllerCertificates | None = None
        if project is not None:
            options = replace(options, root_file=project.root_file)
        if project is not None and project.may_order_here():
            from deployer.certificates.controller import ControllerCertificates

            self._certificates = ControllerCertificates(
                project.certbot_folder,
                say=lambda text: watcher.step("controller", {"event": "said", "text": text}),
                cancelled=self._cancelled,
                staging_first=options.staging_first,
                is_forced=False,
            )
            options = replace(options, certificates=self._certificates)
        self._runs = {
            host.name: HostRun(
                host,
                project=project,
                options=options,
                progress=watcher,
                cancelled=self._cancelled,
            )
            for host in hosts
        }

    # --- commands ---------------------------------------------------------------------------------

    def plan(self) -> RunReport:
        """Plan every host, and change nothing."""
        with self._connections():
            return self._report("plan", self._look(lambda run: run.plan()))

    def apply(self, approve: Approve) -> RunReport:
        """Plan every host, ask once, then change batch by batch until one fails.

        If the playbook is wrong for one host, or one host is not in a known good state, no host is
        changed.
        """
        return self._commit("apply", lambda run: run.plan(will_change=True), approve)

    def seal(self, run: RunReport) -> tuple[SealedHost, ...]:
        """The plans of `run`, for a later apply."""
        return tuple(
            self._runs[report.host].seal(report.plan)
            for report in run.hosts
            if report.plan is not None
        )

    def check_sealed(self, sealed: SealedPlan) -> RunReport:
        """Check whether every host is still as `sealed` found it, and change nothing."""
        with self._connections():
            return self._report("plan", all_or_none(self._sealed_reports(sealed)))

    def apply_sealed(self, sealed: SealedPlan, approve: Approve) -> RunReport:
        """Apply exactly what was planned, or nothing if any host has changed since."""
        with self._connections():
            looked = all_or_none(self._sealed_reports(sealed))
            return self._approved("apply", looked, approve)

    def reload(self, approve: Approve) -> RunReport:
        """Reload the proxies of every host, as a commit that the handshakes confirm."""
        return self._commit("reload", HostRun.plan_reload, approve)

    def drain(self, wanted: Drain, approve: Approve) -> RunReport:
        """Take an upstream out of rotation on every host, or return it, as a commit."""
        return self._commit("drain", lambda run: run.plan_drain(wanted), approve)

    def rollback(self, to: int | None, approve: Approve) -> RunReport:
        """Bring every host back to generation `to`, as a commit that the handshakes confirm."""
        return self._commit("rollback", lambda run: run.plan_rollback(to), approve)

    def recover(self) -> RunReport:
        """Roll back, on every host, what an interrupted run left."""
        with self._connections():
            return self._report("recover", self._each(HostRun.recover))

    def abandon(self, approve: Approve) -> RunReport:
        """Abandon, on every host, a commit that cannot be rolled back, after asking once."""
        with self._connections():
            looked = self._look(HostRun.plan_abandon)
            found = [report.host for report in looked if report.state == "planned"]
            if not found or self._cancelled.is_set() or not approve(tuple(looked)):
                return self._report("recover", looked)
            hosts = [host for host in self._hosts if host.name in found]
            done = self._in_parallel(HostRun.abandon, hosts)
            ended = {report.host: report for report in (*looked, *done)}
            return self._report("recover", [ended[host.name] for host in self._hosts])

    def verify(self, measure: Measure | None = None) -> RunReport:
        """Run the handshake checks on every host, and then `measure`."""
        with self._connections():
            return self._report("verify", self._each(lambda run: run.verify(measure)))

    def verify_rounds(self, every_s: float) -> Generator[RunReport, None, None]:
        """Run the handshake checks every `every_s` seconds, over connections that stay open."""
        is_first = True

        def verified(run: HostRun) -> HostReport:
            began = time.monotonic()
            report = run.verify()
            if report.state == "unreachable":
                run.close()
                if not is_first:  # an idle connection may have been cut: retry over a new one
                    report = run.verify()
            if report.state == "unreachable":
                run.close()
            return replace(report, seconds=time.monotonic() - began)

        with self._connections():
            while not self._cancelled.is_set():
                began = time.monotonic()
                report = self._report("verify", self._each(verified))
                yield replace(report, seconds=time.monotonic() - began)
                is_first = False
                self._cancelled.wait(max(0.0, began + every_s - time.monotonic()))

    def certs_status(self) -> RunReport:
        """The status of every host's certificates."""
        with self._connections():
            return self._report("certs status", self._each(HostRun.certificates))

    def certs_renew(self, force: bool) -> RunReport:
        """Renew certificates that are due, or all with `force`; the status of all afterwards.

        Certificates ordered here are installed by a commit, which handshakes confirm.
        """
        if self._certificates is not None:
            self._certificates.is_forced = force
            self._certificates.is_strict = True
        with self._connections():
            looked = self._look(HostRun.plan_certificates)
            run = self._approved("certs renew", looked, lambda _: True)
            ended = {report.host: report for report in run.hosts}
            well = [host for host in self._hosts if ended[host.name].state in _RENEWABLE]
            if self._cancelled.is_set():
                return run
            renewed = self._in_parallel(lambda run: run.renew(force=force), well)
            ended.update({report.host: report for report in renewed})
            return self._report("certs renew", [ended[host.name] for host in self._hosts])

    def certs_schedule(self, remove: bool) -> RunReport:
        """Install, or remove, the renewal timer on every host."""
        with self._connections():
            looked = self._look(lambda run: run.plan_renewal(remove=remove))
            run = self._approved("certs schedule", looked, lambda _: True)
            reports = [
                self._runs[report.host].with_next_run(report)
                if report.state in _RENEWABLE
                else report
                for report in run.hosts
            ]
            return self._report("certs schedule", reports)

    @property
    def orders_here(self) -> bool:
        """Whether certificates may be ordered on this machine."""
        return self._certificates is not None

    def history(self) -> RunReport:
        """Read every host's history."""
        with self._connections():
            return self._report("history", self._each(HostRun.history))

    # --- parts ------------------------------------------------------------------------------------

    def _commit(
        self, command: str, look: Callable[[HostRun], HostReport], approve: Approve
    ) -> RunReport:
        with self._connections():
            return self._approved(command, self._look(look), approve)

    def _approved(self, command: str, reports: Sequence[HostReport], approve: Approve) -> RunReport:
        states = {report.state for report in reports}
        if "stranded" in states:
            return self._report(command, map(_held_back, reports))
        if "planned" not in states or "invalid" in states or self._cancelled.is_set():
            return self._report(command, reports)
        if not approve(reports):
            return self._report(command, reports)
        ended = self._apply_in_batches({report.host: report for report in reports})
        return self._report(command, [ended[host.name] for host in self._hosts])

    def _sealed_reports(self, sealed: SealedPlan) -> list[HostReport]:
        return self._look(lambda run: run.check_sealed(sealed.of(run.host)))

    def _look(self, look: Callable[[HostRun], HostReport]) -> list[HostReport]:
        def watched(run: HostRun) -> HostReport:
            report = look(run)
            self._watcher.looked(report)
            return report

        return self._in_parallel(watched, self._hosts)

    def _apply_in_batches(self, looked: dict[str, HostReport]) -> dict[str, HostReport]:
        ended: dict[str, HostReport] = {}
        stopped = False
        for batch in self._batches:
            reports = (
                [self._not_started(host, looked) for host in batch.hosts]
                if stopped
                else self._change_all(batch.hosts, looked)
            )
            ended.update({report.host: report for report in reports})
            stopped = stopped or self._cancelled.is_set() or batch.stops_the_run(reports)
        return ended

    def _change_all(self, hosts: Sequence[Host], looked: dict[str, HostReport]) -> list[HostReport]:
        """Change the hosts of a batch; those that wait for each other all start at once."""
        waiting = 0
        if self._certificates is not None:
            plans = {host.name: looked[host.name] for host in hosts}
            waiting = self._certificates.expect(
                {
                    name: each.plan
                    for name, each in plans.items()
                    if each.state == "planned" and each.plan
                }
            )
        return self._in_parallel(lambda run: self._change(run, looked), hosts, at_least=waiting)

    def _change(self, run: HostRun, looked: dict[str, HostReport]) -> HostReport:
        report = looked[run.host.name]
        if report.state == "planned" and report.plan is not None:
            try:
                report = run.apply(report.plan)
            finally:
                if self._certificates is not None:
                    self._certificates.gone(run.host.name)
            self._watcher.ended(report)
        return report

    def _not_started(self, host: Host, looked: dict[str, HostReport]) -> HostReport:
        report = looked[host.name]
        if report.state != "planned":
            return report
        return HostReport(
            host=host.name,
            state="not-started",
            plan=report.plan,
            message="an earlier batch failed",
        )

    def _each(self, work: Callable[[HostRun], HostReport]) -> list[HostReport]:
        def watched(run: HostRun) -> HostReport:
            report = work(run)
            self._watcher.ended(report)
            return report

        return self._in_parallel(watched, self._hosts)

    def _in_parallel(
        self, work: Callable[[HostRun], _Result], hosts: Sequence[Host], *, at_least: int = 0
    ) -> list[_Result]:
        """`work` for each host, at most ``--forks`` at a time; results in the order of the hosts.

        `at_least` hosts run at once if that many wait for each other.

        Ctrl-C lets unfinished work end in an orderly way, which rolls back a pending commit; a
        second one leaves that to the hosts, which roll back when the connection ends.
        """
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(max(self._forks, at_least), thread_name_prefix="host")
        futures = [pool.submit(work, self._runs[host.name]) for host in hosts]
        try:
            return [result_of(future) for future in futures]
        except KeyboardInterrupt:
            self._cancelled.set()
            self._watcher.interrupted()
            for host in hosts:
                self._runs[host.name].stop_orders()
            return [result_of(future) for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _connections(self) -> Iterator[None]:
        try:
            yield
        finally:
            for run in self._runs.values():
                run.close()

    def _report(self, command: str, reports: Iterable[HostReport]) -> RunReport:
        return RunReport(
            command=command,
            hosts=tuple(reports),
            seconds=time.monotonic() - self._started,
            interrupted=self._cancelled.is_set(),
        )


def result_of(future: Future[_Result]) -> _Result:
    """The result of `future`, waited for in short steps.

    A signal may be delivered to another thread, and Python acts on it only when the main thread
    runs next: one that waits without a limit would notice Ctrl-C only when all work is done.
    """
    from concurrent.futures import wait

    while not future.done():
        wait((future,), timeout=_NOTICE_S)
    return future.result()


def _held_back(report: HostReport) -> HostReport:
    """A host that could be changed if no other host were stranded."""
    if report.state != "planned":
        return report
    message = "another host is not in a known good state"
    return replace(report, state="not-started", message=message)
