"""The hops of a site as a picture: a bar from the start of each probe to the service. Pure.

here ─────────▶ proxy ─────────▶ service
├───────────────── public ──────────────┤
                ├──────── proxy ────────┤
                                ├backend┤
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deployer.model import Document
from deployer.report.page.marks import is_open, mark_of, worst
from deployer.report.page.words import milliseconds

HopMark = Literal["good", "warn", "bad", "skip", "none"]

_HOPS = ("public", "proxy", "backend")
_WORDS: Mapping[str, str] = {
    "public": "from this machine, through public DNS",
    "proxy": "on the host, through the proxy",
    "backend": "on the host, directly to the service",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HopView:
    """The bar of one hop; `took` is the time of its fastest complete handshake."""

    hop: str
    mark: HopMark
    title: str
    words: str
    took: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HopPicture:
    """The three hops, the longest path first, and the hop at fault, if any."""

    hops: tuple[HopView, ...]
    at_fault: str


def hops_of(checks: Sequence[Document]) -> HopPicture | None:
    """The picture of one site's checks; `None` if no hop was tested with a handshake."""
    if not any(check.get("handshake") for check in checks):
        return None
    blamed = [str(check["finding"]["hop"]) for check in checks if _is_error(check)]
    return HopPicture(
        hops=tuple(_hop(hop, [check for check in checks if check["hop"] == hop]) for hop in _HOPS),
        at_fault=blamed[0] if blamed else "",
    )


def _is_error(check: Mapping[str, object]) -> bool:
    return not check["ok"] and bool(check.get("finding"))


def _hop(hop: str, checks: Sequence[Mapping[str, object]]) -> HopView:
    marks = [mark_of(check) for check in checks]
    failed = marks.count("bad")
    mark: HopMark = worst(marks) if marks else "none"
    reasons = [str(check["detail"]) for check in checks if check.get("skipped")]
    words = {
        "none": "not tested",
        "skip": f"skipped: {reasons[0]}" if reasons else "skipped",
        "bad": f"{failed} of {len(checks)} checks failed",
    }.get(mark, f"{len(checks)} checks passed" if len(checks) != 1 else "1 check passed")
    times = [_whole_s(check) for check in checks if check["ok"] and is_open(check)]
    quickest_s = min((time_s for time_s in times if time_s), default=0.0)
    return HopView(
        hop=hop, mark=mark, title=_WORDS[hop], words=words, took=milliseconds(quickest_s)
    )


def _whole_s(check: Document) -> float:
    timings = check["handshake"]["timings_s"]
    return sum(float(timings.get(phase, 0.0)) for phase in ("dns", "connect", "tls", "upgrade"))
