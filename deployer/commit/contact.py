"""The way to one host during one command: its connection, who watches, and what is asked often.

The connection is made when something is first asked, and again after it was closed: a run whose
connection broke asks over a new one what became of its commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from deployer.commit.host_status import Lock, Standing, found_document, lock_words, standing_from
from deployer.errors import HostError, UsageError
from deployer.model import CheckResult, Host
from deployer.text.redaction import masked
from deployer.transport.early_links import EarlyLinks

if TYPE_CHECKING:
    from deployer.certificates.controller import ControllerCertificates
    from deployer.sites.model import Site
    from deployer.transport import ConnectOptions, Link
    from deployer.verify.public.hop import PublicHop

#: How often a host whose lock is taken is asked again.
_ASK_AGAIN_S = 0.7


class Progress(Protocol):
    """Who watches a run. Called from several threads."""

    def doing(self, host: str, what: str) -> None:
        """`host` has begun something: connecting, probing, applying, verifying…"""

    def step(self, host: str, event: Mapping[str, Any]) -> None:
        """An event of the agent's `apply` or `revert` (docs/reference/protocol.md)."""

    def checked(self, host: str, result: CheckResult) -> None:
        """A check of the verification has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says about every host of a run, which `started` in monotonic time.

    `again` makes, of a command's name and a host's, a command line for a person to enter.
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
    keep: int = 10
    staging_first: bool = True
    certificates: ControllerCertificates | None = None
    canaries: int = 5
    public: PublicHop | None = None


class Contact:
    """One host's connection. `secrets` are taken out of what `progress` is told."""

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
        """The connection, made where there is none.

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
        """What is root's alone can be neither seen nor changed by others."""
        if link.hello["uid"] != 0:
            user = self.host.user or self.options.connect(self.host).user or "a user"
            raise UsageError(
                f"{self.host.name}: logged in as {user}, who is not root",
                hint="Give --become, or set `become: true` in the play.",
            )

    def stop_orders(self) -> None:
        """Have the host end an order of a certificate that is under way, if one is."""
        if self._link is not None:
            self._link.tell({"stop": "orders"})

    def close(self) -> None:
        """Close the connection; a commit that is still pending is then reverted by the host."""
        if self._link is not None:
            self._link.close()
            self._link = None

    # --- what is told -----------------------------------------------------------------------------

    def doing(self, what: str) -> None:
        """Tell that something has begun."""
        self._progress.doing(self.host.name, what)

    def on_step(self, event: Mapping[str, Any]) -> None:
        """Tell an event of `apply` or `revert`."""
        self._progress.step(self.host.name, masked(event, self.secrets))

    def checked(self, result: CheckResult) -> None:
        """Tell a check's result."""
        self._progress.checked(self.host.name, masked(result, self.secrets))

    def report_checks(self, results: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
        """Report the results of several checks; the same without secrets."""
        for result in results:
            self.checked(result)
        return tuple(masked(results, self.secrets))

    def on_event(
        self,
        event: Mapping[str, Any],
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
        """The command line with which a person goes on with this host."""
        return self.options.again(command, self.host.name)

    # --- what is asked often ----------------------------------------------------------------------

    def facts(self, packages: Sequence[str] = (), ports: Sequence[int] = ()) -> dict[str, Any]:
        """The reply to ``facts``."""
        return self.link().request(
            "facts", packages=list(packages), ports=list(ports), doing="reading facts"
        )

    def free_facts(self, packages: Sequence[str] = (), ports: Sequence[int] = ()) -> dict[str, Any]:
        """The same once no other run is at work on the host, or within ``--lock-timeout``.

        Raises:
            HostError: another run is.
        """
        began = time.monotonic()
        while True:
            reply = self.facts(packages, ports)
            lock = standing_of(reply).lock
            if lock is None:
                return reply
            self._wait_for(lock, until=began + self.options.lock_timeout_s)

    def _wait_for(self, lock: Lock | None, *, until: float) -> None:
        """Return when the lock is free, or raise what `locked` makes of its holder."""
        while lock is not None:
            if time.monotonic() >= until:
                raise self.locked(lock, waited_s=self.options.lock_timeout_s)
            self.doing(f"waiting for {lock.owner}")
            if self.cancelled.wait(min(_ASK_AGAIN_S, max(0.05, until - time.monotonic()))):
                raise HostError(
                    f"interrupted while waiting for {lock.owner}; nothing was changed",
                    host=self.host.name,
                )
            lock = standing_of(self.facts()).lock

    def locked(self, lock: Lock, *, waited_s: float = 0.0) -> HostError:
        """The error of a run that cannot begin because another one is at work."""
        words = lock_words(lock, now=now(), waited_s=waited_s, history=self.again("history"))
        return HostError(words, host=self.host.name, found=found_document(lock=lock))

    def revert(self, commit: str, *, why: str, doing: str) -> dict[str, Any]:
        """The reply to ``revert``, its steps told on the way."""
        self.doing(doing)
        return self.link().request(
            "revert", commit=commit, why=why, on_event=self.on_step, doing=doing
        )

    def history(self) -> list[dict[str, Any]]:
        """What became of every commit, newest first."""
        reply = self.link().request("history", doing="reading the history")
        generations: list[dict[str, Any]] = reply["generations"]
        return generations


def standing_of(reply: Mapping[str, Any]) -> Standing:
    """What a reply to ``facts`` says of locks and commits."""
    return standing_from(reply["deployer"])


def now() -> datetime:
    """The time here, for ages: a host's clock may be another."""
    return datetime.now(UTC)
