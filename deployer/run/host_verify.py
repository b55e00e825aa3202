"""Verifies one host's sites with real handshakes, and explains failures from its configuration."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from deployer.commit.outcome import HostReport
from deployer.errors import AgentError, UnreachableError
from deployer.proxies import PROXIES
from deployer.text.redaction import masked
from deployer.verify import verify_site
from deployer.verify.options import Limits, ProxyAddress, PublicAccess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployer.commit.contact import Contact
    from deployer.model import CheckResult
    from deployer.plan.desired import DesiredState
    from deployer.run.host_plan import HostState
    from deployer.run.measure import Measure
    from deployer.sites.model import Site
    from deployer.verify.public.hop import PublicHop

#: How long checks that fail right after a change are retried.
_PATIENCE_S = 5.0
#: How long the host may take to find the processes behind its services.
_LOOK_S = 10.0


def verify_host(
    contact: Contact,
    desired: DesiredState,
    *,
    state: HostState,
    measure: Measure | None,
) -> HostReport:
    """Run the checks alone; report ``healthy`` or ``unhealthy``, with what `measure` adds."""
    from deployer.verify.judge.serving_proxy import proxy_checks

    public = contact.options.public
    checks = contact.report_checks(proxy_checks(desired.sites, state.listeners))
    checks += check_sites(contact, desired, public=public, facts=state.facts)
    if public is None:
        from deployer.verify.public.hop import public_skipped

        checks += contact.report_checks(public_skipped(desired.sites))
    is_healthy = all(check.ok for check in checks)
    report = HostReport(
        host=contact.host.name,
        state="healthy" if is_healthy else "unhealthy",
        message="" if checks else "no sites: nothing to verify",
        checks=checks,
        notes=state.warnings,
    )
    return report if measure is None else measure(contact, desired, report)


def check_sites(
    contact: Contact,
    desired: DesiredState,
    *,
    changed_at: float | None = None,
    public: PublicHop | None = None,
    facts: Mapping[str, object] | None = None,
) -> tuple[CheckResult, ...]:
    """Check every site; after a change, failing checks are retried for a few seconds.

    With `public`, also check through DNS from here; `facts` are then the host's. Public checks
    never decide a commit: a rollback does not fix DNS.
    """
    if not desired.sites and not desired.removed:
        return ()
    contact.doing("verifying")
    limits = Limits(
        patience_s=_PATIENCE_S if changed_at is not None else 0.0,
        changed_at=changed_at,
        interrupt=contact.cancelled,
    )
    access = None if public is None else _public_access(contact, public, facts or {})
    answering = _Answering(contact, desired.sites)
    results: list[CheckResult] = []
    for site in desired.sites:
        results += verify_site(
            site,
            dial=partial(contact.link().open_stream, proxy=PROXIES[site.proxy].unit),
            roots_pem=desired.roots.get(site.domain),
            limits=limits,
            public=access,
            on_result=lambda result: contact.checked(answering.named(result)),
        )
    if desired.removed:
        from deployer.verify.removed import verify_removed

        results += verify_removed(
            desired.removed,
            dial=contact.link().open_stream,
            limits=limits,
            proxy=ProxyAddress(),
            on_result=contact.checked,
        )
    results = [answering.named(result) for result in results]
    return tuple(masked(_explained(contact, desired, results), desired.secrets))


class _Answering:
    """The processes that answer for the services of sites, asked for at the first such result."""

    def __init__(self, contact: Contact, sites: tuple[Site, ...]) -> None:
        self._contact = contact
        self._sites = sites
        self._found: dict[str, str] | None = None

    def named(self, result: CheckResult) -> CheckResult:
        """`result` with the process that answered, if it is of the hop *backend*."""
        if result.hop != "backend" or result.skipped or " at " not in result.target:
            return result
        if self._found is None:
            self._found = self._ask()
        process = self._found.get(result.target.rpartition(" at ")[2], "")
        return replace(result, answered_by=process) if process else result

    def _ask(self) -> dict[str, str]:
        from deployer.plan.started import endpoint_of, holder_words, upstreams_of

        upstreams = upstreams_of(self._sites)
        endpoints = [endpoint_of(each) for each in upstreams]
        try:
            reply = self._contact.link().request("holders", endpoints=endpoints, timeout_s=_LOOK_S)
        except (AgentError, UnreachableError):
            return {}  # a lost connection shows in the next request
        return {
            str(upstream).rpartition("://")[2]: " and ".join(map(holder_words, found))
            for upstream, found in zip(upstreams, reply["holders"], strict=True)
        }


def _public_access(
    contact: Contact, public: PublicHop, facts: Mapping[str, object]
) -> PublicAccess:
    dial = public.dial(contact.cancelled)
    return PublicAccess(dial=dial, addresses=partial(public.addresses, contact.host, facts, dial))


def _explained(
    contact: Contact, desired: DesiredState, results: list[CheckResult]
) -> list[CheckResult]:
    """`results` with the causes of failures, as the host's own configuration shows them."""
    if all(result.ok for result in results) or contact.cancelled.is_set():
        return results
    from deployer.commit.running_proxies import explained_by_host

    contact.doing("looking for the cause")
    return explained_by_host(contact.link(), desired.sites, results)
