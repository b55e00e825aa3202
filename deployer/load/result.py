"""The result of one site's load: its figures, and the limits to compare them with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from deployer.load.figures import Figures, Percentiles
from deployer.load.reloads import Change
from deployer.model import Proxy
from deployer.proxies.limits import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """One load of `uris` at `address`; `limits` are the proxy's, the tightest first.

    `limits` is empty if the host does not report them; `notes` say why. `idle_s` is the proxy's
    shortest idle timeout; `drain_s` is the site's limit for old connections after a reload.
    """

    site: str
    proxy: Proxy
    uris: tuple[str, ...]
    address: str
    rate_per_s: float
    hold_s: float
    figures: Figures
    limits: tuple[Limit, ...] = ()
    idle_s: float | None = None
    drain_s: float | None = None
    change: Change | None = None
    notes: tuple[str, ...] = ()


def load_json(result: LoadResult) -> dict[str, object]:
    """Return one load for ``--json``."""
    figures = result.figures
    return {
        "site": result.site,
        "proxy": result.proxy,
        "uris": list(result.uris),
        "address": result.address,
        "rate_per_s": result.rate_per_s,
        "hold_s": result.hold_s,
        "asked": figures.asked,
        "tried": figures.tried,
        "opened": figures.opened,
        "most_open": figures.most_open,
        "failures": figures.failures,
        "losses": figures.losses,
        "answered_at_the_end": figures.answered,
        "unanswered": figures.unanswered,
        "stopped": figures.stopped,
        "interrupted": figures.interrupted,
        "ramp_s": round(figures.ramp_s, 3),
        "held_s": round(figures.held_s, 3),
        "late_s": round(figures.late_s, 4),
        "opening": {phase: _percentiles(each) for phase, each in figures.opening.items()},
        "pings": _percentiles(figures.pings) if figures.pings else None,
        "failed": [dataclasses.asdict(each) for each in figures.failed],
        "ended": [dataclasses.asdict(each) for each in figures.ended],
        "limits": [
            {
                "code": each.code,
                "name": each.name,
                "websockets": each.websockets,
                "reckoning": each.reckoning,
                "file": each.file,
            }
            for each in result.limits
        ],
        "change": dataclasses.asdict(result.change) if result.change else None,
        "notes": list(result.notes),
    }


def _percentiles(percentiles: Percentiles) -> dict[str, float]:
    return {
        "count": percentiles.count,
        "p50_s": round(percentiles.p50, 5),
        "p90_s": round(percentiles.p90, 5),
        "p99_s": round(percentiles.p99, 5),
        "most_s": round(percentiles.most, 5),
    }
