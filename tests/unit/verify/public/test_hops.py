"""The third hop, through public DNS: what it is compared with, and when it is skipped."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from deployer.model import CheckResult
from deployer.verify.planned.public_checks import HostAddresses
from deployer.verify.public.dial import PublicDial
from tests.support.certificates.pki import authority, issued, server_context
from tests.support.servers.scripted import Front, Server, redirecting, websocket_service
from tests.support.verified_sites import NAME, OWN, PLAIN, a_site, findings, verified

ELSEWHERE = "127.0.0.9"
UNKNOWN = f"{'x' * 64}.invalid"  # no resolver is asked for a label that long
HOSTS = HostAddresses(own=frozenset({"127.0.0.1", ELSEWHERE}))
NOT_HOSTS = HostAddresses(own=frozenset({"127.0.0.1"}))


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    with websocket_service() as port:
        yield port


def public(results: tuple[CheckResult, ...]) -> list[CheckResult]:
    return [result for result in results if result.hop == "public"]


def seen_from_here(
    service: int,
    *,
    at: str = ELSEWHERE,
    there: dict[str, Any] | None = None,
    proxy: dict[str, Any] | None = None,
    known: HostAddresses = HOSTS,
    **site: Any,
) -> tuple[CheckResult, ...]:
    """A site without TLS whose name resolves to `at`; `there` is the proxy at ELSEWHERE, if any."""
    front = Front(backend_port=service, origins=(PLAIN,))
    with Server(replace(front, **proxy or {})) as main:
        dial = PublicDial({(NAME, main.port): at})
        settings: dict[str, Any] = {"public": dial, "addresses": lambda: known, "timeout_s": 2.0}
        made = a_site(port=service, issuer="none", **site)
        if there is None:
            return verified(made, https_port=1, http_port=main.port, **settings)
        script = replace(front, **there)
        with Server(script, port=main.port, address=ELSEWHERE):
            return verified(made, https_port=1, http_port=main.port, **settings)


@dataclass(frozen=True)
class Case:
    """The situation at the public address, and its finding; `None` for none."""

    code: str | None
    severity: str = "error"
    there: dict[str, Any] | None = None
    at: str = ELSEWHERE
    known: HostAddresses = HOSTS
    skipped: int = 0
    alternatives: list[str] = field(default_factory=list)


GONE = {"answers": "404 Not Found"}
CASES = {
    "nothing is wrong": Case(None, there={}),
    "a firewall": Case("unreachable-from-here"),
    "a different site at the host's address": Case("wrong-route", there=GONE),
    "a rule on the client's address": Case("wrong-route", there={"origins": ()}),
    "a filter loses the upgrade": Case("upgrade-not-forwarded", there={"drops_upgrade": True}),
    "something in front": Case(None, there={}, known=NOT_HOSTS),
    "something in front loses the upgrade": Case(
        "upgrade-not-forwarded",
        there={"drops_upgrade": True},
        known=NOT_HOSTS,
        alternatives=["name-elsewhere"],
    ),
    "a different machine": Case(
        "name-elsewhere", "warning", there=GONE, known=NOT_HOSTS, skipped=1,
        alternatives=["wrong-route"],
    ),
    "a different machine that is down": Case(
        "name-elsewhere", "warning", known=NOT_HOSTS, skipped=1,
        alternatives=["unreachable-from-here"],
    ),
    "a different machine in addition to the host": Case(
        "name-elsewhere", there=GONE, at=f"127.0.0.1,{ELSEWHERE}", known=NOT_HOSTS,
        alternatives=["wrong-route"],
    ),
    "another host of the run": Case(
        None, there=GONE, skipped=1, known=replace(NOT_HOSTS, others={ELSEWHERE: "web2"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_situation_has_its_finding(name: str, service: int) -> None:
    case = CASES[name]
    results = seen_from_here(service, at=case.at, there=case.there, known=case.known)
    found = [(each.code, each.hop, each.severity) for each in findings(results)]
    assert found == ([(case.code, "public", case.severity)] if case.code else []), results
    failed = [each for each in results if not each.ok]
    assert bool(failed) is (case.code is not None and case.severity == "error")
    assert sum(each.skipped for each in results) == case.skipped
    if case.code:
        (finding,) = findings(results)
        assert [other.code for other in finding.alternatives] == case.alternatives
        assert ELSEWHERE in f"{finding.symptom} {finding.cause}"


class WithoutIpv6(PublicDial):
    """Like a machine without a route to IPv6 addresses."""

    def __call__(self, **given: Any) -> Any:
        if ":" in given["host"]:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return super().__call__(**given)


def test_an_address_without_a_route_is_skipped(service: int) -> None:
    with Server(Front(backend_port=service, origins=(PLAIN,))) as main:
        results = verified(
            a_site(port=service, issuer="none"),
            https_port=1,
            http_port=main.port,
            public=WithoutIpv6({(NAME, main.port): "127.0.0.1,[2001:db8::1]"}),
            addresses=lambda: NOT_HOSTS,
        )
    assert findings(results) == []
    (skipped,) = [each for each in results if each.skipped]
    assert skipped.detail == "2001:db8::1: this machine has no route to it"


def test_a_server_in_front_of_the_host_is_reported(service: int) -> None:
    results = seen_from_here(service, there={}, known=NOT_HOSTS)
    (shaken,) = [each for each in public(results) if each.name == "handshake"]
    assert shaken.detail.endswith("by something in front of the host")
    assert shaken.target.startswith(f"/ws at {ELSEWHERE}:")
    assert shaken.handshake is not None
    assert {"connect", "upgrade", "ping"} <= set(shaken.handshake.timings_s)


def test_a_name_that_does_not_resolve_is_skipped(service: int) -> None:
    front = Front(backend_port=service, origins=("http://" + UNKNOWN,))
    with Server(front) as main:
        site = replace(a_site(port=service, issuer="none"), domain=UNKNOWN)
        results = verified(site, https_port=1, http_port=main.port, public=PublicDial())
    (name,) = public(results)
    assert (name.ok, name.skipped, name.finding) == (True, True, None)
    assert name.detail.startswith(f"{UNKNOWN} does not resolve")
    assert all(each.ok for each in results)


def test_an_alias_that_does_not_resolve_is_a_warning(service: int) -> None:
    front = Front(backend_port=service, origins=(PLAIN, "http://" + UNKNOWN))
    with Server(front) as main:
        site = replace(a_site(port=service, issuer="none"), aliases=(UNKNOWN,))
        dial = PublicDial({(NAME, main.port): "127.0.0.1"})
        results = verified(
            site, https_port=1, http_port=main.port, public=dial, addresses=lambda: NOT_HOSTS
        )
    (finding,) = findings(results)
    assert (finding.code, finding.hop, finding.severity) == ("name-unresolved", "public", "warning")
    assert all(each.ok for each in results)


def test_a_fault_at_the_proxy_is_reported_only_there(service: int) -> None:
    lossy = {"drops_upgrade": True}
    results = seen_from_here(service, there=lossy, proxy=lossy)
    assert [(each.code, each.hop) for each in findings(results)] == [
        ("upgrade-not-forwarded", "proxy")
    ]
    (shaken,) = [each for each in public(results) if each.name == "handshake"]
    assert not shaken.ok
    assert "like on the host itself" in shaken.detail


def test_certificates_at_the_public_hop(service: int, tmp_path: Path) -> None:
    right = issued(NAME, by=authority("Root"))
    wrong = issued("shop.example.com", by=authority("Root"))
    front = Front(backend_port=service, origins=(OWN,))

    def looked(shown: Any, known: HostAddresses, **there: Any) -> tuple[CheckResult, ...]:
        context, other = server_context(tmp_path, right), server_context(tmp_path, shown)
        with (
            Server(redirecting) as port_80,
            Server(front, tls=context) as main,
            Server(replace(front, **there), tls=other, port=main.port, address=ELSEWHERE),
        ):
            dial = PublicDial({(NAME, main.port): ELSEWHERE})
            return verified(
                a_site(port=service),
                https_port=main.port,
                http_port=port_80.port,
                public=dial,
                addresses=lambda: known,
            )

    assert findings(looked(right, HOSTS)) == []
    (at_host,) = findings(looked(wrong, HOSTS))
    assert (at_host.code, at_host.hop, at_host.severity) == ("tls-wrong-name", "public", "error")
    (elsewhere,) = findings(looked(wrong, NOT_HOSTS, answers="404 Not Found"))
    assert (elsewhere.code, elsewhere.severity) == ("name-elsewhere", "warning")
    # Behind NAT, no address is known; the certificate proves that it is this very host.
    (behind_nat,) = findings(looked(right, NOT_HOSTS, answers="404 Not Found"))
    assert (behind_nat.code, behind_nat.severity) == ("wrong-route", "error")
