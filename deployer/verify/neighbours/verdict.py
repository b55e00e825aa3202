"""Compare what neighbours answered before a change with what they answer after it. Pure.

An answer got worse if there is none any more; if its status is of a worse class; if a redirect
leads elsewhere; if a WebSocket no longer opens; if the certificate is for other names; if a page
that required a login no longer does; or if it is the page of a different site.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from deployer.model import CheckResult, Finding
from deployer.plan.displaced import DEFAULT, quoted
from deployer.proxies.inspect.names import Answering, OtherServer, ServedName
from deployer.verify.neighbours.model import NeighbourAnswer, NeighbourRequest

#: What `CheckResult.site` is for neighbours as a whole.
SITE = "other sites"
CHECK_NAME = "answers as before"
#: The requests themselves may reach a limit.
_TOO_MANY = 429
_NO_SERVICE = frozenset({502, 503, 504})
_REFUSALS = frozenset({401, 403, 407})
_CAUSE = "This commit changes how the host answers a name that is not one of its own sites."
_CAUSE_OF_OTHER = "This commit changes a web server that is not part of its own sites."


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One request with its answers: several from `before`, and the last one from `after`."""

    request: NeighbourRequest
    before: tuple[NeighbourAnswer, ...]
    after: NeighbourAnswer


def worse(
    compared: Sequence[Comparison],
    own_pages: Sequence[NeighbourAnswer] = (),
    moved: Mapping[int, ServedName] = MappingProxyType({}),
) -> dict[int, str]:
    """Those of `compared` that got worse, by index, with the difference in words.

    `moved` are those whose name now has a server in a different file.
    """
    found = {
        number: words
        for number, each in enumerate(compared)
        if (words := difference(each.request, each.before, each.after))
    }
    found.update(_taken_over(compared, own_pages, known=found))
    found.update(_answered_elsewhere(compared, moved, known=found))
    return found


def difference(
    request: NeighbourRequest, before: Sequence[NeighbourAnswer], after: NeighbourAnswer
) -> str:
    """How `after` is worse than each answer of `before`; empty if it is not.

    Answers that differ by themselves make a worse one acceptable, if it was seen before. Of
    redirects that differ by themselves, only the host counts: a path may have a session's number.
    """
    found = ""
    is_steady = len({each.redirect for each in before if not each.failure}) < 2
    for each in before:
        words = "" if each.failure else _difference(request, each, after, is_steady=is_steady)
        if not words:
            return ""
        found = found or words
    return found


def _difference(
    request: NeighbourRequest, was: NeighbourAnswer, now: NeighbourAnswer, *, is_steady: bool
) -> str:
    changed = f"{was.words} before this change, and {now.words} after it"
    if now.failure and request.kind == "websocket" and was.status in _NO_SERVICE:
        return ""  # some services hang on a handshake, or end it, on a path that they do not serve
    if now.failure:
        return f"{was.words} before this change; after it, it {now.failure}"
    if _has_other_certificate(request, was, now):
        return (
            f"presented {was.certificate_words} before this change, and "
            f"{now.certificate_words} after it"
        )
    if was.status is None or now.status in (None, _TOO_MANY):
        return ""
    if was.redirect and not _leads_to_same(was, now, is_steady=is_steady):
        return changed
    if was.status == 101 and now.status != 101:
        return changed
    if _refuses(was) and (now.status == 101 or 200 <= now.status < 300):
        return changed
    if _rank(now.status) > _rank(was.status) or _has_lost_its_page(was, now):
        return changed
    return ""


def _leads_to_same(was: NeighbourAnswer, now: NeighbourAnswer, *, is_steady: bool) -> bool:
    if is_steady:
        return was.redirect == now.redirect
    return bool(now.redirect) and was.redirect_host == now.redirect_host


def _refuses(was: NeighbourAnswer) -> bool:
    """Whether a client had to log in, or to present a certificate (400 from the proxy itself)."""
    return was.status in _REFUSALS or (was.status == 400 and was.is_proxys)


def _has_other_certificate(
    request: NeighbourRequest, was: NeighbourAnswer, now: NeighbourAnswer
) -> bool:
    if was.is_for_name:
        return not now.is_for_name
    return not request.served.is_default and was.certificate != now.certificate


def _has_lost_its_page(was: NeighbourAnswer, now: NeighbourAnswer) -> bool:
    """Whether a service's own refusal became one of the proxy: it is not asked any more."""
    is_refusal = was.status is not None and 400 <= was.status < 500
    return is_refusal and bool(was.body) and not was.is_proxys and now.is_proxys


def _rank(status: int) -> int:
    """Worse classes have greater ranks: success, redirect, refusal, failure."""
    return {1: 0, 2: 0}.get(status // 100, status // 100)


def _taken_over(
    compared: Sequence[Comparison],
    own_pages: Sequence[NeighbourAnswer],
    *,
    known: Mapping[int, str],
) -> Iterator[tuple[int, str]]:
    """Names whose page did not change by itself and is now that of a different site.

    A new default server breaks no name. Redirects, and pages that the proxy itself writes, look
    alike for all names.
    """
    owners: dict[str, list[Comparison]] = {}
    for each in compared:
        if _is_page(each.request, each.after):
            owners.setdefault(each.after.body, []).append(each)
    own = {page.body for page in own_pages if page.body and not page.is_proxys}
    for number, each in enumerate(compared):
        bodies = {was.body for was in each.before}
        is_steady = len(bodies) == 1 and len(each.before) > 1
        is_known = number in known or each.after.body in bodies
        pages = all(_is_page(each.request, answer) for answer in (*each.before, each.after))
        if is_known or not (is_steady and pages) or each.request.served.is_default:
            continue
        others = (
            other.request.served.url
            for other in owners.get(each.after.body, ())
            if _is_other(each.request.served, other.request.served)
            and bodies.isdisjoint(was.body for was in other.before)
        )
        other = "a site of this run" if each.after.body in own else min(others, default="")
        if other:
            status = each.before[0].status
            words = f"answered {status} before this change, and with the page of {other} after it"
            yield number, words


def _answered_elsewhere(
    compared: Sequence[Comparison], moved: Mapping[int, ServedName], *, known: Mapping[int, str]
) -> Iterator[tuple[int, str]]:
    """Names whose page did not change by itself, and is a different one from a different server."""
    for number, now in moved.items():
        each = compared[number]
        bodies = {was.body for was in each.before}
        is_steady = len(bodies) == 1 and len(each.before) > 1 and each.after.body not in bodies
        pages = all(_is_page(each.request, answer) for answer in (*each.before, each.after))
        if number not in known and is_steady and pages and not each.before[0].is_stock:
            status = each.before[0].status
            words = (
                f"answered {status} before this change, and with a different page after it, from"
                f" {now.where}"
            )
            yield number, words


def _is_page(request: NeighbourRequest, answer: NeighbourAnswer) -> bool:
    is_of_site = answer.status is not None and 200 <= answer.status < 300 and not answer.is_proxys
    return request.kind == "page" and bool(answer.body) and is_of_site


def _is_other(served: Answering, other: Answering) -> bool:
    """Whether two entries are of different servers, as far as that is known."""
    return (served.file, served.line) != (other.file, other.line) or (
        served.name != other.name and not served.file
    )


# --- results --------------------------------------------------------------------------------------


def serves_nothing(request: NeighbourRequest, before: Sequence[NeighbourAnswer]) -> bool:
    """Whether a default server only refuses, with the proxy's own pages: no one is served."""
    served = request.served
    return (
        served.is_default
        and not served.forwards
        and all(
            (each.status or 0) >= 400 and each.status not in _REFUSALS and each.is_proxys
            for each in before
            if not each.failure
        )
    )


def results(compared: Sequence[Comparison], found: Mapping[int, str]) -> tuple[CheckResult, ...]:
    """One failed check for each name that got worse, and one for all that answer as before."""
    failed: list[CheckResult] = []
    reported: set[tuple[str, str]] = set()
    named = {compared[number].request.served.name for number in found} - {""}
    for number, words in found.items():
        request = compared[number].request
        key = (request.served.url, words)
        is_same = request.served.is_default and not named.isdisjoint(request.served.of_site)
        if key not in reported and not is_same:
            reported.add(key)
            failed.append(_failed(request, words))
    broken = {compared[number].request.served for number in found}
    well = {each.request.served for each in compared} - broken
    if not well:
        return tuple(failed)
    return (*failed, _summary(len({each.url for each in well})))


def unknown(problem: str) -> CheckResult:
    """The result if the names are unknown."""
    return CheckResult(
        site=SITE,
        name=CHECK_NAME,
        target="",
        hop="proxy",
        ok=True,
        detail=f"not checked: {problem}",
        skipped=True,
    )


def invalid(problem: str) -> CheckResult:
    """The failed check of a proxy whose configuration cannot be used any more."""
    finding = Finding(
        code="config-invalid",
        hop="proxy",
        symptom=problem,
        cause="Since this commit, a running proxy would not start with its files again.",
        fix="Correct what this commit writes; the proxy's own test names the place.",
    )
    return CheckResult(
        site=SITE,
        name=CHECK_NAME,
        target="",
        hop="proxy",
        ok=False,
        detail=problem,
        finding=finding,
    )


def _failed(request: NeighbourRequest, words: str) -> CheckResult:
    served = request.served
    symptom = f"{request.shown} {words}"
    finding = Finding(
        code="neighbour-broken",
        hop="proxy",
        symptom=symptom,
        cause=_CAUSE_OF_OTHER if isinstance(served, OtherServer) else _CAUSE,
        fix=(
            "Compare the server that has the name with what this commit writes. If the name may be"
            f" lost: --displace {quoted(served.name or DEFAULT)}, or `displaces:` in the playbook."
        ),
        file=served.where,
    )
    return CheckResult(
        site=served.name or SITE,
        name=CHECK_NAME,
        target=request.url,
        hop="proxy",
        ok=False,
        detail=words,
        finding=finding,
    )


def _summary(well: int) -> CheckResult:
    words = f"{_addresses(well)} of other sites answer{'s' * (well == 1)} as before"
    return CheckResult(
        site=SITE, name=CHECK_NAME, target=_addresses(well), hop="proxy", ok=True, detail=words
    )


def _addresses(number: int) -> str:
    return f"{number} address{'es' * (number != 1)}"
