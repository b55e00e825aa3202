"""``verify --watch``: the checks at regular intervals; only changes are reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import EXIT_INTERRUPTED, UsageError
from deployer.model import Document
from deployer.text.times import span

if TYPE_CHECKING:
    from deployer.run.session import Session

_WELL = "ok"
_SKIPPED = "skipped"
#: For a check without its own finding: the finding of another check has the reason.
_FAILED = "failed"
_LEAST_S, _MOST_S = 1.0, 86400.0

#: What identifies a check on its host: site, name, target and hop.
_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a host, or of one of its checks, since the previous round.

    `was` and `now` are the states of the host, or for a check ``ok``, ``skipped`` or the code of
    its finding; `was` is empty for a new one. The former state `lasted` that long. `words` describe
    the current state, `advice` the cause and the fix.
    """

    host: str
    was: str
    now: str
    words: str
    check: Document | None = None
    lasted: timedelta | None = None
    advice: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether the current state is a good one."""
        return self.now in (_WELL, _SKIPPED, "healthy")


@dataclass(slots=True)
class Known:
    """The last known state of every host. An unreachable host keeps its checks."""

    _hosts: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    _checks: dict[str, dict[_Key, tuple[str, datetime]]] = field(default_factory=dict)

    def learn(self, document: Document, *, at: datetime) -> list[Change]:
        """The changes in `document`, the result of a verification at `at`."""
        found: list[Change] = []
        for host, report in document["hosts"].items():
            found += self._of_host(host, report, at)
            if report.get("checks"):
                found += self._of_checks(host, report["checks"], at)
        return found

    def _of_host(self, host: str, report: Document, at: datetime) -> Iterator[Change]:
        was, since = self._hosts.get(host, ("", at))
        now = report["state"]
        if now == was:
            return
        self._hosts[host] = (now, at)
        words = report["message"].splitlines()[0] if report["message"] else _counted(report)
        yield Change(host=host, was=was, now=now, words=words, lasted=_lasted(was, at - since))

    def _of_checks(self, host: str, checks: list[Document], at: datetime) -> Iterator[Change]:
        before = self._checks.get(host, {})
        known: dict[_Key, tuple[str, datetime]] = {}
        for check in checks:
            key = (check["site"], check["name"], check["target"], check["hop"])
            was, since = before.get(key, ("", at))
            now = _state(check)
            known[key] = (now, at if was != now else since)
            if was == now or (not was and now in (_WELL, _SKIPPED)):
                continue
            finding = check["finding"] or {}
            advice = [f"{word}: {finding[word]}" for word in ("cause", "fix") if finding.get(word)]
            yield Change(
                host=host,
                was=was,
                now=now,
                check=check,
                words=finding.get("symptom") or check["detail"],
                lasted=_lasted(was, at - since),
                advice=tuple(advice),
            )
        self._checks[host] = known


def _lasted(was: str, time: timedelta) -> timedelta | None:
    return time if was else None


def _state(check: Document) -> str:
    if check.get("skipped"):
        return _SKIPPED
    finding = check["finding"]
    if finding and finding.get("severity") != "note":
        return str(finding["code"])
    return _WELL if check["ok"] else _FAILED


def _counted(report: Document) -> str:
    checks = report.get("checks", ())
    failed = sum(not check["ok"] for check in checks)
    number = "1 check" if len(checks) == 1 else f"{len(checks)} checks"
    return f"{failed} of {number} failed" if failed else f"{number} passed"


# --- words and JSON -------------------------------------------------------------------------------


def change_words(change: Change) -> str:
    """``✗ ws.example.com/ws  handshake (proxy): …  [bad-gateway]``, or the state of a host."""
    lasted = (
        f"; for {span(change.lasted)} before: {change.was}" if change.lasted is not None else ""
    )
    mark = "–" if change.now == _SKIPPED else "✓" if change.is_well else "✗"
    if change.check is None:
        return f"{mark} {change.now}: {change.words}{lasted}"
    check = change.check
    place = check["target"]
    place = f"{check['site']}{place}" if place.startswith("/") else place
    code = "" if change.is_well or change.now == _FAILED else f"  [{change.now}]"
    return f"{mark} {place}  {check['name']} ({check['hop']}): {change.words}{code}{lasted}"


def change_json(change: Change) -> dict[str, object]:
    """A change as an entry of ``changes`` in ``--json``."""
    check = change.check
    return {
        "host": change.host,
        **({} if check is None else {key: check[key] for key in ("site", "name", "target", "hop")}),
        "was": change.was or None,
        "now": change.now,
        "words": change.words,
        "lasted_s": None if change.lasted is None else round(change.lasted.total_seconds(), 1),
    }


def watched(
    open_session: Callable[..., Session],
    playbook: Path,
    *,
    every: str,
    is_measured: bool,
    **given: Any,
) -> int:
    """Verify at the interval of ``--watch``; the exit code of the last complete round.

    Raises: UsageError if `every` is not a time, or a measurement is requested, too.
    """
    every_s = _every_s(every)
    if is_measured:
        raise UsageError("--watch cannot be combined with --idle or --load; no host was touched")
    with open_session("verify", playbook, is_quiet=True, **given) as session:
        return watch(session, every_s=every_s)


def _every_s(text: str) -> float:
    from deployer.playbook.schema.values import InvalidValue, duration_s

    try:
        seconds = duration_s(text)
    except InvalidValue as error:
        raise UsageError(f"--watch {text}: {error}; no host was touched") from None
    if not _LEAST_S <= seconds <= _MOST_S:
        raise UsageError(f"--watch {text}: must be between 1s and 1d; no host was touched")
    return seconds


def watch(session: Session, *, every_s: float) -> int:
    """Verify every `every_s` seconds until Ctrl-C; the exit code of the last complete round."""
    from deployer.report.document import run_document

    known = Known()
    code = EXIT_INTERRUPTED
    try:
        with closing(session.fleet.verify_rounds(every_s)) as rounds:
            for run in rounds:
                if run.interrupted:
                    break
                at = datetime.now().astimezone()
                document = run_document(run)
                changes = known.learn(document, at=at)
                code = session.end_round(run.exit_code, document, at=at)
                _report(session, document, changes, at)
    except KeyboardInterrupt:
        pass
    session.output.close()
    return code


def _report(session: Session, document: Document, changes: list[Change], at: datetime) -> None:
    for change in changes:
        style = "good" if change.is_well else "bad"
        text = f"{at:%H:%M:%S}  {change.host}  {change_words(change)}"
        session.output.line(text, style, hanging=10)
        for advice in change.advice:
            session.output.line(advice, indent=10, hanging=2)
    if changes and session.as_json:
        line = {
            "time": at.isoformat(timespec="seconds"),
            "changes": [change_json(change) for change in changes],
            **document,
        }
        print(json.dumps(line), flush=True)
    number = len(document["hosts"])
    hosts = "1 host" if number == 1 else f"{number} hosts"
    session.output.live([f"watching {hosts}; last checked at {at:%H:%M:%S}"])
