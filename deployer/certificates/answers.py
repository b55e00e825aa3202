"""The controller's answers to a host's questions about certificates during its apply."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

from deployer.errors import DeployerError
from deployer.model import Document, Host
from deployer.sites.certificate_files import is_acme
from deployer.sites.model import Site

if TYPE_CHECKING:
    from deployer.certificates.controller import ControllerCertificates
    from deployer.transport import Link

#: How long a name may take to reach a proxy that was just reloaded.
_REACH_PATIENCE_S = 5.0


class Answers:
    """The answers for one host; `sites` are those that it serves."""

    def __init__(
        self,
        host: Host,
        link: Link,
        *,
        sites: Sequence[Site],
        certificates: ControllerCertificates | None,
        cancelled: Event,
    ) -> None:
        self._certificates = certificates
        self._host = host
        self._link = link
        self._sites = sites
        self._cancelled = cancelled

    def answer(self, challenge: Document) -> None:
        """Answer over the connection; an error is an answer too."""
        try:
            found = self._found(challenge)
        except DeployerError as error:
            found = {"error": str(error).removeprefix(f"{self._host.name}: ")}
        self._link.tell({"answer": found})

    def _found(self, challenge: Document) -> dict[str, object]:
        if "reach" in challenge:
            return self._reach(challenge)
        if "obtain" in challenge:
            return self._obtain(str(challenge["obtain"]))
        return {"error": "this version of the controller does not know the question"}

    def _obtain(self, domain: str) -> dict[str, object]:
        site = next((site for site in self._sites if site.domain == domain), None)
        if site is None or self._certificates is None:
            return {"error": f"the controller knows no certificate for {domain}"}
        issued = self._certificates.obtain(site, self._host, self._link)
        return {
            "fullchain_b64": base64.b64encode(issued.fullchain_pem).decode(),
            "privkey_b64": base64.b64encode(issued.key_pem).decode(),
        }

    def _reach(self, challenge: Document) -> dict[str, object]:
        from deployer.verify.probe.http01 import Http01Challenge, http01_problem

        names = tuple(challenge["reach"])
        issuers = {
            site.tls.issuer for site in self._sites if is_acme(site) and site.domain in names
        }
        problem = http01_problem(
            Http01Challenge(names=names, path=challenge["path"], expect=challenge["expect"]),
            host_address="127.0.0.1" if self._host.is_local else self._host.hostname,
            is_public=any(issuer.startswith("letsencrypt") for issuer in issuers),
            patience_s=_REACH_PATIENCE_S,
            cancelled=self._cancelled,
        )
        if problem:
            return {"error": f"the CA was not asked, because it would fail: {problem}"}
        return {"ok": True}
