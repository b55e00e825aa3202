"""The failure budget in words: what is refused, what is not, and the time that is reported."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployer.agent.certificates import ledger as module
from deployer.agent.certificates.ledger import Ledger
from deployer.agent.certificates.registered_domain import RegisteredDomains

NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
CA = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
NAME = "chat.example.com"

Event = dict[str, Any]


def event(what: str, ago_s: float = 0.0, names: Iterable[str] = (NAME,), **more: Any) -> Event:
    return {"at": NOW - ago_s, "what": what, "directory": CA, "names": sorted(names), **more}


def failed(ago_s: float = 0.0, name: str = NAME, **more: Any) -> Event:
    return event("failed", ago_s, (name, "www." + name), failed_names=[name], **more)


def written(folder: Path, events: Iterable[Mapping[str, Any]], *, tail: str = "") -> Ledger:
    """A ledger in `folder` in which `events` stand in the order in which they happened."""
    path = folder / "ledger.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in events) + tail)
    return Ledger(str(path), suffix_list=str(folder / "no-list"))


def settings(*names: str, directory: str = CA, limits: str = "letsencrypt") -> dict[str, Any]:
    return {"directory": directory, "names": list(names or (NAME,)), "limits": limits}


def numbered(what: str, count: int, *, under: str = "example.com") -> list[Event]:
    return [event(what, names=[f"n{number}.{under}"]) for number in range(count)]


AT_STAGING = {"directory": STAGING}
#: What has happened, what is asked for, and the words of the refusal; empty where there is none.
EDGES: dict[str, tuple[list[Event], dict[str, Any], str]] = {
    "nothing yet": ([], settings(), ""),
    "five failures": (
        [failed()] * 5,
        settings(),
        f"too many failed validations of {NAME} within an hour: 5 is the most",
    ),
    "five failures, at a CA of one's own": (
        [failed()] * 5,
        settings(limits="none"),
        f"too many failed validations of {NAME}",
    ),
    "five failures, one of several names": (
        [failed()] * 5,
        settings("other.example.com", NAME),
        f"too many failed validations of {NAME}",
    ),
    "five failures of another name": ([failed(name="a.example.com")] * 5, settings(), ""),
    "five failures of the set, not of the name": (
        [failed()] * 5,
        settings("www." + NAME),
        "",
    ),
    "five failures at another CA": ([failed(directory=STAGING)] * 5, settings(), ""),
    "one token has come back": ([failed(12 * MINUTE)] * 5, settings(), ""),
    "it will in a second": ([failed(12 * MINUTE - 1)] * 5, settings(), "too many failed"),
    "failures that no validation made": ([event("failed")] * 9, settings(), ""),
    "five duplicates": (
        [event("issued")] * 5,
        settings(),
        "too many certificates for exactly these names within a week: 5 is the most",
    ),
    "five duplicates, as others write their names": (
        [event("issued", names=["a.example.com", "b.example.com"])] * 5,
        settings("B.example.com", "A.example.com"),
        "too many certificates for exactly these names",
    ),
    "five duplicates at a CA of one's own": ([event("issued")] * 5, settings(limits="none"), ""),
    "five duplicates at staging": (
        [event("issued", **AT_STAGING)] * 5,
        settings(directory=STAGING),
        "",
    ),
    "50 of a domain": (
        numbered("issued", 50),
        settings(),
        "too many certificates under example.com within a week: 50 is the most",
    ),
    "50 of another domain": (numbered("issued", 50, under="example.net"), settings(), ""),
    "50 at staging": (
        [{**each, **AT_STAGING} for each in numbered("issued", 50)],
        settings(directory=STAGING),
        "",
    ),
    "300 orders": (
        numbered("order", 300, under="example.net"),
        settings(),
        "too many orders of this account within three hours: 300 is the most",
    ),
    "300 orders at a CA of one's own": (
        numbered("order", 300, under="example.net"),
        settings(limits="none"),
        "",
    ),
}


@pytest.mark.parametrize("case", EDGES)
def test_limits_at_their_edges(case: str, tmp_path: Path) -> None:
    events, asked, words = EDGES[case]
    refusal = written(tmp_path, events).refusal(asked, now=NOW)
    assert (refusal is None) == (words == ""), refusal and refusal.why
    if refusal is not None:
        assert words in refusal.why
        assert "it is possible again from 20" in refusal.why
        assert refusal.until > NOW


@pytest.mark.parametrize(
    ("events", "wait_s"),
    [
        ([failed()] * 5, 12 * MINUTE),
        ([event("issued")] * 5, 7 * DAY / 5),
        (numbered("issued", 50), 7 * DAY / 50),
        (numbered("order", 300, under="example.net"), 3 * HOUR / 300),
    ],
)
def test_the_time_from_which_it_is_possible_is_reported(
    events: list[Event], wait_s: float, tmp_path: Path
) -> None:
    """Not earlier than the CA would have it, and not much later; then it is not refused."""
    ledger = written(tmp_path, events)
    refusal = ledger.refusal(settings(), now=NOW)
    assert refusal is not None
    assert wait_s <= refusal.until - NOW <= wait_s * 1.05
    shown = refusal.why.partition("again from ")[2].removesuffix(" UTC")
    minute = time.strptime(shown + " +0000", "%Y-%m-%d %H:%M %z")
    assert minute[:5] == time.gmtime(refusal.until + 59)[:5]
    assert ledger.refusal(settings(), now=refusal.until) is None


# --- what the CA has said -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "until", "at", "is_refused"),
    [
        (NAME, NOW + 90, NOW, True),
        (NAME, NOW + 90, NOW + 89, True),
        (NAME, NOW + 90, NOW + 90, False),
        ("other.example.com", NOW + 90, NOW, False),
        (NAME, NOW + 365 * DAY, NOW + 7 * DAY - 1, True),  # it believes no answer for longer
        (NAME, NOW + 365 * DAY, NOW + 7 * DAY, False),
    ],
)
def test_the_ca_has_said_to_wait(
    name: str, until: float, at: float, is_refused: bool, tmp_path: Path
) -> None:
    ledger = written(tmp_path, [event("rate-limited", not_before=until)])
    for limits in ("none", "letsencrypt"):
        refusal = ledger.refusal(settings(name, limits=limits), now=at)
        assert (refusal is not None) == is_refused
        if refusal is not None:
            assert "the CA has said that too much was asked of it" in refusal.why
            assert refusal.until == min(until, NOW + 7 * DAY)


# --- files that are not right ---------------------------------------------------------------------


def test_a_ledger_that_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_WITHIN_S", 0.02)
    ledger = written(tmp_path, [])
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            ledger.append("order", directory=CA, names=[NAME], now=NOW)
    finally:
        os.close(held)
    assert ledger.is_empty


# --- clocks that are not right --------------------------------------------------------------------


def test_what_is_in_the_future_is_now_and_passes(tmp_path: Path) -> None:
    """A clock that was days ahead, and is right again: no order waits for days."""
    ledger = written(tmp_path, [failed(-10 * DAY)] * 5)
    refusal = ledger.refusal(settings(), now=NOW)
    assert refusal is not None
    assert refusal.until <= NOW + 12.5 * MINUTE
    assert ledger.refusal(settings(), now=refusal.until) is None


# --- registered domains ---------------------------------------------------------------------------

_LIST = "com\nuk\nco.uk\n"


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "public_suffix_list.dat"
    path.write_bytes(b"\xff\xfe\x00com")
    assert RegisteredDomains(str(path)).of("a.example.com") == "example.com"


def test_the_list_is_what_the_limit_counts_by(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(_LIST, encoding="utf-8")
    written(tmp_path, numbered("issued", 50, under="co.uk"))
    ledger = Ledger(str(tmp_path / "ledger.jsonl"), suffix_list=str(path))
    assert ledger.refusal(settings("chat.co.uk"), now=NOW) is None
    written(tmp_path, numbered("issued", 50, under="example.co.uk"))
    refusal = ledger.refusal(settings("chat.example.co.uk"), now=NOW)
    assert refusal is not None
    assert "under example.co.uk" in refusal.why
