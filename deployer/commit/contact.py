"""Contact with one host during a command: its connection, progress, and frequent requests.

The connection is opened by the first request, and again after it was closed: a run whose connection
broke asks for the outcome of its commit over a new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Protocol

from deployer.commit.host_status import HostStatus, Lock, lock_words, status_document, status_from
from deployer.errors import HostError, SourceError, UsageError
from deployer.model import CheckResult, Document, Host, SourceRef
from deployer.plan.prune import Prune
from deployer.text import connection
from deployer.text.redaction import masked
from deployer.transport.early_links import EarlyLinks

if TYPE_CHECKING:
    from pathlib import Path

    from deployer.agent.replies import CommitRecord, FactsReply, RevertReply
    from deployer.certificates.controller import ControllerCertificates
    from deployer.playbook.yaml.source import Spot
    from deployer.sites.model import Site
    from deployer.transport import ConnectOptions, Link
    from deployer.verify.public.hop import PublicHop

_NO_PRUNE = Prune()
#: How often to poll a host whose lock is taken.
_ASK_AGAIN_S = 0.7


class Progress(Protocol):
    """Receives the progress of a run. Called from several threads."""

    def doing(self, host: str, what: str) -> None:
        """`host` has begun a step: connecting, probing, applying, verifying…"""

    def step(self, host: str, event: Document) -> None:
        """An event of the agent's `apply` or `revert` (docs/reference/protocol.md)."""

    def checked(self, host: str, result: CheckResult) -> None:
        """A check of the verification has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a run for each of its hosts; it `started` in monotonic time.

    `again` returns the command line that runs a command on a host. `displaces` are names that hosts
    may stop serving. `root_file` is the root of the project's own CA.
    """

    who: str
    origin: str
    connect: Callable[[Host], ConnectOptions]
    early: EarlyLinks
    started: float
    again: Callable[[str, str], str]
    confirm_timeout_s: float | None = None
    lock_timeout_s: float = 0.0
    watchdog: bool = True
    preflight: bool = True
    neighbours: bool = True
    keep: int = 10
    staging_first: bool = True
    certificates: ControllerCertificates | None = None
    canaries: int = 5
    displaces: frozenset[str] = frozenset()
    public: PublicHop | None = None
    root_file: Path | None = None
    prune: Prune = _NO_PRUNE


class Contact:
    """One host's connection. `secrets` are removed from everything that `progress` receives."""

    def __init__(
        self, host: Host, *, options: RunOptions, progress: Progress, cancelled: Event
    ) -> None:
        self.host = host
        self.options = options
        self.cancelled = cancelled
        self.secrets: frozenset[str] = frozenset()
        self._progress = progress
        self._link: Link | None = None

    def link(self) -> Link:
        """The connection, opened if there is none.

        Raises:
            UnreachableError: the host cannot be reached.
            UsageError: the login is not root.
        """
        if self._link is None:
            from deployer.transport import connect

            self.doing("connecting")
            options = self.options.connect(self.host)
            early = self.options.early.take(self.host, options)
            self._link = early or connect(self.host, options)
            self._require_root(self._link)
        return self._link

    def _require_root(self, link: Link) -> None:
        """Only root may see and change everything."""
        if link.hello["uid"] != 0:
            options = self.options.connect(self.host)
            target = options.value(self.host.vars, connection.BECOME_USER)
            if options.become and target is not None:
                raise SourceError(
                    f"{self.host.name}: the user to become is {target}, who is not root",
                    source=self._place(connection.BECOME_USER),
                    hint="Remove it, or set it to root for this host: only root may see and "
                    "change everything that a commit can roll back.",
                )
            user = self.host.user or options.user or "a user"
            raise UsageError(
                f"{self.host.name}: logged in as {user}, who is not root",
                hint="Give --become, or set `become: true` in the play.",
            )

    def _place(self, names: tuple[str, ...]) -> SourceRef | None:
        """Where the inventory or the play sets a connection variable."""
        spots: Mapping[str, Spot] = getattr(self.host.vars, "spots", {})
        return next((spots[name].ref for name in reversed(names) if name in spots), None)

    def stop_orders(self) -> None:
        """Make the host stop a certificate order in progress, if there is one."""
        if self._link is not None:
            self._link.tell({"stop": "orders"})

    def close(self) -> None:
        """Close the connection; the host then rolls back a commit that is still pending."""
        if self._link is not None:
            self._link.close()
            self._link = None

    # --- progress ---------------------------------------------------------------------------------

    def doing(self, what: str) -> None:
        """Report that a step has begun."""
        self._progress.doing(self.host.name, what)

    def on_step(self, event: Mapping[str, object]) -> None:
        """Report an event of `apply` or `revert`."""
        self._progress.step(self.host.name, masked(event, self.secrets))

    def checked(self, result: CheckResult) -> None:
        """Report the result of a check."""
        self._progress.checked(self.host.name, masked(result, self.secrets))

    def report_checks(self, results: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
        """Report the results of several checks; the same without secrets."""
        for result in results:
            self.checked(result)
        return tuple(masked(results, self.secrets))

    def on_event(
        self,
        event: Document,
        *,
        sites: Sequence[Site],
        certificates: ControllerCertificates | None,
    ) -> None:
        """Report an event of the host, or answer a question from it about `certificates`."""
        if self.cancelled.is_set():
            self.stop_orders()  # an order may have begun only now
        if event.get("event") != "ask":
            self.on_step(event)
            return
        from deployer.certificates.answers import Answers

        answers = Answers(
            self.host,
            self.link(),
            sites=sites,
            certificates=certificates,
            cancelled=self.cancelled,
        )
        answers.answer(event["question"])

    def again(self, command: str) -> str:
        """The command line that runs `command` on this host."""
        return self.options.again(command, self.host.name)

    # --- requests ---------------------------------------------------------------------------------

    def facts(self, asked: Mapping[str, Sequence[str | int] | None] | None = None) -> FactsReply:
        """The reply to ``facts``; `asked` are the fields of the request."""
        fields = {
            name: None if values is None else list(values) for name, values in (asked or {}).items()
        }
        return self.link().request("facts", **fields, doing="reading facts")

    def free_facts(
        self, asked: Mapping[str, Sequence[str | int] | None] | None = None
    ) -> FactsReply:
        """The same once no other run holds the lock of the host, within ``--lock-timeout``.

        Raises:
            HostError: another run still holds it.
        """
        began = time.monotonic()
        while True:
            reply = self.facts(asked)
            lock = status_of(reply).lock
            if lock is None:
                return reply
            self._wait_for(lock, until=began + self.options.lock_timeout_s)

    def _wait_for(self, lock: Lock | None, *, until: float) -> None:
        """Return when the lock is free, or raise the error `locked`."""
        while lock is not None:
            if time.monotonic() >= until:
                raise self.locked(lock, waited_s=self.options.lock_timeout_s)
            self.doing(f"waiting for {lock.owner}")
            if self.cancelled.wait(min(_ASK_AGAIN_S, max(0.05, until - time.monotonic()))):
                raise HostError(
                    f"interrupted while waiting for {lock.owner}; nothing was changed",
                    host=self.host.name,
                )
            lock = status_of(self.facts()).lock

    def locked(self, lock: Lock, *, waited_s: float = 0.0) -> HostError:
        """The error of a run that cannot begin because a different one holds the lock."""
        words = lock_words(lock, now=now(), waited_s=waited_s, history=self.again("history"))
        return HostError(words, host=self.host.name, found=status_document(lock=lock))

    def revert(self, commit: str, *, why: str, doing: str) -> RevertReply:
        """The reply to ``revert``; its steps are reported."""
        self.doing(doing)
        return self.link().request(
            "revert", commit=commit, why=why, on_event=self.on_step, doing=doing
        )

    def history(self) -> list[CommitRecord]:
        """The commits on the host, newest first."""
        return self.link().request("history", doing="reading the history")["generations"]


def status_of(reply: FactsReply) -> HostStatus:
    """The lock and the commits in a reply to ``facts``."""
    return status_from(reply["deployer"])


def now() -> datetime:
    """The time of this machine; a host's clock may differ."""
    return datetime.now(UTC)
