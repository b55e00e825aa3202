"""Renewals on this host, for years and without a controller.

Theory of operation
===================

Twice a day a systemd timer starts a `Renewal`. It takes the lock of applies, so nothing else
changes the host, and waits if a commit is unconfirmed. Then, in order:

1. An interrupted renewal is completed.
2. For each certificate that is due, one is ordered and stored as a new version.
3. The proxy is pointed to all new versions, its configuration is tested, and it is reloaded once.
4. A TLS handshake on loopback must show each new serial number. If it does not, or if the test or
   the reload failed, the former version is restored, and the proxy is reloaded again.
5. The result is recorded for `deployer certs status`, and logged.

From before the first change in 3 to after the last in 4, a marker on the disk names the version
that was used before: the next run, or the next boot, completes an interrupted renewal. A
certificate that was obtained but not served is tried again, not ordered again.
"""

from __future__ import annotations

import json
import os
import time

from deployer.agent.certificates.directory import DirectoryError, read_directory
from deployer.agent.certificates.order import Order, OrderError, kept_version, note_window
from deployer.agent.certificates.served import wait_until_served
from deployer.agent.certificates.versions import KEPT, Version, Versions, all_settings, due_at
from deployer.agent.children import Children
from deployer.agent.commit.handlers import run_handler
from deployer.agent.commit.state_folder import StateFolder
from deployer.agent.errors import Refusal, StepError
from deployer.agent.files import now_text, read_json, remove_tree, sync_folder, write_synced
from deployer.agent.proxies import readiness
from deployer.agent.services import Systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deployer.agent.settings import Json


MARKER = os.path.join(KEPT, "in-progress.json")
LOCK_PATIENCE_S = 900.0


class Renewal:
    """One run, for some `domains` or all. `say` reports progress.

    `children` reload proxies; `of_orders`, which may be interrupted, run certbot.
    """

    def __init__(
        self,
        *,
        children: Children,
        say: Callable[[str], None],
        of_orders: Children | None = None,
        reach: Callable[[list[str], str, str], None] | None = None,
        domains: set[str] | None = None,
        is_forced: bool = False,
        staging_first: bool = False,
    ) -> None:
        self._domains = domains
        self._children = children
        self._of_orders = of_orders or children
        self._say = say
        self._reach = reach
        self._is_forced = is_forced
        self._staging_first = staging_first
        self._failed: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Renew what is due, or everything if forced; returns the failures: domain → reason.

        The caller holds the lock.
        """
        self._finish_interrupted()
        changed: list[tuple[Json, Version]] = []
        for settings in self._mine():
            try:
                version = self._new_version(settings)
            except StepError as error:
                self._note_failure(settings, error.message)
                continue
            if version is not None:
                changed.append((settings, version))
        if changed:
            self._deploy(changed)
        for settings in all_settings():
            Versions(settings["domain"]).prune()
        return self._failed

    def _mine(self) -> list[Json]:
        """The certificates of this run, without those that a controller orders."""
        return [
            each
            for each in all_settings()
            if each["where"] == "host"
            and (self._domains is None or each["domain"] in self._domains)
        ]

    # --- 2. new versions --------------------------------------------------------------------------

    def _new_version(self, settings: Json) -> Version | None:
        """The version that the proxy should use, or `None` if nothing has to change."""
        versions, now = Versions(settings["domain"]), time.time()
        self._ask_window(settings, versions)
        current = versions.current()
        unused = _unused(settings, versions, current, now)
        if unused is not None:
            self._say(f"{settings['domain']}: {unused.serial} was got before, and not put to use")
            return unused
        is_right = current is not None and current.is_for(settings)
        if current is not None and is_right and not self._is_forced:
            at = due_at(current.certificate, versions.state())
            if now < at:
                self._say(f"{settings['domain']}: not due before {_time(at)}")
                return None
        if not self._is_forced:
            kept = kept_version(settings, now)
            if kept is not None:
                self._say(f"{settings['domain']}: a certificate is here already, {kept.serial}")
                return kept
        order = Order(
            settings,
            children=self._of_orders,
            say=lambda words: self._say(f"{settings['domain']}: {words}"),
            reach=self._reach,
            staging_first=self._staging_first,
        )
        return order.run()

    def _ask_window(self, settings: Json, versions: Versions) -> None:
        """Ask the CA when to renew the certificate, as often as it allows."""
        current, known = versions.current(), versions.state().get("ari") or {}
        if not settings.get("ari"):
            if known:  # not asked any more: the lifetime decides
                versions.note(ari=None)
            return
        if current is None:
            return
        if known.get("serial") == current.serial and time.time() < known["ask_again_at"]:
            return
        try:
            directory = read_directory(settings["directory"], settings.get("ca_bundle"))
        except DirectoryError:
            return  # a due order will report it
        note_window(settings, current, directory)

    # --- 3. and 4. in use -------------------------------------------------------------------------

    def _deploy(self, changed: list[tuple[Json, Version]], left: Json | None = None) -> None:
        """Let the proxy use new versions; `left` is the marker of an interrupted run."""
        former: Json = {}
        for settings, version in changed:
            before = Versions(settings["domain"]).current()
            about = {"former": before.folder if before else None, "new": version.folder}
            former[settings["domain"]] = (left or {}).get(settings["domain"], about)
        write_synced(MARKER, json.dumps(former).encode())
        sync_folder(KEPT)
        for settings, version in changed:
            Versions(settings["domain"]).use(version)
        problem = self._reload(settings for settings, _ in changed)
        for settings, version in changed:
            domain = settings["domain"]
            port = settings.get("port", 443)
            why = problem or wait_until_served(domain, version.serial, port=port)
            if why:
                self._note_failure(settings, f"the new certificate is not in use: {why}")
                Versions(domain).note(unused=version.serial)
            else:
                words = f"{version.serial} is served, until {_time(version.certificate.not_after)}"
                self._say(f"{domain}: {words}")
                noted = attempt(ok=True, what="renewed", words=words)
                Versions(domain).note(last_attempt=noted, unused=None)
        self._put_back({name: former[name] for name in former if name in self._failed}, changed)
        remove_tree(MARKER)

    def _reload(self, of: Any) -> str:
        """Test and reload each proxy that reads the certificates; returns the problem, if any."""
        for unit, test in sorted({(s["unit"], tuple(s["config_test"])) for s in of}):
            handler = {
                "name": f"reload {unit}",
                "action": "reload",
                "unit": unit,
                "argv": [],
                "config_test": list(test),
                "because": [],
            }
            try:
                systemd = Systemd(self._children)
                if not systemd.active(unit):
                    return f"{unit} does not run"
                code, output = self._children.run(list(test))
                if code != 0:
                    last = output.strip().splitlines()[-3:]
                    return f"{' '.join(test)} refuses the configuration: {' '.join(last)}"
                readiness.check(self._children, unit, "reload", self._say)
                self._say(f"reloading {unit}")
                run_handler(self._children, handler)
            except StepError as error:
                return f"{error.message} {error.output}".strip()
        return ""

    def _put_back(self, failed: Json, changed: list[tuple[Json, Version]]) -> None:
        """Restore the former versions of those that are not in use."""
        if not failed:
            return
        for domain, about in failed.items():
            if about["former"]:
                Versions(domain).use(Version(about["former"]))
        self._say(f"{', '.join(failed)}: the former certificate is in its place again")
        problem = self._reload(s for s, _ in changed if s["domain"] in failed)
        if problem:
            self._say(f"and the proxy was not reloaded: {problem}")

    # --- 1. what was interrupted ------------------------------------------------------------------

    def _finish_interrupted(self) -> None:
        left = read_json(MARKER)
        if left is None:
            remove_tree(MARKER)
            return
        self._say(f"a renewal was cut off: looking after {', '.join(left)}")
        settings = {each["domain"]: each for each in all_settings()}
        unfinished = []
        for domain, about in left.items():
            if domain in settings and os.path.isdir(about["new"]):
                unfinished.append((settings[domain], Version(about["new"])))
        if unfinished:
            self._deploy(unfinished, left)
        remove_tree(MARKER)

    # --- words ------------------------------------------------------------------------------------

    def _note_failure(self, settings: Json, words: str) -> None:
        domain = settings["domain"]
        self._failed[domain] = words
        self._say(f"{domain}: {words}")
        Versions(domain).note(last_attempt=attempt(ok=False, what="failed", words=words))


def _unused(
    settings: Json, versions: Versions, current: Version | None, now: float
) -> Version | None:
    """A version that an earlier run had to withdraw, if it is newer than the one in use."""
    serial = versions.state().get("unused")
    if serial is None or current is None:
        return None
    for version in versions.all():
        is_newer = version.certificate.not_before > current.certificate.not_before
        is_fresh = is_newer and now < due_at(version.certificate, versions.state())
        if version.serial == serial and is_fresh and version.is_for(settings):
            return version
    return None


def attempt(*, ok: bool, what: str, words: str) -> Json:
    return {"at": now_text(), "ok": ok, "what": what, "words": words}


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


class Locked:
    """The lock of applies, while no commit is unfinished; a context manager.

    `say` reports once what it waits for.
    """

    def __init__(self, state: StateFolder, *, patience_s: float, say: Any) -> None:
        self._state = state
        self._patience_s = patience_s
        self._say = say

    def __enter__(self) -> None:
        """Raises: OrderError: the host is not free within the time."""
        deadline = time.monotonic() + self._patience_s
        is_told = False
        while True:
            why = self._try()
            if not why:
                return
            if time.monotonic() >= deadline:
                raise OrderError(f"{why}; nothing was renewed, the next run tries again")
            if not is_told:
                self._say(f"waiting: {why}")
                is_told = True
            time.sleep(min(1.0, max(0.05, deadline - time.monotonic())))

    def __exit__(self, *about: Any) -> None:
        self._state.unlock()

    def _try(self) -> str:
        """Take the lock, or return why that is impossible."""
        try:
            self._state.make()
            self._state.lock({"who": "a renewal of certificates", "from": os.uname().nodename})
        except Refusal as refusal:
            return str(refusal.reply["message"])
        going = self._state.under_way()
        if going is None:
            return ""
        self._state.unlock()
        return "the commit {commit} of {who} from {from} is neither confirmed nor reverted".format(
            **going
        )
