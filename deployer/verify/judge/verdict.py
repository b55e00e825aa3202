"""The input and the output of a verdict: plain values."""

from __future__ import annotations

from typing import NamedTuple

from deployer.model import Finding
from deployer.sites.model import Site
from deployer.verify.judge.attempts import Attempts
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import Attempt, printable


class Case(NamedTuple):
    """The input of a verdict; the last three are the attempts of the checks it depends on."""

    site: Site
    check: PlannedCheck
    attempts: Attempts
    prerequisite: Attempts | None = None
    address_certificate: Attempts | None = None
    host_certificate: Attempts | None = None

    @property
    def attempt(self) -> Attempt:
        return self.attempts.main

    @property
    def status(self) -> int | None:
        return self.attempts.main.status_code


class Verdict(NamedTuple):
    """Whether the check passed, one line of detail, and a finding.

    A check that `is_skipped` counts as passed, with the reason in `detail`.
    """

    ok: bool
    detail: str
    finding: Finding | None = None
    is_skipped: bool = False


def handshake_words(attempt: Attempt) -> str:
    """Return a successful handshake as one line."""
    words = ["101"]
    if attempt.answer.subprotocol:
        words.append(f"subprotocol {printable(attempt.answer.subprotocol, limit=60)}")
    ping_s = attempt.answer.timings_s.get("ping")
    if ping_s is not None:
        words.append(f"ping {ping_s * 1000:.0f} ms")
    if attempt.note:
        words.append(attempt.note)
    return ", ".join(words)
