"""The contents of a run's page, computed from the run's JSON document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from deployer.model import Document
from deployer.report.page.changes import ChangeView, changes_of
from deployer.report.page.hops import HopPicture, hops_of
from deployer.report.page.marks import Mark, mark_of, worst
from deployer.report.page.measurements import Gauge, IdleView, LoadView, idles_of, loads_of
from deployer.report.page.survival import SurvivalView, survival_of
from deployer.report.page.waterfall import Waterfall, waterfall_of
from deployer.report.page.words import milliseconds, seconds

Json = Document

#: The text and the mark for each state of a host.
_STATES: Mapping[str, tuple[str, Mark]] = {
    "unchanged": ("nothing to do", "good"),
    "planned": ("changes planned", "warn"),
    "confirmed": ("applied and confirmed", "good"),
    "reverted": ("failed and reverted", "bad"),
    "failed": ("failed, nothing changed", "bad"),
    "stranded": ("not in a known good state", "bad"),
    "unreachable": ("unreachable", "bad"),
    "invalid": ("not possible on this host", "bad"),
    "not-started": ("not started", "skip"),
    "healthy": ("healthy", "good"),
    "unhealthy": ("unhealthy", "bad"),
    "recovered": ("recovered", "good"),
    "abandoned": ("left as is", "warn"),
}
_SEVERITIES: Mapping[str, Mark] = {"error": "bad", "warning": "warn", "note": "skip"}
#: With more hosts than this, healthy ones are collapsed.
_OPEN_HOSTS = 3
#: The bar of a certificate is full from this number of remaining days on.
_FULL_DAYS = 90
_LATE_DAYS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView:
    """A finding as a card; `where` is its host and site."""

    where: str
    code: str
    mark: Mark
    severity: str
    hop: str
    symptom: str
    cause: str
    fix: str
    directive: str
    file: str
    evidence: str
    request: str
    response: str
    alternatives: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One row of the table of checks."""

    mark: Mark
    name: str
    target: str
    hop: str
    detail: str
    took: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteView:
    """A site on a host: the picture of its hops, the waterfall of handshakes, and its checks."""

    name: str
    mark: Mark
    words: str
    hops: HopPicture | None
    waterfall: Waterfall | None
    checks: tuple[CheckView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """A host with all its results."""

    name: str
    state: str
    mark: Mark
    message: str
    took: str
    generation: str
    notes: tuple[str, ...]
    sites: tuple[SiteView, ...]
    certificates: tuple[Gauge, ...]
    changes: tuple[ChangeView, ...]
    forecasts: tuple[str, ...]
    facts: tuple[str, ...]
    survival: SurvivalView | None
    idles: tuple[IdleView, ...]
    loads: tuple[LoadView, ...]
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """The whole page."""

    command: str
    headline: str
    mark: Mark
    at: str
    took: str
    exit_code: int
    error: str
    findings: tuple[FindingView, ...]
    hosts: tuple[HostView, ...]


def page_view(document: Json, *, at: datetime) -> PageView:
    """The page of `document`, a run that ended at `at`; the most severe findings come first."""
    today = at.date()
    reports = document["hosts"]
    hosts = tuple(
        _host(name, report, today=today, is_crowd=len(reports) > _OPEN_HOSTS)
        for name, report in reports.items()
    )
    order = ("bad", "warn", "skip", "good")
    findings = sorted(
        (_finding(finding, hosts=len(reports)) for finding in document["findings"]),
        key=lambda finding: order.index(finding.mark),
    )
    error = str(document.get("error", ""))
    return PageView(
        command=str(document["command"]),
        headline=_headline(hosts, error=error),
        mark="bad" if error else worst([host.mark for host in hosts]),
        at=f"{at:%Y-%m-%d %H:%M} {at:%Z}".strip(),
        took=seconds(document.get("seconds", 0.0)),
        exit_code=int(document["exit_code"]),
        error=error,
        findings=tuple(findings),
        hosts=tuple(sorted(hosts, key=lambda host: order.index(host.mark))),
    )


def _headline(hosts: Sequence[HostView], *, error: str) -> str:
    if error:
        return "No host was contacted"
    counts: dict[str, int] = {}
    for host in hosts:
        counts[host.state] = counts.get(host.state, 0) + 1
    if len(counts) == 1 and len(hosts) > 1:
        return f"All {len(hosts)} hosts: {hosts[0].state}"
    if len(hosts) == 1:
        return f"{hosts[0].name}: {hosts[0].state}"
    return ", ".join(f"{number} {state}" for state, number in counts.items())


# --- hosts ----------------------------------------------------------------------------------------


def _host(name: str, report: Json, *, today: date, is_crowd: bool) -> HostView:
    state, mark = _STATES.get(report["state"], (str(report["state"]), "skip"))
    checks = report.get("checks", ())
    sites = tuple(_sites(checks))
    if mark == "good" and any(site.mark == "warn" for site in sites):
        mark = "warn"
    generation = report.get("generation")
    return HostView(
        name=name,
        state=state,
        mark=mark,
        message=str(report.get("message", "")),
        took=seconds(report.get("seconds", 0.0)),
        generation=f"generation {generation}" if generation else "",
        notes=tuple(map(str, report.get("notes", ()))),
        sites=sites,
        certificates=tuple(_certificates(report, today=today)),
        changes=changes_of(report.get("plan", {})),
        forecasts=tuple(_effects(report.get("plan", {}))),
        facts=tuple(_facts(report)),
        survival=survival_of(report.get("canaries")),
        idles=idles_of(report.get("idle", ())),
        loads=loads_of(report.get("load", ())),
        is_open=mark in ("bad", "warn") or not is_crowd,
    )


def _effects(plan: Json) -> Iterator[str]:
    """What a plan does to open connections, and the names that it removes."""
    yield from (item["words"] for item in plan.get("forecasts", ()))
    yield from (f"removes {item['words']}" for item in plan.get("displaced", ()))
    yield from plan.get("side_effects", ())


def _facts(report: Json) -> Iterator[str]:
    for item in report.get("kept", ()):
        yield f"kept {item['path']}: {item['why']}"
    if report.get("watchdog") is False:
        yield "the host had no watchdog"


def _sites(checks: Sequence[Json]) -> Iterator[SiteView]:
    of_site: dict[str, list[Json]] = {}
    for check in checks:
        of_site.setdefault(str(check["site"]), []).append(check)
    for name, found in of_site.items():
        marks = [mark_of(check) for check in found]
        failed, skipped = marks.count("bad"), marks.count("skip")
        words = f"{failed} of {len(found)} checks failed" if failed else f"{len(found)} checks"
        yield SiteView(
            name=name,
            mark=worst(marks),
            words=words + (f", {skipped} skipped" if skipped else ""),
            hops=hops_of(found),
            waterfall=waterfall_of(found),
            checks=tuple(_check(check, mark) for check, mark in zip(found, marks, strict=True)),
        )


def _check(check: Json, mark: Mark) -> CheckView:
    return CheckView(
        mark=mark,
        name=str(check["name"]),
        target=str(check["target"]),
        hop=str(check["hop"]),
        detail=str(check["detail"]),
        took=milliseconds(check["seconds"]),
    )


# --- findings -------------------------------------------------------------------------------------


def _finding(finding: Json, *, hosts: int) -> FindingView:
    host = [str(finding["host"])] if hosts > 1 else []
    severity = str(finding.get("severity", "error"))
    return FindingView(
        where=" · ".join([*host, str(finding["site"])]),
        code=str(finding["code"]),
        mark=_SEVERITIES.get(severity, "bad"),
        severity=severity,
        hop=str(finding["hop"]),
        symptom=str(finding["symptom"]),
        cause=str(finding["cause"]),
        fix=str(finding["fix"]),
        directive=str(finding.get("directive", "")),
        file=str(finding.get("file", "")),
        evidence=str(finding.get("evidence", "")),
        request=str(finding.get("request", "")),
        response=str(finding.get("response", "")),
        alternatives=tuple(
            (str(other["code"]), str(other["tell"])) for other in finding.get("alternatives", ())
        ),
    )


# --- certificates ---------------------------------------------------------------------------------


def _certificates(report: Json, *, today: date) -> Iterator[Gauge]:
    shown: set[tuple[str, str]] = set()
    for check in report.get("checks", ()):
        until = check.get("valid_until", "")
        name = str(check["target"]).partition(" at ")[0]
        if until and (name, until) not in shown:
            shown.add((name, until))
            yield _certificate(name, str(until), today=today)
    for status in report.get("certificates", ()):
        until = str(status.get("not_after") or "")[:10]
        if until and (status["domain"], until) not in shown:
            yield _certificate(str(status["domain"]), until, today=today)


def _certificate(name: str, until: str, *, today: date) -> Gauge:
    days = (date.fromisoformat(until) - today).days
    mark: Mark = "bad" if days < 0 else "warn" if days < _LATE_DAYS else "good"
    words = "expired" if days < 0 else "expires today" if days == 0 else f"{days:,} days left"
    percent = round(max(0.0, min(100.0, 100.0 * days / _FULL_DAYS)), 1)
    return Gauge(name=name, more=f"until {until}", words=words, mark=mark, percent=percent)
