"""Changes between consecutive verifications."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from deployer.cli.watch import Known, change_json, change_words

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def check(*, ok: bool = True, code: str = "", **about: Any) -> dict[str, Any]:
    finding = {
        "code": code,
        "severity": about.pop("severity", "error"),
        "symptom": "answered 502",
        "cause": "nothing listens",
        "fix": "start it",
    }
    base = {"site": "ws.example.com", "name": "handshake", "target": "/ws", "hop": "proxy"}
    detail = "101, ping 3 ms" if ok else "answered 502"
    return {**base, "ok": ok, "detail": detail, "finding": finding if code else None, **about}


def seen(*checks: dict[str, Any], state: str = "", message: str = "") -> dict[str, Any]:
    well = all(each["ok"] for each in checks)
    state = state or ("healthy" if well else "unhealthy")
    return {"hosts": {"web1": {"state": state, "message": message, "checks": list(checks)}}}


def after(known: Known, minutes: float, document: dict[str, Any]) -> list[str]:
    changes = known.learn(document, at=AT + timedelta(minutes=minutes))
    return [change_words(change) for change in changes]


def test_a_skipped_check_has_not_passed_and_a_failure_without_a_finding_has_no_code() -> None:
    known = Known()
    after(known, 0, seen(check(), check(name="h2c refused", target="/ws")))
    skipped = check(name="h2c refused", skipped=True, detail="not known")
    assert after(known, 1, seen(check(ok=False), skipped))[1:] == [
        "✗ ws.example.com/ws  handshake (proxy): answered 502; for 60 s before: ok",
        "– ws.example.com/ws  h2c refused (proxy): not known; for 60 s before: ok",
    ]


def test_what_stays_is_reported_once() -> None:
    known = Known()
    assert after(known, 0, seen(check())) == ["✓ healthy: 1 check passed"]
    assert after(known, 1, seen(check(detail="101, ping 9 ms"))) == []
    broken = seen(check(ok=False, code="bad-gateway"))
    assert after(known, 2, broken) == [
        "✗ unhealthy: 1 of 1 check failed; for 2 min before: healthy",
        "✗ ws.example.com/ws  handshake (proxy): answered 502  [bad-gateway]; for 2 min before: ok",
    ]
    assert after(known, 3, broken) == []
    assert after(known, 7, seen(check())) == [
        "✓ healthy: 1 check passed; for 5 min before: unhealthy",
        "✓ ws.example.com/ws  handshake (proxy): 101, ping 3 ms; for 5 min before: bad-gateway",
    ]


def test_what_is_wrong_from_the_beginning_is_reported() -> None:
    (host, first) = Known().learn(seen(check(ok=False, code="bad-gateway"), check()), at=AT)
    assert (host.now, first.now, first.is_well) == ("unhealthy", "bad-gateway", False)
    assert first.advice == ("cause: nothing listens", "fix: start it")
    assert change_json(first) == {
        "host": "web1",
        "site": "ws.example.com",
        "name": "handshake",
        "target": "/ws",
        "hop": "proxy",
        "was": None,
        "now": "bad-gateway",
        "words": "answered 502",
        "lasted_s": None,
    }


def test_a_different_cause_is_a_change() -> None:
    known = Known()
    after(known, 0, seen(check(ok=False, code="bad-gateway")))
    (words,) = after(known, 1, seen(check(ok=False, code="service-hangs")))
    assert words.endswith("[service-hangs]; for 60 s before: bad-gateway")


def test_an_unreachable_host_keeps_its_checks() -> None:
    """When it is back, only what differs from before is reported."""
    known = Known()
    after(known, 0, seen(check(ok=False, code="bad-gateway")))
    away = seen(state="unreachable", message="no answer within 10 s\nCheck the address.")
    (words,) = after(known, 1, away)
    assert words.startswith("✗ unreachable: no answer within 10 s; for 60 s")
    assert after(known, 2, away) == []
    (back,) = after(known, 3, seen(check(ok=False, code="bad-gateway")))
    assert back.startswith("✗ unhealthy")


def test_warnings_are_reported_and_notes_are_not() -> None:
    known = Known()
    after(known, 0, seen(check()))
    warned = seen(check(code="tls-expires-soon", severity="warning"))
    (words,) = after(known, 1, warned)
    assert "[tls-expires-soon]" in words
    assert len(after(known, 2, seen(check(code="sample-key", severity="note")))) == 1
    assert after(known, 3, seen(check())) == []
