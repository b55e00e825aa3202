"""Before the first change: whether the services that a plan leads to would pass its verification.

A change that cannot work is not tried on clients: with an upstream on a dead port, they would get
502 until the rollback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.commit.outcome import HostReport
from deployer.text.redaction import masked

if TYPE_CHECKING:
    from deployer.commit.contact import Contact
    from deployer.model import CheckResult
    from deployer.plan.desired import DesiredState
    from deployer.plan.model import Plan
    from deployer.sites.model import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """`refusal` is the report on a plan that would fail its verification, `None` if it may begin.

    `awaited` are endpoints where nothing listens yet, but that the plan may start without declaring
    it: they must answer before a running proxy is reloaded.
    """

    refusal: HostReport | None = None
    awaited: Sequence[dict[str, object]] = ()


def preflight(contact: Contact, plan: Plan, desired: DesiredState) -> Preflight:
    """Probe the services of the sites directly, as the verification does; not those that `plan`
    starts."""
    from deployer.plan.started import endpoint_of, is_started_by, may_start_more, upstreams_of
    from deployer.verify.preflight import preflight_site

    if not desired.sites:
        return Preflight()
    contact.doing("checking the services")

    def is_asked(upstream: Upstream) -> bool:
        return not is_started_by(plan, upstream)

    failed: list[CheckResult] = []
    for site in desired.sites:
        results = preflight_site(
            site,
            dial=contact.link().open_stream,
            is_asked=is_asked,
            interrupt=contact.cancelled,
        )
        failed += [result for result in results if not result.ok]
    host = contact.host.name
    if contact.cancelled.is_set():
        words = "interrupted\nNothing was changed."
        return Preflight(refusal=HostReport(host=host, state="failed", message=words, plan=plan))
    if not failed:
        return Preflight()
    if may_start_more(plan):
        dead = {_service(result) for result in failed if _is_unreachable(result)}
        upstreams = [each for each in upstreams_of(desired.sites) if _address(str(each)) in dead]
        return Preflight(awaited=[endpoint_of(each) for each in upstreams])
    checks = contact.report_checks(masked(failed, desired.secrets))
    refusal = HostReport(
        host=host, state="failed", message=_words(checks), checks=checks, plan=plan
    )
    return Preflight(refusal=refusal)


def _service(result: CheckResult) -> str:
    """The address of the service that a check of the hop *backend* was sent to."""
    return result.target.rpartition(" at ")[2]


def _address(upstream: str) -> str:
    return upstream.rpartition("://")[2]


def _is_unreachable(result: CheckResult) -> bool:
    return result.finding is not None and result.finding.code == "service-down"


def _words(failed: Sequence[CheckResult]) -> str:
    services = list(dict.fromkeys(map(_service, failed)))
    number = "service" if len(services) == 1 else "services"
    return (
        f"preflight: the {number} on {', '.join(services)} would fail the verification, and this "
        "plan does not start or change what listens there.\n"
        "Nothing was changed and nothing was reloaded. If a service starts later, give "
        "--no-preflight."
    )
