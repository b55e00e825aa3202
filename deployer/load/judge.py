"""Judge the figures of a load: passed, or which limit was reached at which hop. Pure.

The proxy's own log names a limit, or a configured number that matches the number reached. If
neither does, the finding only says that there is a limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from deployer.load.figures import FailureGroup
from deployer.load.losses import loss_finding
from deployer.load.result import LoadResult
from deployer.model import Alternative, CheckResult, Finding, Proxy
from deployer.proxies import PROXIES
from deployer.proxies.inspect.shown import without_credentials
from deployer.proxies.limits import Limit
from deployer.proxies.traits import LogSign

#: How close to a limit a load must end to have reached it: other connections use some of it.
_NEAR = (0.9, 1.03)
_MOST_LINES = 3
#: A raised limit leaves some room for other connections.
_SPARE = 1.1
_WHEN = {
    "connect": "while connecting",
    "tls": "in the TLS handshake",
    "upgrade": "in the opening handshake",
    "open": "right after the opening handshake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Observations on the host during the load.

    `new_log` are lines that the proxy logged meanwhile. `service` is the result of a direct
    connection to the service while connections failed: ``works``, the failure, or empty if there
    was none.
    """

    new_log: tuple[str, ...] = ()
    service: str = ""


_PER_CLIENT = (
    "The proxy limits each client address, and all of these connections came from one. Users with"
    " different addresses would reach other limits."
)
_CAUSES = {
    "connections-exhausted": "{proxy} cannot accept more connections",
    "files-exhausted": "{proxy} cannot open more files",
    "threads-exhausted": "every thread of {proxy} is busy: each open WebSocket keeps one",
    "scoreboard-full": "{proxy} cannot start more processes",
}


def judge_load(result: LoadResult, observed: Observed) -> CheckResult:
    """Return whether all went well, with one line of detail, and a finding otherwise."""
    finding = _finding(result, observed)
    own = _own_words(result)
    ok = finding is None and not own
    return CheckResult(
        site=result.site,
        name="load",
        target=urlsplit(result.uris[0]).path if len(result.uris) == 1 else result.site,
        hop="proxy",
        ok=ok,
        detail=own or (summary_words(result) if ok else finding.symptom if finding else ""),
        finding=finding,
    )


def summary_words(result: LoadResult) -> str:
    """Return ``5,000 of 5,000 open at once, 5,000 of them to the end``."""
    figures = result.figures
    words = f"{figures.most_open:,} of {figures.asked:,} open at once"
    if figures.interrupted:
        return f"{words}, interrupted"
    if result.change is not None:
        words += f"; {PROXIES[result.proxy].title} was {result.change.what} meanwhile"
    return f"{words}, {figures.answered:,} of them to the end"


def _own_words(result: LoadResult) -> str:
    own = next((group for group in result.figures.failed if group.phase == "own"), None)
    if own is None:
        return ""
    return f"this machine is the limit: at {own.at_open:,} open connections {own.words}"


def _finding(result: LoadResult, observed: Observed) -> Finding | None:
    figures = result.figures
    foreign = [group for group in figures.failed if group.phase != "own"]
    if foreign:
        return _capacity(result, observed)
    if figures.ended and not figures.interrupted:
        return loss_finding(result)
    if figures.unanswered and not figures.interrupted:
        return Finding(
            code="no-pong",
            hop="backend",
            symptom=f"{figures.unanswered:,} of {figures.most_open:,} open connections did not"
            " answer a ping",
            cause="The service is too slow for this many connections, or it silently lost them.",
            fix="Check its CPU time and its log while the load is held (--hold).",
            alternatives=(
                Alternative(
                    code="connection-dropped",
                    tell="with few connections (--load 10), some do not answer either: something on"
                    " the path has dropped them",
                ),
            ),
        )
    return None


# --- connections that did not open ----------------------------------------------------------------


def _capacity(result: LoadResult, observed: Observed) -> Finding:
    figures, proxy = result.figures, PROXIES[result.proxy].title
    foreign = [group for group in figures.failed if group.phase != "own"]
    first = min(foreign, key=lambda group: group.first_s)
    failed = sum(group.count for group in foreign)
    symptom = (
        f"with {first.at_open:,} connections open, the next ones fail: the other side"
        f" {_how(first)}; {figures.most_open:,} were open at most, {failed:,} of"
        f" {figures.tried:,} failed"
    )
    evidence = [f"{group.count:,} × {_how(group)}" for group in foreign]
    sign, lines = _signed(result.proxy, observed.new_log)
    evidence += [f"log of {proxy}: {without_credentials(line)}" for line in lines[:_MOST_LINES]]
    if figures.opened == 0:
        return Finding(
            code="unreachable-from-here" if first.phase == "connect" else "check-failed",
            hop="proxy",
            symptom=f"no connection opened: {result.address} {_how(first)}",
            cause="This is not a limit: the handshake through SSH succeeds, but none does from"
            " here. A firewall blocks the port, or the address is not the host's.",
            fix="Open the port, or give the host's address: --resolve NAME:PORT:ADDRESS.",
            evidence="\n".join(evidence),
        )
    near = _near(result.limits, figures.most_open)
    if sign is not None:
        limit = next((each for each in result.limits if each.code == sign.code), None)
        fix = sign.client_fix
        return Finding(
            code=sign.code,
            hop="proxy",
            symptom=symptom,
            cause=_PER_CLIENT if fix else _cause(sign.code, result, limit),
            fix=fix or (limit.fix if limit else "Raise that limit."),
            evidence="\n".join(evidence),
            directive="" if fix or limit is None else sufficient_directive(limit, result),
            file=limit.file if limit and not fix else "",
        )
    if observed.service not in ("", "works"):
        return Finding(
            code="capacity-reached",
            hop="backend",
            symptom=symptom,
            cause=f"The service has reached its limit, not {proxy}: a direct connection to it also"
            f" fails: it {observed.service}.",
            fix="Raise the service's limits: open files (LimitNOFILE of its unit), workers or"
            " threads, or its own connection limit.",
            evidence="\n".join(evidence),
            alternatives=(
                Alternative(
                    code="files-exhausted",
                    tell="its log has `Too many open files` (EMFILE)",
                ),
            ),
        )
    if near:
        return _nearest_limit(result, symptom, evidence, near)
    return _unnamed_limit(result, symptom, evidence, observed)


def _nearest_limit(
    result: LoadResult, symptom: str, evidence: Sequence[str], near: Sequence[Limit]
) -> Finding:
    limit, *others = near
    return Finding(
        code=limit.code,
        hop="proxy",
        symptom=symptom,
        cause=_cause(limit.code, result, limit),
        fix=limit.fix,
        evidence="\n".join(evidence),
        directive=sufficient_directive(limit, result),
        file=limit.file,
        alternatives=tuple(
            Alternative(code=each.code, tell=f"raising {limit.name} alone changes nothing")
            for each in others
            if each.code != limit.code
        ),
    )


def sufficient_directive(limit: Limit, result: LoadResult) -> str:
    """Return the directive that allows the requested number; empty if the limit is none."""
    written = re.fullmatch(r"([A-Za-z]\w*) (\d+)(?: of .*)?", limit.name)
    if written is None:
        return ""
    share = result.figures.asked / max(1, limit.websockets)
    needed = 2 ** math.ceil(math.log2(int(written[2]) * max(1.0, share) * _SPARE))
    return f"{written[1]} {needed}" + PROXIES[result.proxy].traits.line_end


def _cause(code: str, result: LoadResult, limit: Limit | None) -> str:
    words = _CAUSES[code].format(proxy=PROXIES[result.proxy].title)
    if limit is None:
        return f"{words}."
    return (
        f"{words}: {limit.name} ({limit.reckoning}) is enough for {limit.websockets:,} WebSockets."
    )


def _unnamed_limit(
    result: LoadResult, symptom: str, evidence: Sequence[str], observed: Observed
) -> Finding:
    proxy = PROXIES[result.proxy].title
    known = "; ".join(f"{each.name} allows {each.websockets:,}" for each in result.limits[:3])
    works = (
        " Connected to directly, the service accepts more." if observed.service == "works" else ""
    )
    return Finding(
        code="capacity-reached",
        hop="proxy",
        symptom=symptom,
        cause=f"There is a limit, but neither {proxy}'s log nor its configuration names it"
        f" ({known or 'no limit could be read'}).{works}",
        fix=f"Check {proxy}'s log at level info, `nstat -az TcpExtListenDrops`, and the kernel's"
        " log (conntrack) on the host; use a lower --rate to find out whether the number or the"
        " rate is the limit.",
        evidence="\n".join(evidence),
        alternatives=tuple(
            Alternative(code=each.code, tell=f"more connections open after raising {each.name}")
            for each in result.limits[:2]
        ),
    )


def _near(limits: Sequence[Limit], number: int) -> list[Limit]:
    """Return the limits close to `number`, the closest first."""
    least, most = _NEAR
    met = [each for each in limits if least * each.websockets <= number <= most * each.websockets]
    return sorted(met, key=lambda each: abs(each.websockets - number))


def _signed(proxy: Proxy, log: Sequence[str]) -> tuple[LogSign | None, list[str]]:
    """Return the finding that the log proves, and the lines that prove it."""
    for sign in PROXIES[proxy].traits.log_signs:
        lines = [line for line in log if sign.text.lower() in line.lower()]
        if lines:
            return sign, [_short(line) for line in lines]
    return None, []


def _short(line: str) -> str:
    return line if len(line) <= 200 else line[:200] + "…"


def _how(group: FailureGroup) -> str:
    """Return ``reset it in the TLS handshake``."""
    if group.words.startswith("answered"):
        return group.words
    return f"{group.words} {_WHEN[group.phase]}"
