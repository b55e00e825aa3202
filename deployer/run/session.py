"""One command from its options to its hosts: loading, connections, reports."""

from __future__ import annotations

import getpass
import shlex
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deployer.commit.contact import RunOptions
from deployer.commit.outcome import RunReport
from deployer.model import Host
from deployer.plan.prune import Prune
from deployer.playbook import load_settings
from deployer.report.files import ReportFiles
from deployer.report.output import Output
from deployer.report.terminal import TerminalReport
from deployer.run import connections
from deployer.run.fleet import Fleet, Unwatched
from deployer.run.options import SessionOptions
from deployer.run.project import Project, load_project
from deployer.transport.early_links import EarlyLinks
from deployer.transport.passwords import ask_passwords

if TYPE_CHECKING:
    from deployer.playbook.load.peek import Glance
    from deployer.run.sealed.model import SealedPlan
    from deployer.transport import ConnectOptions


class Session:
    """A command's fleet and its report; a context manager that leaves the terminal clean."""

    def __init__(
        self,
        command: str,
        playbook: Path,
        options: SessionOptions,
        *,
        sealed: SealedPlan | None = None,
    ) -> None:
        started = time.monotonic()
        self._files = ReportFiles(html=options.html, junit=options.junit, metrics=options.metrics)
        self._files.check_writable()
        self.as_json = options.as_json
        self._early = EarlyLinks()
        self._settings = load_settings()
        self._passwords = ask_passwords(
            for_login=options.ask_pass or self._settings.ask_pass,
            for_become=options.ask_become_pass or self._settings.ask_become_pass,
        )
        project: Project | None = None
        targets: Project | SealedPlan
        self._options = options
        if sealed is None:
            project = targets = load_project(
                playbook,
                options,
                at_first_glance=self._connect_early,
                settings=self._settings,
            )
        else:
            targets = sealed
            options = replace(options, inventories=[Path(path) for path in sealed.inventories])
        self.inventories = tuple(options.inventories)
        hosts = targets.hosts()
        self.again = partial(
            _command_line,
            targets.path,
            options,
            is_part=len(hosts) > 1 or options.limit is not None or sealed is not None,
        )
        self.batches = targets.batches()
        if project is not None and self._early.are_opening:
            from deployer.run.check import rehearse

            rehearse(project, hosts[0])
        self.output = Output(sys.stderr if options.as_json else sys.stdout)
        self.report = TerminalReport(
            self.output,
            hosts=[host.name for host in hosts],
            verbose=options.verbose,
            has_table=command in ("verify", "diagnose"),
        )
        self.fleet = Fleet(
            project,
            hosts,
            batches=self.batches,
            options=self._run_options(targets, started=started),
            watcher=Unwatched() if options.is_quiet else self.report,
            forks=connections.forks(options, self._settings),
        )
        self._show_notes(self._settings.notes if project is None else project.notes)

    def _show_notes(self, notes: Sequence[str]) -> None:
        for note in () if self._options.is_quiet else notes:
            self.report.note(f"note: {note}")

    def _run_options(self, targets: Project | SealedPlan, *, started: float) -> RunOptions:
        options = self._options
        public = options.public
        return RunOptions(
            who=getpass.getuser(),
            origin=socket.gethostname(),
            connect=lambda host: self._connect_options(host, targets.becomes_root(host)),
            early=self._early,
            started=started,
            again=self.again,
            confirm_timeout_s=options.confirm_timeout_s,
            lock_timeout_s=options.lock_timeout_s,
            watchdog=options.watchdog,
            preflight=options.preflight,
            neighbours=options.neighbours,
            keep=options.keep,
            staging_first=options.staging_first,
            canaries=options.canaries,
            displaces=frozenset(options.displaces),
            prune=Prune(
                everything=options.prune,
                packages=options.prune_packages,
                certificates=options.prune_certificates,
            ),
            public=None if public is None else replace(public, hosts=targets.hosts()),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.output.close()
        self._early.close()

    def _connect_early(self, glance: Glance) -> None:
        """Connect to few hosts while the playbook is read; to many, batch by batch later."""
        if (
            len(glance.hosts) <= connections.forks(self._options, self._settings)
            and not self._options.install_python
        ):
            self._early.open(
                glance.hosts,
                lambda host: self._connect_options(
                    host, connections.becomes_root(host, by_play=glance.become)
                ),
            )

    def end(self, run: RunReport, quiet_states: Sequence[str]) -> int:
        """Show the outcome of each host, write the requested reports; the exit code."""
        self.report.summary(run, quiet_states)
        if not self.as_json and not self._files:
            return run.exit_code
        from deployer.report.document import as_json, run_document

        document = run_document(run)
        if self.as_json:
            print(as_json(document))
        return self.end_round(run.exit_code, document, at=datetime.now().astimezone())

    def end_round(self, exit_code: int, document: Mapping[str, object], *, at: datetime) -> int:
        """Write the requested reports; `exit_code`, or a worse one if that fails."""
        return self._files.after(exit_code, document, at=at)

    def _connect_options(self, host: Host, become: bool) -> ConnectOptions:
        return connections.connect_options(
            host,
            become,
            options=self._options,
            settings=self._settings,
            passwords=self._passwords,
        )


def _command_line(
    playbook: Path, options: SessionOptions, command: str, host: str, *, is_part: bool
) -> str:
    """The command line to continue with one host of this run."""
    words = ["deployer", *command.split(), str(playbook)]
    for path in options.inventories:
        words += ["-i", str(path)]
    if options.user is not None:
        words += ["-u", options.user]
    given = {"-b": options.become, "-k": options.ask_pass, "-K": options.ask_become_pass}
    words += [option for option, is_given in given.items() if is_given]
    return shlex.join([*words, "-l", host] if is_part else words)
