"""Results for an address that no running proxy of the host serves."""

from __future__ import annotations

from deployer.diagnose.inside import Inside
from deployer.diagnose.merge import merge_results
from deployer.model import Alternative, CheckResult, Finding
from deployer.proxies.inspect import Inspection
from deployer.verify.net.address import parse_address

_ADDRESS = parse_address("wss://chat.example.com:8443/ws")


def _result(name: str, finding: Finding) -> CheckResult:
    return CheckResult(
        site="chat.example.com",
        name=name,
        target="/ws",
        hop=finding.hop,
        ok=finding.severity != "error",
        finding=finding,
    )


def _finding(code: str, *or_else: str, severity: str = "error") -> Finding:
    others = tuple(Alternative(code=other, tell="look at the host") for other in or_else)
    return Finding(
        code=code,
        hop="proxy",
        symptom="nothing listens",
        cause="?",
        fix="?",
        severity=severity,  # type: ignore[arg-type]
        alternatives=others,
    )


def _codes(outside: Finding, inside: Finding) -> list[str]:
    merged = merge_results(
        [_result("handshake", outside)],
        Inside(checks=(_result("configuration", inside),)),
        _ADDRESS,
        Inspection(),
    )
    return [each.finding.code for each in merged if each.finding is not None]


def test_a_guess_from_outside_is_dropped_if_the_host_shows_the_cause() -> None:
    guess = _finding("proxy-down", "reload-not-taken", "unreachable-from-here")
    assert _codes(guess, _finding("reload-not-taken")) == ["reload-not-taken"]
    assert _codes(_finding("proxy-down"), _finding("proxy-down")) == ["proxy-down"]


def test_an_unrelated_fault_of_the_host_drops_nothing() -> None:
    guess = _finding("proxy-down", "unreachable-from-here")
    other = _finding("drain-uncapped", severity="warning")
    assert _codes(guess, other) == ["proxy-down", "drain-uncapped"]
    assert _codes(guess, _finding("map-missing")) == ["proxy-down", "map-missing"]
