"""Statuses of certificates to judge and to show; the files say how each differs from a fine one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from deployer.commit.outcome import HostReport, RunReport, State, with_judged_certificates
from tests.support import paths

CASES = paths.CASES / "certificates"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SERIAL = "04A3F2C19B00D1E2F3A4"
NAMES = ["chat.example.com", "www.chat.example.com"]
ISSUER = "CN=E7,O=Let's Encrypt,C=US"
FINE: Mapping[str, Any] = {
    "domain": "chat.example.com",
    "names": NAMES,
    "wanted_names": NAMES,
    "issuer": "letsencrypt",
    "certificate_issuer": ISSUER,
    "serial": SERIAL,
    "key_type": "ecdsa-p256",
    "not_before": "2026-11-14T08:00:00Z",
    "not_after": "2027-02-12T08:00:00Z",
    "days_left": 83.0,
    "renewal_due_at": "2027-01-13T08:00:00Z",
    "ari": None,
    "where": "host",
    "last_attempt": {"at": "2026-11-14T09:00:00Z", "ok": True, "what": "issued", "words": ""},
    "served": {
        "serial": SERIAL,
        "not_after": "2027-02-12T08:00:00Z",
        "issuer": ISSUER,
        "names": NAMES,
        "error": "",
    },
    "is_served": True,
    "is_late": False,
    "problem": "",
    "next_run": "2026-11-21T20:13:00Z",
}


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CASES / f"{name}.yml").read_text())
    return {"warn_days": None, "exit_code": 0, **found, "status": {**FINE, **found["status"]}}


def again(command: str, host: str) -> str:
    return f"deployer {command} site.yml -l {host}"


def judged_run(
    *statuses: Mapping[str, Any], warn_days: float | None = None, state: State = "healthy"
) -> RunReport:
    report = HostReport(host="web1", state=state, certificates=statuses)
    run = RunReport(command="certs status", hosts=(report,))
    return with_judged_certificates(run, now=NOW, warn_days=warn_days, again=again)
