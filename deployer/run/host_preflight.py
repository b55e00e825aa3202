"""Whether the services that a plan leads to would pass its verification, before clients get there.

A change that cannot work is not tried on clients: with an upstream on a dead port, they would get
502 until the rollback. Services that the plan does not start are asked before the first change, the
others when they have been started, before a running proxy is reloaded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from deployer.commit.outcome import HostReport
from deployer.proxies import PROXIES
from deployer.text.redaction import masked

if TYPE_CHECKING:
    from deployer.commit.contact import Contact
    from deployer.model import CheckResult
    from deployer.plan.desired import DesiredState
    from deployer.plan.model import Plan
    from deployer.sites.model import Upstream

#: How long services that have existed before may fail: one may be restarting.
_PATIENCE_S = 1.5
#: The same for services that the plan has just started.
_START_PATIENCE_S = 5.0


class Preflight:
    """The services of the sites of `desired`, asked directly as the verification does."""

    def __init__(self, contact: Contact, plan: Plan, desired: DesiredState) -> None:
        self._contact = contact
        self._plan = plan
        self._desired = desired
        self._later: Collection[Upstream] = ()
        #: The failed checks after which the host did not reload its proxy.
        self.failed: tuple[CheckResult, ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether services are to be asked when the plan has started them."""
        return bool(self._later)

    def refusal(self) -> HostReport | None:
        """The report on a plan that would fail its verification; `None` if it may begin."""
        from deployer.plan.started import is_started_by, may_start_more, upstreams_of

        every = upstreams_of(self._desired.sites)
        if not every:
            return None
        started = {upstream for upstream in every if is_started_by(self._plan, upstream)}
        failed = self._failed(set(every) - started, patience_s=_PATIENCE_S)
        if self._contact.cancelled.is_set():
            return self._report("interrupted\nNothing was changed.", ())
        if failed and not may_start_more(self._plan):
            checks = self._contact.report_checks(masked(failed, self._desired.secrets))
            return self._report(_refusal_words(checks), checks)
        services = set(map(_service, failed))
        self._later = started | {each for each in every if _address(each) in services}
        return None

    def answer(self) -> None:
        """Answer the host, which asks before it reloads a proxy."""
        failed = self._failed(self._later, patience_s=_START_PATIENCE_S)
        self._later = ()
        answer: dict[str, object] = {"ok": True}
        if self._contact.cancelled.is_set():
            answer = {"error": "interrupted"}
        elif failed:
            self.failed = self._contact.report_checks(masked(failed, self._desired.secrets))
            answer = {"error": f"{_would_fail(failed)}, so the proxy is not reloaded"}
        self._contact.link().tell({"answer": answer})

    def _failed(self, asked: Collection[Upstream], *, patience_s: float) -> list[CheckResult]:
        from deployer.verify.preflight import preflight_site

        if not asked:
            return []
        self._contact.doing("checking the services")
        return [
            result
            for site in self._desired.sites
            for result in preflight_site(
                site,
                dial=partial(self._contact.link().open_stream, proxy=PROXIES[site.proxy].unit),
                is_asked=asked.__contains__,
                patience_s=patience_s,
                interrupt=self._contact.cancelled,
            )
            if not result.ok
        ]

    def _report(self, message: str, checks: tuple[CheckResult, ...]) -> HostReport:
        return HostReport(
            host=self._contact.host.name,
            state="failed",
            message=message,
            checks=checks,
            plan=self._plan,
        )


def _service(result: CheckResult) -> str:
    """The address of the service that a check of the hop *backend* was sent to."""
    return result.target.rpartition(" at ")[2]


def _address(upstream: Upstream) -> str:
    return str(upstream).rpartition("://")[2]


def _would_fail(failed: Sequence[CheckResult]) -> str:
    services = list(dict.fromkeys(map(_service, failed)))
    number = "service" if len(services) == 1 else "services"
    return f"the {number} on {', '.join(services)} would fail the verification"


def _refusal_words(failed: Sequence[CheckResult]) -> str:
    return (
        f"preflight: {_would_fail(failed)}, and this "
        "plan does not start or change what listens there.\n"
        "Nothing was changed and nothing was reloaded. If a service starts later, give "
        "--no-preflight."
    )
