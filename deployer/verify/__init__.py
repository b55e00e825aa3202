"""Proof that a site works: real WebSocket handshakes, through the proxy and past it.

    checks.py      Site → which checks (pure)
    handshake.py, page.py, certificate.py      one connection each → Attempt
    compare.py, causes.py, judge.py            Attempts → CheckResult with a Finding (pure)
    run.py         all of them side by side, within time limits

The package's own import is light; `websockets` and `ssl` come when a site is verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading

    from deployer.model import CheckResult
    from deployer.sites.model import Site
    from deployer.verify.net.stream import Dial
    from deployer.verify.planned.public_checks import HostAddresses
    from deployer.verify.public.dial import PublicDial

TIMEOUT_S = 10.0
PATIENCE_S = 5.0
#: How long a first message is waited for, which many services never send.
LISTEN_S = 0.3

#: Handshake, message and ping, then the comparison with the service and what is tried beside, may
#: each take a time-out.
_STEPS = 6


def verify_site(
    site: Site,
    *,
    dial: Dial,
    roots_pem: bytes | None = None,
    proxy_host: str = "127.0.0.1",
    https_port: int = 443,
    http_port: int = 80,
    timeout_s: float = TIMEOUT_S,
    patience_s: float = PATIENCE_S,
    changed_at: float | None = None,
    on_result: Callable[[CheckResult], None] | None = None,
    interrupt: threading.Event | None = None,
    public: PublicDial | None = None,
    addresses: Callable[[], HostAddresses] | None = None,
    port_in_names: bool = False,
    listen_s: float = LISTEN_S,
) -> tuple[CheckResult, ...]:
    """Every check of `site`, in the order of its routes; nothing on the host is changed.

    `dial` opens streams as seen from the host (`stream.Dial`). `roots_pem` are the roots that the
    site's certificate must lead to, `None` for this system's trust store. `timeout_s` limits each
    step of a check. After a change, that is a reload or a start at `changed_at` (`time.monotonic`;
    `None`: just now), the first half second is let pass, and a failing check is tried again until
    `patience_s` are over; 0 says that nothing was changed.
    With `public`, the site's names are looked up too, and what they lead to is checked from here;
    `addresses` tells by which the host is known, which may take look-ups itself. `port_in_names`
    where clients write the port into their URLs, because it is not the usual one. `listen_s` is how
    long a first message is waited for, where nothing is expected.
    `on_result` is called for each result in turn, from the calling thread. Once `interrupt` is set,
    all that is not finished has failed, within a fraction of a second.

    Raises: what `dial` raises of `DeployerError`, that is where the host itself is lost; whatever
    a peer does is a failed result.
    """
    import time

    from deployer.verify.net.access import Access
    from deployer.verify.net.stream import Deadline
    from deployer.verify.planned.checks import ProxyAddress, planned_checks
    from deployer.verify.public.lookup_checks import public_plan
    from deployer.verify.run import run_checks

    proxy = ProxyAddress(
        host=proxy_host, https_port=https_port, http_port=http_port, is_named=port_in_names
    )
    planned = planned_checks(site, proxy, listen_s=listen_s)
    longest_s = _longest_s(site, timeout_s=timeout_s, patience_s=patience_s)
    until = Deadline(longest_s, interrupt=interrupt)
    access = Access(dial=dial, timeout_s=timeout_s, until=until, roots_pem=roots_pem)
    port = https_port if site.has_tls else http_port
    return run_checks(
        site,
        planned,
        access,
        public=public_plan(site, planned, access, public, known=addresses, port=port)
        if public is not None
        else None,
        patience_s=patience_s,
        age_s=0.0 if changed_at is None else max(0.0, time.monotonic() - changed_at),
        on_result=on_result,
    )


def required_s(
    sites: Iterable[Site], *, timeout_s: float = TIMEOUT_S, patience_s: float = PATIENCE_S
) -> float:
    """The longest that verifying `sites` one by one can take; `verify_site` keeps to it."""
    return sum(_longest_s(site, timeout_s=timeout_s, patience_s=patience_s) for site in sites)


def _longest_s(site: Site, *, timeout_s: float, patience_s: float) -> float:
    longest_hold_s = max((check.hold_s or 0.0 for check in site.verify), default=0.0)
    return patience_s + _STEPS * timeout_s + longest_hold_s


def result_json(result: CheckResult) -> dict[str, Any]:
    """One result for ``--json``; headers that may hold a secret are left out."""
    from deployer.verify.json_output import result_json as written

    return written(result)
