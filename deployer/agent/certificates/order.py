"""One order of a certificate on this host, after all checks that are possible without an order.

A public CA allows few failed validations, so the free checks come first: the ledger, the CA's
directory, and whether a challenge would be answered, seen from outside.
"""

from __future__ import annotations

import os
import secrets
import time

from deployer.agent.certificates.certbot.command import (
    NONCE_TRIES,
    STAGING,
    certbot_argv,
    certbot_name,
    eab_lines,
    environment_for,
    rehearsal_of,
    set_accounts_aside,
)
from deployer.agent.certificates.certbot.words import Failure, explain
from deployer.agent.certificates.directory import (
    Directory,
    DirectoryError,
    read_directory,
    renewal_window,
)
from deployer.agent.certificates.ledger import Ledger
from deployer.agent.certificates.responder import PREFIX, PortTaken, Responder
from deployer.agent.certificates.versions import (
    FULLCHAIN,
    KEPT,
    PRIVKEY,
    Version,
    Versions,
    check_pair,
)
from deployer.agent.children import Children
from deployer.agent.errors import StepError
from deployer.agent.files import names_in, now_text, read_text, remove_tree, write_synced
from deployer.agent.settings import STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.agent.settings import Json


CERTBOT_FOLDER = os.path.join(STATE, "certbot")
LOGS = "/var/log/deployer/certbot"
LEDGER = os.path.join(KEPT, "ledger.jsonl")
ORDER_LIMIT_S = 600.0
_LOG_TAIL_BYTES = 1 << 16


class OrderError(StepError):
    """No certificate; `retry_at` is when a retry makes sense, in seconds since the epoch."""

    def __init__(self, message: str, output: str = "", retry_at: float | None = None) -> None:
        super().__init__(message, output)
        self.retry_at = retry_at


class Order:
    """An order for `settings`.

    `say` reports progress; `reach`, if there is a view from outside, gets names, a path and the
    text that must be there, and raises `StepError` if it is not.
    """

    def __init__(
        self,
        settings: Json,
        *,
        children: Children,
        say: Callable[[str], None],
        reach: Callable[[list[str], str, str], None] | None = None,
        staging_first: bool = False,
    ) -> None:
        self._settings = settings
        self._children = children
        self._say = say
        self._reach = reach
        self._staging_first = staging_first
        self._ledger = Ledger(LEDGER)
        self._names = ", ".join(settings["names"])

    def run(self) -> Version:
        """The new version, stored but not in use yet.

        Raises:
            OrderError: it failed.
            Gone: the controller disconnected.
        """
        settings = self._settings
        self._within_budget()
        directory = self._directory(settings["directory"])
        self._must_offer(directory)
        if settings["challenge"] == "http-01":
            self._must_be_reachable()
        staging = STAGING.get(settings["directory"])
        if self._staging_first and staging and not self._has_succeeded(staging):
            self._rehearse(staging)
        self._say(f"asking {self._ca} for a certificate for {self._names}")
        self._order(settings)
        version = import_lineage(settings)
        note_window(settings, version, directory)
        return version

    @property
    def _ca(self) -> str:
        words = {"letsencrypt": "Let's Encrypt", "letsencrypt-staging": "Let's Encrypt (staging)"}
        return words.get(self._settings["issuer"], str(self._settings["directory"]))

    # --- before the CA is asked -------------------------------------------------------------------

    def _within_budget(self) -> None:
        refusal = self._ledger.refusal(self._settings, now=time.time())
        if refusal is not None:
            raise OrderError(
                f"no certificate for {self._names} was ordered: {refusal.why}",
                retry_at=refusal.until,
            )

    def _directory(self, url: str) -> Directory:
        try:
            return read_directory(url, self._settings.get("ca_bundle"))
        except DirectoryError as error:
            raise OrderError(f"no certificate for {self._names} was ordered: {error}") from None

    def _must_offer(self, directory: Directory) -> None:
        profile = self._settings.get("profile")
        if profile and profile not in directory.profiles:
            known = ", ".join(sorted(directory.profiles)) or "no profiles at all"
            raise OrderError(f"{self._ca} does not offer the profile {profile}; it has {known}")
        if directory.needs_eab and not self._settings.get("eab") and not self._has_account():
            raise OrderError(
                f"{self._ca} serves only accounts that are bound to one of its customers: "
                "give `eab: {kid: …, hmac_key: …}` next to its directory"
            )

    def _has_account(self) -> bool:
        accounts = os.path.join(CERTBOT_FOLDER, "config", "accounts")
        host = self._settings["directory"].partition("://")[2].partition("/")[0]
        return host in names_in(accounts)

    def _must_be_reachable(self) -> None:
        """Have each name requested from outside, for a secret word."""
        token, word = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        port = self._settings["challenge_port"]
        try:
            with Responder(port, {token: word}):
                if self._reach is None:
                    return
                self._say(f"looking from outside whether {self._names} would answer a challenge")
                self._reach(list(self._settings["names"]), PREFIX + token, word)
        except PortTaken as error:
            holder = who_listens(port)
            by = f" by {holder}" if holder else ""
            raise OrderError(
                f"challenges cannot be answered: {error}{by}, and certbot answers there: stop "
                "that, or let it listen elsewhere"
            ) from None

    def _has_succeeded(self, staging: str) -> bool:
        """Whether this host has ever answered a challenge of the CA, or of its test system."""
        return any(map(self._ledger.has_succeeded, (staging, self._settings["directory"])))

    def _rehearse(self, staging: str) -> None:
        """Rehearse the first order of this host with the CA's test system."""
        self._say("rehearsing with Let's Encrypt's staging first, where a failure costs nothing")
        offered = self._directory(staging).profiles
        self._order(rehearsal_of(self._settings, staging, offered=offered), dry_run=True)

    # --- the order --------------------------------------------------------------------------------

    def _order(self, settings: Json, *, dry_run: bool = False) -> None:
        for folder in (os.path.dirname(LOGS), LOGS, CERTBOT_FOLDER):
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)
        failure = self._run_certbot(settings, dry_run=dry_run)
        is_unknown = failure is not None and failure.kind == "account-gone"
        if is_unknown and set_accounts_aside(CERTBOT_FOLDER, settings["directory"]):
            self._say(f"{self._ca} does not know our account any more; making a new one")
            failure = self._run_certbot(settings, dry_run=dry_run)
        for _ in range(NONCE_TRIES - 1):
            if failure is None or failure.kind != "bad-nonce":
                break
            self._say(f"{self._ca} has lost count of its nonces; asking once more")
            failure = self._run_certbot(settings, dry_run=dry_run)
        if failure is None:
            return
        where = "the rehearsal with staging failed" if dry_run else "no certificate"
        raise OrderError(f"{where} for {self._names}: {failure.words}", retry_at=failure.retry_at)

    def _run_certbot(self, settings: Json, *, dry_run: bool) -> Failure | None:
        """One run of certbot, recorded in the ledger; returns its failure, if any."""
        about = {"directory": settings["directory"], "names": sorted(settings["names"])}
        secrets_file = self._secrets_file(settings)
        before = {each.serial for each in Versions(settings["domain"]).all()}
        self._ledger.append("order", **about)
        try:
            code, output = self._children.run(
                certbot_argv(
                    settings,
                    folder=CERTBOT_FOLDER,
                    logs=LOGS,
                    secrets_file=secrets_file,
                    dry_run=dry_run,
                ),
                limit_s=ORDER_LIMIT_S,
                environment=environment_for(settings),
            )
        except StepError as error:
            self._ledger.append("failed", failed_names=[], **about)
            raise OrderError(f"no certificate for {self._names}: {error.message}") from None
        finally:
            if secrets_file:
                remove_tree(secrets_file)
        if code == 0 or (not dry_run and _has_new(settings, before)):
            self._ledger.append("staging-ok" if dry_run else "issued", **about)
            return None
        failure = explain(output, _log_tail(), settings=settings)
        what = "rate-limited" if failure.kind == "rate-limited" else "failed"
        self._ledger.append(
            what, failed_names=failure.failed_names, not_before=failure.retry_at, **about
        )
        return failure

    def _secrets_file(self, settings: Json) -> str | None:
        text = eab_lines(settings)
        if not text:
            return None
        path = os.path.join(
            CERTBOT_FOLDER, "secrets.ini"
        )  # always the same name, to replace an incomplete one
        write_synced(path, text.encode())
        return path


def _has_new(settings: Json, before: set[str]) -> bool:
    """Whether certbot obtained the certificate although it failed.

    That happens if it cannot read an address that a CA repeats as the common name.
    """
    try:
        version = import_lineage(settings)
    except StepError:
        return False
    return version.serial not in before and version.is_for(settings)


def import_lineage(settings: Json) -> Version:
    """Store certbot's certificate for `settings` as a version.

    Raises:
        OrderError: it is incomplete.
    """
    live = os.path.join(CERTBOT_FOLDER, "config", "live", certbot_name(settings))
    try:
        check_pair(live)
        with open(os.path.join(live, FULLCHAIN), "rb") as file:
            fullchain = file.read()
        with open(os.path.join(live, PRIVKEY), "rb") as file:
            privkey = file.read()
    except (OSError, ValueError) as error:
        raise OrderError(f"certbot has left no whole certificate in {live}: {error}") from None
    about = {"directory": settings["directory"], "profile": settings.get("profile")}
    return Versions(settings["domain"]).add(fullchain, privkey, {**about, "at": now_text()})


def note_window(settings: Json, version: Version, directory: Directory) -> None:
    """Record when the CA suggests to renew `version`, if it does."""
    if not settings.get("ari"):
        return
    window = renewal_window(directory, version.certificate, settings.get("ca_bundle"))
    if window is not None:
        times = {"start": window.start, "end": window.end, "ask_again_at": window.ask_again_at}
        Versions(settings["domain"]).note(ari={"serial": version.serial, **times})


def kept_version(settings: Json, now: float) -> Version | None:
    """A suitable version, also one that certbot obtained just before an interruption."""
    versions = Versions(settings["domain"])
    found = versions.fitting(settings, now)
    if found is None:
        try:
            import_lineage(settings)
        except StepError:
            return None
        found = versions.fitting(settings, now)
    return found


def _log_tail() -> str:
    return read_text(os.path.join(LOGS, "letsencrypt.log"))[-_LOG_TAIL_BYTES:]


def who_listens(port: int) -> str:
    """The program that listens on a TCP port of loopback, with its PID; empty if unknown."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read_text(table).splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                inodes.add(f"socket:[{fields[9]}]")
    for pid in filter(str.isdigit, names_in("/proc")):
        for name in names_in(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{name}") in inodes:
                    return f"{read_text(f'/proc/{pid}/comm').strip()} (process {pid})"
            except OSError:
                continue
    return ""
