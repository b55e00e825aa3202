"""A verification as Prometheus metrics for node_exporter's textfile collector. Pure.

Built from a run's JSON document. For an unreachable host ``deployer_verify_healthy`` is 0; unknown
values, such as its handshakes, are omitted and not reported as 0.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from deployer.model import Document

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    explanation: str


_HOST_UP = _Family("deployer_host_up", "Whether the host was reachable and verified.")
_HEALTHY = _Family("deployer_verify_healthy", "Whether every check of the host passed.")
_TIMESTAMP = _Family(
    "deployer_verify_timestamp_seconds", "Time of the verification, in seconds since the epoch."
)
_DURATION = _Family(
    "deployer_verify_duration_seconds", "Duration of the host's verification, in seconds."
)
_CHECKS = _Family(
    "deployer_checks", "Number of the host's checks that passed, failed or were skipped."
)
_UP = _Family("deployer_handshake_up", "Whether WebSocket handshakes succeed at this hop.")
_SECONDS = _Family(
    "deployer_handshake_seconds",
    "Duration of each phase of the last WebSocket handshake, in seconds.",
)
_NOT_AFTER = _Family(
    "deployer_certificate_not_after_seconds",
    "Start of the last day on which the served certificate is valid, in seconds since the epoch.",
)
_FINDINGS = _Family("deployer_findings", "Number of findings with this code.")

_FAMILIES = (
    *(_HOST_UP, _HEALTHY, _TIMESTAMP, _DURATION, _CHECKS),
    *(_UP, _SECONDS, _NOT_AFTER, _FINDINGS),
)
_VERIFIED = frozenset({"healthy", "unhealthy"})

_Samples = dict[_Family, dict[Labels, float]]


def metrics_of(document: Document, *, at: datetime) -> str:
    """The metrics of a verification (docs/reference/output.md) that ended at `at`."""
    samples: _Samples = {family: {} for family in _FAMILIES}
    for host, report in document["hosts"].items():
        _of_host(samples, host, report, at)
    for finding in document["findings"]:
        labels = (
            *((name, str(finding[name])) for name in ("host", "site", "hop", "code")),
            ("severity", str(finding.get("severity", "error"))),
        )
        samples[_FINDINGS][labels] = samples[_FINDINGS].get(labels, 0.0) + 1
    return "".join(line for family in _FAMILIES for line in _written(family, samples[family]))


def _of_host(samples: _Samples, host: str, report: Document, at: datetime) -> None:
    own: Labels = (("host", host),)
    is_verified = report["state"] in _VERIFIED
    samples[_HOST_UP][own] = float(is_verified)
    samples[_HEALTHY][own] = float(report["state"] == "healthy")
    samples[_TIMESTAMP][own] = round(at.timestamp(), 3)
    if not is_verified:
        return
    samples[_DURATION][own] = report["seconds"]
    checks = report.get("checks", ())
    for state in ("passed", "failed", "skipped"):
        number = sum(_state(check) == state for check in checks)
        samples[_CHECKS][(*own, ("state", state))] = float(number)
    for check in checks:
        if check["name"] == "handshake" and not check.get("skipped"):
            _of_handshake(samples, own, check)
        if check.get("valid_until"):
            day = datetime.fromisoformat(check["valid_until"]).replace(tzinfo=UTC)
            labels = (*own, ("site", check["site"]), ("name", check["target"]))
            samples[_NOT_AFTER][labels] = day.timestamp()


def _of_handshake(samples: _Samples, own: Labels, check: Document) -> None:
    """Add a handshake; an alias counts as a separate site, several addresses as their worst."""
    where, _, _ = check["target"].partition(" ")
    name, slash, path = where.partition("/")
    place: Labels = (("site", name or check["site"]), ("path", slash + path), ("hop", check["hop"]))
    labels = (*own, *place)
    samples[_UP][labels] = min(samples[_UP].get(labels, 1.0), float(check["ok"]))
    timings = (check.get("handshake") or {}).get("timings_s") or {}
    for phase, seconds in timings.items():
        phased = (*labels, ("phase", phase))
        samples[_SECONDS][phased] = max(samples[_SECONDS].get(phased, 0.0), float(seconds))


def _state(check: Document) -> str:
    if check.get("skipped"):
        return "skipped"
    return "passed" if check["ok"] else "failed"


def _written(family: _Family, samples: Mapping[Labels, float]) -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {family.name} {family.explanation}\n"
    yield f"# TYPE {family.name} gauge\n"
    for labels, value in samples.items():
        yield f"{family.name}{{{_labels(labels)}}} {_number(value)}\n"


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
