"""Detect a reload or restart of a proxy between two inspections. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployer.proxies.inspect.model import ProxyState
from deployer.proxies.limits import workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a proxy, `at_s` seconds after the start of the load.

    `leaving` is the number of old processes that still serve connections.
    """

    what: Literal["reloaded", "restarted", "gone"]
    at_s: float
    leaving: int


def detect_change(before: ProxyState, after: ProxyState, *, after_s: float) -> Change | None:
    """Compare the proxy's processes; `after_s` is the time of the second inspection."""
    if before.is_running and not after.is_running:
        return Change(what="gone", at_s=after_s, leaving=0)
    first, now = {each.pid for each in workers(before)}, {each.pid for each in workers(after)}
    if not first or not now or first & now:
        return None
    kept = {each.pid for each in before.processes} & {each.pid for each in after.processes}
    leaving = sum(each.is_leaving for each in after.processes)
    age_s = after.accepted_reload_s_ago or 0.0
    was_reloaded = bool(kept) or leaving > 0
    return Change(
        what="reloaded" if was_reloaded else "restarted",
        at_s=max(0.0, after_s - age_s),
        leaving=leaving,
    )
