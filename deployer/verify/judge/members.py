"""One of several services that is down: with `health`, the others serve its clients. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from deployer.model import CheckResult
from deployer.verify.judge.attempts import Attempts
from deployer.verify.planned.model import PlannedCheck

_DOWN = frozenset({"refused", "unreachable"})


class _Ending(Protocol):
    def result(self) -> Attempts: ...


def is_replaced(
    check: PlannedCheck, attempts: Attempts, started: Iterable[tuple[PlannedCheck, _Ending]]
) -> bool:
    """Whether nothing answers at this upstream, and the same check passes at a different one."""
    route, failure = check.route, attempts.main.failure
    if check.hop != "backend" or route is None or route.health is None:
        return False
    if failure is None or failure.code not in _DOWN:
        return False
    return any(
        other.result().main.failure is None
        for each, other in started
        if each.hop == "backend" and each.kind == check.kind and each.route is route
    )


def as_warning(result: CheckResult) -> CheckResult:
    """`result` of an upstream that is down, which is reported but fails no commit."""
    finding = result.finding
    return replace(
        result,
        ok=True,
        detail=f"{result.detail}; other upstreams of the route serve its clients",
        finding=None if finding is None else replace(finding, severity="warning"),
    )
