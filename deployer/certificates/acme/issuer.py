"""Certificates for one run of deployer: each is ordered once, however many hosts request it.

Each host of a site has its own thread, and each requests the certificate. The first one orders;
the others wait and get the same result, even if that is an error: what a CA rejected is not
requested again in the same run.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.certificates.acme.answers import Answer
from deployer.certificates.acme.order import ORDER_LIMIT_S, order, rehearse
from deployer.certificates.acme.store import (
    CertificateStore,
    IssuedCertificate,
    Settings,
    lineage_of,
)
from deployer.errors import CertificateError, DeployerError, UsageError
from deployer.model import Document

if TYPE_CHECKING:
    from deployer.agent.certificates.directory import Directory
    from deployer.agent.certificates.ledger import Ledger

_LOOK_EVERY_S = 0.1


class Issuer:
    """Obtains certificates into `folder`; safe to use from several threads and processes.

    Args:
        folder: ``.deployer/certbot`` next to the playbook; created with mode 0700.
        log: called with each line of progress.
        cancel: ends the current order when it is set.
        limit_s: for one order, and for waiting for an order of a different process.
        staging_first: rehearse the first order from Let's Encrypt in this folder on its
            staging system, where a failure costs nothing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        log: Callable[[str], None],
        cancel: threading.Event | None = None,
        limit_s: float = ORDER_LIMIT_S,
        staging_first: bool = False,
    ) -> None:
        self._folder = folder
        self._store = CertificateStore(folder)
        self._log = log
        self._cancel = cancel or threading.Event()
        self._limit_s = limit_s
        self._staging_first = staging_first
        self._lock = threading.Lock()
        self._asked: dict[str, Future[IssuedCertificate]] = {}

    def kept(self, settings: Settings) -> IssuedCertificate | None:
        """The kept certificate that fits, for a plan; nothing is ordered.

        Raises:
            UsageError: the folder cannot be used.
        """
        return self._store.fitting(settings, time.time())

    def obtain(
        self, settings: Settings, *, answer: Answer, is_forced: bool = False
    ) -> IssuedCertificate:
        """A certificate that fits `settings`: the kept one, or a new one.

        Args:
            answer: makes all hosts of the site answer a challenge; see `order`.
            is_forced: order even if a kept one fits.

        Raises:
            CertificateError: there is none, and why.
            UsageError: the folder cannot be used, or certbot has no such DNS plugin.
        """
        name = lineage_of(settings)
        with self._lock:
            result = self._asked.get(name)
            is_first = result is None
            if result is None:
                result = self._asked[name] = Future()
        if is_first:
            try:
                result.set_result(self._obtain(settings, answer, is_forced=is_forced))
            except BaseException as error:
                result.set_exception(error)
        while True:
            with contextlib.suppress(TimeoutError):
                return result.result(_LOOK_EVERY_S)
            if self._cancel.is_set() and not result.done():
                raise _cancelled(settings)

    def _obtain(self, settings: Settings, answer: Answer, *, is_forced: bool) -> IssuedCertificate:
        if not is_forced and (found := self.kept(settings)) is not None:
            return found
        before = self._store.newest(settings)
        self._store.make()
        with self._turn(settings):
            found = self._store.newest(settings)
            # Another process may have ordered it while we waited for our turn.
            is_new = found is not None and (before is None or found.serial != before.serial)
            is_enough = found is not None and (is_new or not is_forced)
            if found is not None and is_enough and found.fits(settings, time.time()):
                return found
            return self._order(settings, answer)

    def _order(self, settings: Settings, answer: Answer) -> IssuedCertificate:
        """Order within the CA's limits, and record the result."""
        from deployer.agent.certificates.certbot.command import STAGING, rehearsal_of

        staging = STAGING.get(settings["directory"])
        self._must_be_within_budget(settings)
        self._must_be_offered(settings)
        if self._staging_first and staging and not self._has_succeeded(settings, staging):
            self._log("rehearsing on Let's Encrypt's staging system, where a failure costs nothing")
            offered = self._directory({**settings, "directory": staging}).profiles
            trial = rehearsal_of(dict(settings), staging, offered=offered)
            with self._noted(trial, success="staging-ok"):
                rehearse(
                    trial,
                    folder=self._folder,
                    answer=answer,
                    log=self._log,
                    cancel=self._cancel,
                    limit_s=self._limit_s,
                )
        with self._noted(settings, success="issued"):
            found = order(
                settings,
                folder=self._folder,
                answer=answer,
                log=self._log,
                cancel=self._cancel,
                limit_s=self._limit_s,
            )
        self._note_attempt(settings, ok=True, words=f"certificate {found.serial}")
        return found

    def _directory(self, settings: Settings) -> Directory:
        """Get the CA's directory: an error there is explained, and costs nothing."""
        from deployer.agent.certificates.directory import DirectoryError, read_directory

        try:
            return read_directory(settings["directory"], settings.get("ca_bundle"))
        except DirectoryError as error:
            raise self._refused(settings, error.words, kind=error.kind) from error

    def _must_be_offered(self, settings: Settings) -> None:
        directory = self._directory(settings)
        profile = settings.get("profile")
        if profile and profile not in directory.profiles:
            known = ", ".join(sorted(directory.profiles)) or "no profiles"
            words = f"the CA does not offer the profile {profile}; it has {known}"
            raise self._refused(settings, words, kind="profile")
        if directory.needs_eab and not settings.get("eab") and not self._has_account(settings):
            raise self._refused(
                settings,
                "the CA only accepts accounts that are bound to one of its customers",
                kind="eab",
                hint="Set `eab: {kid: …, hmac_key: …}` next to its directory.",
            )

    def _has_account(self, settings: Settings) -> bool:
        host = str(settings["directory"]).partition("://")[2].partition("/")[0]
        return (self._folder / "config" / "accounts" / host).is_dir()

    def _refused(
        self, settings: Settings, why: str, *, kind: str, hint: str = ""
    ) -> CertificateError:
        """Nothing was ordered, which is recorded as an attempt too."""
        error = CertificateError(why, names=settings["names"], kind=kind, hint=hint)
        self._note_attempt(settings, ok=False, words=why)
        return error

    # --- the CA's renewal window ----------------------------------------------------------------

    def ask_window(self, settings: Settings) -> None:
        """Ask the CA when to renew the kept certificate, as often as it allows.

        The answer is recorded, and `kept` follows it from then on. A CA without an answer, or an
        unreachable one, changes nothing.

        Raises:
            UsageError: the folder cannot be used.
        """
        from deployer.agent.certificates.directory import (
            DirectoryError,
            read_directory,
            renewal_window,
        )

        newest = self._store.newest(settings)
        if not settings.get("ari") or newest is None:
            return
        known = self._store.state(settings).get("ari") or {}
        if known.get("serial") == newest.serial and time.time() < known["ask_again_at"]:
            return
        bundle = settings.get("ca_bundle")
        try:
            directory = read_directory(settings["directory"], bundle)
        except DirectoryError:
            return  # the order reports it, if one is due
        window = renewal_window(directory, newest.leaf, bundle)
        if window is not None:
            times = {"start": window.start, "end": window.end, "ask_again_at": window.ask_again_at}
            self._store.note(settings, ari={"serial": newest.serial, **times})

    def last_attempt(self, settings: Settings) -> Document | None:
        """The result of the last order: `at` (RFC 3339), `ok`, `what` and `words`.

        `None` if there was none.

        Raises:
            UsageError: the folder cannot be used.
        """
        found: Document | None = self._store.state(settings).get("last_attempt")
        return found

    def _note_attempt(self, settings: Settings, *, ok: bool, words: str) -> None:
        at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        what = "issued" if ok else "failed"
        attempt = {"at": at, "ok": ok, "what": what, "words": words}
        self._store.note(settings, last_attempt=attempt)

    # --- the ledger -------------------------------------------------------------------------------

    def _ledger(self) -> Ledger:
        from deployer.agent.certificates.ledger import Ledger

        return Ledger(str(self._folder / "ledger.jsonl"))

    def _has_succeeded(self, settings: Settings, staging: str) -> bool:
        ledger = self._ledger()
        return ledger.has_succeeded(settings["directory"]) or ledger.has_succeeded(staging)

    def _must_be_within_budget(self, settings: Settings) -> None:
        refusal = self._ledger().refusal(dict(settings), now=time.time())
        if refusal is not None:
            why = f"not ordered: {refusal.why}"
            self._note_attempt(settings, ok=False, words=why)
            raise CertificateError(
                why, names=settings["names"], kind="rate-limited", retry_at=refusal.until
            )

    @contextlib.contextmanager
    def _noted(self, settings: Settings, *, success: str) -> Iterator[None]:
        """Record an order before it is made, and its result afterwards."""
        self._append("order", settings)
        try:
            yield
        except CertificateError as error:
            what = "rate-limited" if error.kind == "rate-limited" else "failed"
            details = {"failed_names": error.failed_names, "not_before": error.retry_at}
            self._append(what, settings, **details)
            self._note_attempt(settings, ok=False, words=error.why)
            raise
        except BaseException as error:
            self._append("failed", settings)
            words = str(error) if isinstance(error, DeployerError) else type(error).__name__
            self._note_attempt(settings, ok=False, words=words)
            raise
        self._append(success, settings)

    def _append(self, what: str, settings: Settings, **details: Any) -> None:
        names = sorted(settings["names"])
        try:
            self._ledger().append(what, directory=settings["directory"], names=names, **details)
        except OSError as error:
            raise UsageError(
                f"cannot write {self._folder / 'ledger.jsonl'}: {error.strerror or error}; "
                "no host was changed",
                hint="Without it, orders could exceed the limits of the CA.",
            ) from error

    # --- one order at a time ----------------------------------------------------------------------

    @contextlib.contextmanager
    def _turn(self, settings: Settings) -> Iterator[None]:
        """certbot allows one process per folder; the others, of any process, wait here."""
        path = self._folder / "order.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"cannot use {path}: {error.strerror or error}; no host was touched"
            ) from error
        try:
            self._wait_for(lock, settings)
            yield
        finally:
            os.close(lock)

    def _wait_for(self, lock: int, settings: Settings) -> None:
        deadline = time.monotonic() + self._limit_s
        is_logged = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not is_logged:
                    self._log("waiting for a different order on this machine to end")
                    is_logged = True
            else:
                return
            if self._cancel.wait(_LOOK_EVERY_S):
                raise _cancelled(settings)
            if time.monotonic() > deadline:
                raise CertificateError(
                    f"other orders kept {self._folder} busy for {self._limit_s:g} s",
                    names=settings["names"],
                    kind="lock",
                    hint="Wait until the other deployer has ended, then retry.",
                )


def _cancelled(settings: Settings) -> CertificateError:
    return CertificateError("the order was cancelled", names=settings["names"], kind="cancelled")
