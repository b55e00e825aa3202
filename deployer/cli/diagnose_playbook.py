"""``deployer diagnose SITE.yml``: `verify`, and a diagnosis of each site from outside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import UsageError
from deployer.model import CheckResult
from deployer.text.paths import is_file

if TYPE_CHECKING:
    from deployer.commit.contact import Contact
    from deployer.commit.outcome import HostReport
    from deployer.plan.desired import DesiredState
    from deployer.verify.public.hop import PublicHop

_SUFFIXES = (".yml", ".yaml")
_STEPS = 8
#: Options that addresses and playbooks have in common.
_SHARED = (
    *("inventories", "limit", "extra_vars", "as_json", "verbose", "html", "junit"),
    *("user", "ask_pass", "become", "ask_become_pass", "accept_new"),
)
#: Option names that differ from the parameter names.
_OPTIONS = {"subprotocols": "subprotocol", "headers": "header"}


def is_playbook(text: str) -> bool:
    """Whether the argument of `diagnose` is a playbook, not an address."""
    return "://" not in text and (text.endswith(_SUFFIXES) or is_file(Path(text)))


def run_diagnose_playbook(playbook: Path, **given: Any) -> int:
    """Verify every site at every hop, and diagnose it from outside; the exit code.

    Raises: UsageError for the playbook, and for an option that requires an address.
    """
    from deployer.run.options import SessionOptions
    from deployer.run.session import Session
    from deployer.verify.public.hop import public_hop

    shared = {name: given.pop(name) for name in _SHARED}
    timeout_s, resolve = given.pop("timeout_s"), given.pop("resolve")
    of_address = sorted(name for name, value in given.items() if value)
    if of_address:
        option = _OPTIONS.get(of_address[0], of_address[0]).replace("_", "-")
        raise UsageError(
            f"--{option} requires an address, not a playbook; no host was touched",
            hint="The playbook defines the handshakes of its sites, and their hosts.",
        )
    public = public_hop(resolve)
    options = SessionOptions(connect_timeout_s=timeout_s, public=public, **shared)
    with Session("diagnose", playbook, options) as session:
        run = session.fleet.verify(_FromOutside(public, timeout_s=timeout_s))
        run = replace(run, command="diagnose")
        session.report.verified(run)
        return session.end(run, ())


class _FromOutside:
    """Adds the diagnosis from outside to the report of a host."""

    def __init__(self, public: PublicHop, *, timeout_s: float) -> None:
        self._public = public
        self._timeout_s = timeout_s

    def __call__(self, contact: Contact, desired: DesiredState, report: HostReport) -> HostReport:
        from deployer.diagnose.outside import Outside
        from deployer.diagnose.site_checks import site_checks
        from deployer.text.redaction import masked
        from deployer.verify.net.access import Access
        from deployer.verify.net.stream import Deadline

        found: list[CheckResult] = []
        for site in desired.sites:
            contact.doing(f"diagnosing {site.domain} from outside")
            dial = self._public.dial(contact.cancelled)
            until = Deadline(_STEPS * self._timeout_s, interrupt=contact.cancelled)
            access = Access(dial=dial, timeout_s=self._timeout_s, until=until)
            found += site_checks(site, Outside(access, dial))
        is_healthy = report.state == "healthy" and all(check.ok for check in found)
        return masked(
            replace(
                report,
                checks=(*report.checks, *found),
                state="healthy" if is_healthy else "unhealthy",
            ),
            desired.secrets,
        )
