"""Explain lost connections: by a reload, a restart, an idle timeout, or the service. Pure."""

from __future__ import annotations

from deployer.load.figures import LossGroup
from deployer.load.reloads import Change
from deployer.load.result import LoadResult
from deployer.model import Alternative, Finding
from deployer.proxies import PROXIES


def loss_finding(result: LoadResult) -> Finding:
    """Explain lost connections by the time and manner of their end, and the proxy's changes."""
    figures, proxy = result.figures, PROXIES[result.proxy].title
    groups, change = figures.ended, result.change
    last_s = max(group.last_s for group in groups)
    symptom = f"{figures.losses:,} of {figures.most_open:,} open connections were lost"
    evidence = "\n".join(
        f"{group.count:,} × {group.words}, {group.first_s:.1f} to {group.last_s:.1f} s after the"
        " start"
        for group in groups
    )
    if change is not None and last_s >= change.at_s - 1.0:
        return _change_finding(result, change, symptom=symptom, evidence=evidence)
    if all(_is_idle_cut(group, result.idle_s) for group in groups):
        return Finding(
            code="idle-cut",
            hop="proxy",
            symptom=f"{symptom}, after {groups[0].silent_s:.1f} s idle",
            cause=f"{proxy} closes idle connections after {result.idle_s or 0:g} s, and this"
            " machine was too slow to ping them all: their number is not the cause.",
            fix="Load it from a faster machine, or with a lower --rate.",
            evidence=evidence,
        )
    polite = all("with code" in group.words or "without a code" in group.words for group in groups)
    if polite:
        return Finding(
            code="connection-dropped",
            hop="backend",
            symptom=symptom,
            cause="The service closed them itself, with a Close frame; a proxy sends none.",
            fix="Check its log: the cause is its own limit, a missing login, or a restart.",
            evidence=evidence,
        )
    return Finding(
        code="connection-dropped",
        hop="proxy",
        symptom=symptom,
        cause=f"They ended without a Close frame: {proxy}, the service, or something in front of"
        " them dropped them; these figures do not show which.",
        fix="Check both logs at that time for a process that ran out of memory, was restarted, or"
        " stopped a worker.",
        evidence=evidence,
        alternatives=(
            Alternative(
                code="drain-cut", tell="the proxy's log has a reload, or its processes are newer"
            ),
            Alternative(code="service-down", tell="its unit was restarted at that time"),
        ),
    )


def _change_finding(result: LoadResult, change: Change, *, symptom: str, evidence: str) -> Finding:
    """The finding on connections that were lost when the proxy was changed."""
    server, groups = PROXIES[result.proxy], result.figures.ended
    proxy, drain = server.title, server.words.drain
    first_s = min(group.first_s for group in groups) - change.at_s
    last_s = max(group.last_s for group in groups) - change.at_s
    if change.what == "gone":
        return Finding(
            code=server.words.gone,
            hop="proxy",
            symptom=f"{symptom}, and {proxy} is no longer running",
            cause=f"{proxy} stopped while the connections were held.",
            fix="Start it again; its journal shows why it stopped.",
            evidence=evidence,
        )
    is_restart = change.what == "restarted"
    return Finding(
        code="drain-cut",
        hop="proxy",
        symptom=f"{symptom}, {max(0.0, first_s):.1f} to {max(0.0, last_s):.1f} s after {proxy} was"
        f" {change.what}",
        cause="A restart closes every connection; after a reload, the old processes keep them open."
        if is_restart
        else _drain_words(result, first_s),
        fix="Reload it instead (`deployer reload`)."
        if is_restart
        else f"Raise the site's `drain`{f' ({drain})' if drain else ''}, and reload less often.",
        evidence=evidence,
    )


def _drain_words(result: LoadResult, after_s: float) -> str:
    """Explain why connections from before a reload ended this long after it."""
    drain_s = result.drain_s
    if drain_s is not None and abs(after_s - drain_s) <= max(1.5, 0.05 * drain_s):
        return (
            "After a reload, the old processes keep open connections for at most"
            f" {drain_s:g} s, the `drain` of the site."
        )
    return "The old processes closed their connections when their drain limit expired."


def _is_idle_cut(group: LossGroup, idle_s: float | None) -> bool:
    """Whether they ended at the proxy's idle timeout."""
    return idle_s is not None and abs(group.silent_s - idle_s) <= max(0.5, 0.05 * idle_s)
