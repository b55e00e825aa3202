"""What ended a connection that was held: the service, the proxy, or an unknown cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.commit.survival import (
    Canary,
    Ended,
    OtherSockets,
    RouteSurvival,
    Seen,
    Survival,
    canary_from,
    note_lines,
    others_words,
    route_words,
    survival_checks,
    survival_json,
)
from deployer.plan.model import ForecastAction

ALIVE = Seen(answers=True)
HANGS = Seen(answers=False)
IDLE = " (idle ones, without a request under way, end at every reload)"


def reset(after_s: float) -> Seen:
    return Seen(answers=False, ended=Ended(how="reset", after_s=after_s, words="closed"))


def closed(code: int) -> Seen:
    ended = Ended(how="closed", after_s=0.5, words="said good-bye", close_code=code)
    return Seen(answers=False, ended=ended)


@pytest.mark.parametrize(
    ("seen", "twins", "fate", "by"),
    [
        (ALIVE, [ALIVE], "survived", ""),
        (ALIVE, [reset(0.1)], "survived", ""),
        (ALIVE, [], "survived", ""),
        (reset(0.1), [ALIVE], "reset", "proxy"),
        (reset(0.1), [reset(0.2)], "reset", "service"),
        (reset(0.1), [ALIVE, reset(0.2)], "reset", "service"),
        (reset(0.1), [closed(1001)], "reset", "service"),
        (reset(9.0), [reset(0.2)], "reset", "someone"),
        (reset(0.1), [HANGS], "reset", "someone"),
        (reset(0.1), [], "reset", "someone"),
        (closed(1001), [ALIVE], "closed", "service"),
        (HANGS, [ALIVE], "silent", "proxy"),
        (HANGS, [HANGS], "silent", "service"),
        (HANGS, [reset(0.1)], "silent", "someone"),
        (HANGS, [], "silent", "someone"),
    ],
)
def test_which_side_ended_it(seen: Seen, twins: list[Seen], fate: str, by: str) -> None:
    canary = canary_from(seen, twins=twins)
    assert (canary.fate, canary.by) == (fate, by)
    assert canary.is_lost == (by in ("proxy", "someone"))


@pytest.mark.parametrize("seen", [ALIVE, HANGS, reset(0.1)])
def test_a_lost_link_leaves_the_fate_unknown(seen: Seen) -> None:
    canary = canary_from(seen, twins=[ALIVE], link_lost=True)
    assert (canary.fate, canary.is_lost) == ("unknown", False)
    assert canary_from(closed(1000), twins=[], link_lost=True).fate == "closed"


def survival_of(
    *canaries: Canary, required: bool = False, action: ForecastAction = "reload"
) -> Survival:
    route = RouteSurvival(
        site="ws.example.com",
        path="/ws",
        unit="nginx",
        action=action,
        is_required=required,
        drain_s=4.0,
        canaries=canaries,
    )
    return Survival(affected={"nginx": action}, routes=(route,))


def lost(after_s: float, by: str = "proxy") -> Canary:
    assert by in ("proxy", "someone")
    return Canary(fate="reset", by="proxy" if by == "proxy" else "someone", after_s=after_s)


def test_a_lost_canary_fails_the_check_if_survival_is_required() -> None:
    survived = Canary(fate="survived")
    (check,) = survival_checks(survival_of(survived, lost(0.2), required=True))
    assert not check.ok
    assert check.finding is not None
    assert (check.finding.code, check.finding.severity) == ("canary-lost", "error")
    assert check.detail == (
        "1 of 2 open connections survived the reload of nginx, whose drain ends them after 4 s; "
        "1 lost (reset after 0.2 s)"
    )
    (lenient,) = survival_checks(survival_of(survived, lost(0.2)))
    assert lenient.ok
    assert lenient.finding is not None
    assert lenient.finding.severity == "warning"


def test_ends_by_the_service_fail_nothing() -> None:
    ended = Canary(fate="closed", by="service", close_code=1012, after_s=0.1)
    unknown = Canary(fate="unknown")
    (check,) = survival_checks(survival_of(ended, unknown, required=True))
    assert (check.ok, check.finding) == (True, None)
    assert "1 ended by the service itself (closed with code 1012 after 0.1 s)" in check.detail
    assert "of 1 nothing is known" in check.detail


@pytest.mark.parametrize(
    ("survival", "cause"),
    [
        (survival_of(lost(0.2), action="restart"), "this change restarts nginx"),
        (survival_of(lost(0.2), action="stop"), "this change stops nginx"),
        (survival_of(lost(4.1), lost(4.3)), "drain of 4 s"),
        (survival_of(lost(0.1), lost(4.3)), "nginx closed them at its reload"),
        (survival_of(lost(0.1, "someone")), "nginx or the service"),
    ],
)
def test_the_cause_of_a_loss(survival: Survival, cause: str) -> None:
    (check,) = survival_checks(survival)
    assert check.finding is not None
    assert cause in check.finding.cause


def test_a_route_without_canaries_has_no_check() -> None:
    survival = survival_of()
    assert survival_checks(survival) == ()
    assert survival_json(survival)["routes"][0]["opened"] == 0


def test_a_route_without_canaries_has_a_note() -> None:
    (route,) = survival_of().routes
    without = replace(route, note="answered 502 Bad Gateway")
    survival = Survival(affected={"nginx": "reload"}, routes=(route, without))
    assert list(note_lines(survival)) == [
        "no canaries on ws.example.com/ws: answered 502 Bad Gateway"
    ]


def test_an_end_before_the_change() -> None:
    (route,) = survival_of(lost(-1.5), lost(-2.0)).routes
    assert "2 lost (reset 1.5 s before)" in route_words(route)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (None, ""),
        (OtherSockets(connections=0, still_open=0, are_websockets=True), ""),
        (
            OtherSockets(connections=431, still_open=430, are_websockets=True),
            "430 of 431 other open WebSocket connections are still there after the reload of nginx",
        ),
        (
            OtherSockets(connections=9, still_open=3, are_websockets=False),
            "3 of 9 other open connections are still there after the reload of nginx" + IDLE,
        ),
    ],
)
def test_other_connections(others: OtherSockets | None, words: str) -> None:
    survival = Survival(affected={"nginx": "reload"}, routes=(), others=others)
    assert others_words(survival) == words
