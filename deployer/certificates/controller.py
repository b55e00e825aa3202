"""Certificates that are ordered here and sent to several hosts, during the commits of all of them.

Theory of operation. Each host's commit reaches the stage of its certificate, and requests it. The
first request starts the order; the other hosts wait for it. The CA may ask any of them, so each
challenge is first sent to every waiting host, and the CA looks only when all expected hosts are
waiting and the answer is found from outside, at every address of the name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import CertificateError
from deployer.model import Host
from deployer.plan.model import Plan
from deployer.sites import acme
from deployer.sites.model import Site

if TYPE_CHECKING:
    from deployer.certificates.acme.issuer import Issuer
    from deployer.certificates.acme.store import IssuedCertificate
    from deployer.transport import Link

#: How long hosts with earlier steps may take until they can answer challenges.
_HOSTS_PATIENCE_S = 300.0
_REACH_PATIENCE_S = 10.0
_CHALLENGES = "/.well-known/acme-challenge/"


class ControllerCertificates:
    """The certificates of one run, kept in `folder`; safe to use from the threads of all hosts."""

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None],
        cancelled: threading.Event,
        staging_first: bool,
        is_forced: bool,
    ) -> None:
        self._folder = folder
        self._say = say
        self._cancelled = cancelled
        self._staging_first = staging_first
        self.is_forced = is_forced
        self.is_strict = False
        self._issuer_made: Issuer | None = None
        self._changed = threading.Condition()
        self._waiting: dict[str, dict[str, tuple[Host, Link]]] = {}
        self._expected: dict[str, set[str]] = {}

    @property
    def _issuer(self) -> Issuer:
        from deployer.certificates.acme.issuer import Issuer

        with self._changed:
            if self._issuer_made is None:
                self._issuer_made = Issuer(
                    self._folder,
                    log=self._say,
                    cancel=self._cancelled,
                    staging_first=self._staging_first,
                )
            return self._issuer_made

    def serial(self, site: Site) -> str | None:
        """The serial number of the kept one that fits, or `None` if one must be ordered."""
        if self.is_forced:
            return None
        settings = settings_here(site)
        if site.tls.ari:
            self._issuer.ask_window(settings)
        kept = self._issuer.kept(settings)
        return kept.serial if kept else None

    def about(self, site: Site) -> dict[str, Any]:
        """The part of a certificate's status known only here: the window and the last attempt."""
        from deployer.certificates.acme.store import CertificateStore
        from deployer.text.times import rfc3339

        settings = settings_here(site)
        kept = CertificateStore(self._folder).newest(settings)
        found: dict[str, Any] = {"last_attempt": self._issuer.last_attempt(settings)}
        if kept is not None:
            found["renewal_due_at"] = rfc3339(kept.due_at)
            found["is_late"] = time.time() > kept.due_at
        if kept is not None and kept.window is not None:
            found["ari"] = [rfc3339(at) for at in kept.window]
        return found

    # --- waiting hosts ----------------------------------------------------------------------------

    def expect(self, plans: Mapping[str, Plan]) -> int:
        """Record which of the hosts to be changed will request which certificate.

        Returns how many of them will wait for one another.
        """
        with self._changed:
            self._expected.clear()
            for host, plan in plans.items():
                for change in plan.changes:
                    if change.kind == "certificate" and change.action != "no-op":
                        self._expected.setdefault(change.name, set()).add(host)
            return max(map(len, self._expected.values()), default=0)

    def gone(self, host: str) -> None:
        """`host` sends no more requests: its run has ended."""
        with self._changed:
            for hosts in self._expected.values():
                hosts.discard(host)
            self._changed.notify_all()

    def obtain(self, site: Site, host: Host, link: Link) -> IssuedCertificate:
        """The certificate of `site` for `host`, which answers challenges over `link` meanwhile.

        Raises:
            DeployerError: it cannot be had.
        """
        with self._changed:
            self._waiting.setdefault(site.domain, {})[host.name] = (host, link)
            self._changed.notify_all()
        try:
            return self._issuer.obtain(
                settings_here(site),
                answer=lambda token, text: self._answer(site, token, text),
                is_forced=self.is_forced,
            )
        finally:
            with self._changed:
                self._waiting[site.domain].pop(host.name, None)

    # --- challenges -------------------------------------------------------------------------------

    def _answer(self, site: Site, token: str, text: str | None) -> None:
        """Have every host of the site answer `token` with `text`, and check that it is found."""
        hosts = self._all_there(site.domain) if text is not None else self._now_there(site.domain)
        for _, link in hosts:
            link.tell({"challenge": {token: text}})
        if text is not None:
            self._must_be_found(site, hosts, token, text)

    def _now_there(self, domain: str) -> list[tuple[Host, Link]]:
        with self._changed:
            return list(self._waiting.get(domain, {}).values())

    def _all_there(self, domain: str) -> list[tuple[Host, Link]]:
        """The waiting hosts, once all expected ones are waiting or have failed."""
        deadline = time.monotonic() + _HOSTS_PATIENCE_S
        with self._changed:
            while self._expected.get(domain, set()) - set(self._waiting.get(domain, {})):
                if self._cancelled.is_set() or time.monotonic() > deadline:
                    break
                self._changed.wait(0.5)
            return list(self._waiting.get(domain, {}).values())

    def _must_be_found(
        self, site: Site, hosts: list[tuple[Host, Link]], token: str, text: str
    ) -> None:
        from deployer.verify.probe.http01 import Http01Challenge, http01_problem

        challenge = Http01Challenge(names=site.names, path=f"{_CHALLENGES}{token}", expect=text)
        for host, _ in hosts:
            problem = http01_problem(
                challenge,
                host_address="127.0.0.1" if host.is_local else host.hostname,
                is_public=site.tls.issuer.startswith("letsencrypt"),
                patience_s=_REACH_PATIENCE_S,
                cancelled=self._cancelled,
            )
            if problem:
                raise CertificateError(
                    f"the CA was not asked to validate, because it would fail: {problem}",
                    names=site.names,
                    kind="connection",
                    hint=f"These hosts were answering: {', '.join(each.name for each, _ in hosts)}."
                    " All hosts of the name must be changed in one run: see serial and -l.",
                )


def settings_here(site: Site) -> dict[str, Any]:
    """The settings of the order for `site` on this machine, with the paths of its files."""
    found = acme.settings_of(site, certbot="")
    dns = site.tls.dns
    if dns is not None:
        found["dns"] = acme.dns_settings(dns, credentials=dns.credentials)
    return {**found, "ca_bundle": site.tls.ca_bundle}
