"""Settings of a route's upstreams: their health."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from deployer.model import Value
from deployer.playbook.schema.models import Check, Misplaced, Strict, field
from deployer.playbook.schema.types import Duration, RequestPath
from deployer.playbook.schema.values import InvalidValue
from deployer.sites.model import FAILURES


def _fails(value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise InvalidValue(value, "a number of failures", "write a number from 1 to 100")
    return value


def _statuses(value: Value) -> tuple[int, ...]:
    given = value if isinstance(value, list) else [value]
    for each in given:
        if isinstance(each, bool) or each not in FAILURES:
            known = ", ".join(map(str, FAILURES))
            raise InvalidValue(each, "a status of a failure", f"these are: {known}")
    return tuple(sorted({int(str(each)) for each in given}))


class HealthModel(Strict):
    """When an upstream of several counts as down, and gets no clients."""

    fails: Annotated[int, Check(_fails, type="integer", minimum=1, maximum=100)] = field(
        1, description="After how many failures in a row."
    )
    pause: Duration = field(1.0, description="For how long, until it is tried again.")
    statuses: Annotated[
        tuple[int, ...],
        Check(
            _statuses,
            anyOf=[{"enum": list(FAILURES)}, {"type": "array", "items": {"enum": list(FAILURES)}}],
        ),
    ] = field((), description="Answers that are failures too: 500, 502, 503, 504.")
    path: RequestPath | None = field(
        None, description="A path of the service that is requested to check it: 2xx or 3xx is well."
    )
    interval: Duration = field(2.0, description="path: how often it is requested.")

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if "path" not in node and "interval" in node:
            yield Misplaced("interval", "'interval' requires 'path', which is requested")
        if "path" in node and "pause" in node:
            hint = "remove it: an upstream is tried again when it passes a check"
            yield Misplaced("pause", "'pause' has no effect with 'path'", hint)
