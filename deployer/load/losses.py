"""From connections that ended before their time to why: a reload, a restart, silence, the service.

Pure.
"""

from __future__ import annotations

from deployer.load.figures import LossGroup
from deployer.load.result import LoadResult
from deployer.model import Alternative, Finding
from deployer.proxies import PROXIES


def loss_finding(result: LoadResult) -> Finding:
    """Why open connections were lost, by when and how that was, and by what the proxy did then."""
    figures, proxy = result.figures, PROXIES[result.proxy].title
    groups, change = figures.ended, result.change
    first_s = min(group.first_s for group in groups)
    last_s = max(group.last_s for group in groups)
    symptom = f"{figures.losses:,} of {figures.most_open:,} open connections were lost"
    evidence = "\n".join(
        f"{group.count:,} × {group.words}, {group.first_s:.1f} to {group.last_s:.1f} s after the"
        " beginning"
        for group in groups
    )
    if change is not None and last_s >= change.at_s - 1.0:
        after = (
            f"{max(0.0, first_s - change.at_s):.1f} to {max(0.0, last_s - change.at_s):.1f} s after"
        )
        if change.what == "gone":
            return Finding(
                code=PROXIES[result.proxy].words.gone,
                hop="proxy",
                symptom=f"{symptom}, and {proxy} does not run any more",
                cause=f"{proxy} ended while the connections were held.",
                fix="Start it again; its journal says why it ended.",
                evidence=evidence,
            )
        how = (
            "A restart ends every connection; a reload leaves them to the processes of before."
            if change.what == "restarted"
            else _drain_words(result, first_s - change.at_s)
        )
        drain = PROXIES[result.proxy].words.drain
        mend = (
            "Reload it instead (`deployer reload`)."
            if change.what == "restarted"
            else f"Raise the site's `drain`{f' ({drain})' if drain else ''}, and reload less often."
        )
        return Finding(
            code="drain-cut",
            hop="proxy",
            symptom=f"{symptom}, {after} {proxy} was {change.what}",
            cause=how,
            fix=mend,
            evidence=evidence,
        )
    if all(_is_idle_cut(group, result.idle_s) for group in groups):
        return Finding(
            code="idle-cut",
            hop="proxy",
            symptom=f"{symptom}, after {groups[0].silent_s:.1f} s of silence",
            cause=f"{proxy} cuts silent connections after {result.idle_s or 0:g} s, and this"
            " machine came too late to ping them all: this is no matter of their number.",
            fix="Load it from a machine with more time, or with a lower --rate.",
            evidence=evidence,
        )
    polite = all("with code" in group.words or "without a code" in group.words for group in groups)
    if polite:
        return Finding(
            code="connection-dropped",
            hop="backend",
            symptom=symptom,
            cause="The service closed them itself, with a Close frame; a proxy sends none.",
            fix="Look at its log: a limit of its own, a missing login, or a restart does that.",
            evidence=evidence,
        )
    return Finding(
        code="connection-dropped",
        hop="proxy",
        symptom=symptom,
        cause=f"They ended without a Close frame: {proxy}, the service, or something before them"
        " dropped them, and which it was cannot be told from this.",
        fix="Look at the logs of both at that time: who ran out of memory, was restarted, or ended"
        " a worker?",
        evidence=evidence,
        alternatives=(
            Alternative(
                code="drain-cut", tell="the proxy's log has a reload, or its processes are younger"
            ),
            Alternative(code="service-down", tell="its unit was restarted at that time"),
        ),
    )


def _drain_words(result: LoadResult, after_s: float) -> str:
    """Why connections of before a reload have ended so long after it."""
    drain_s = result.drain_s
    if drain_s is not None and abs(after_s - drain_s) <= max(1.5, 0.05 * drain_s):
        return (
            f"A reload leaves open connections to the processes of before, for {drain_s:g} s at"
            " most: that is `drain` of the site."
        )
    return "The processes of before ended what they had, as a limit on them demands."


def _is_idle_cut(group: LossGroup, idle_s: float | None) -> bool:
    """Whether they ended just when the proxy's patience with silence was over."""
    return idle_s is not None and abs(group.silent_s - idle_s) <= max(0.5, 0.05 * idle_s)
