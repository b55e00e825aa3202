"""The failure budget: each limit at its edge, and a ledger, a clock or a list that is not right."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployer.remote import ledger as module
from deployer.remote.ledger import Ledger
from deployer.remote.registered_domain import RegisteredDomains

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
    "four failures": ([failed()] * 4, settings(), ""),
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
    "staging forgives 199": (
        [failed(**AT_STAGING)] * 199,
        settings(directory=STAGING),
        "",
    ),
    "but not 200": (
        [failed(**AT_STAGING)] * 200,
        settings(directory=STAGING),
        "200 is the most",
    ),
    "four duplicates": ([event("issued")] * 4, settings(), ""),
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
    "five duplicates of a part of the names": (
        [event("issued")] * 5,
        settings(NAME, "www." + NAME),
        "",
    ),
    "five duplicates at a CA of one's own": ([event("issued")] * 5, settings(limits="none"), ""),
    "five duplicates at staging": (
        [event("issued", **AT_STAGING)] * 5,
        settings(directory=STAGING),
        "",
    ),
    "five renewals by ARI": ([event("issued", is_renewal_by_ari=True)] * 5, settings(), ""),
    "a duplicate comes back in a fifth of a week": (
        [event("issued", 7 * DAY / 5)] * 5,
        settings(),
        "",
    ),
    "49 of a domain": (numbered("issued", 49), settings(), ""),
    "50 of a domain": (
        numbered("issued", 50),
        settings(),
        "too many certificates under example.com within a week: 50 is the most",
    ),
    "50 of a domain, and one of them again": (
        numbered("issued", 50),
        settings("n7.example.com"),
        "",
    ),
    "50 of another domain": (numbered("issued", 50, under="example.net"), settings(), ""),
    "50 at staging": (
        [{**each, **AT_STAGING} for each in numbered("issued", 50)],
        settings(directory=STAGING),
        "",
    ),
    "299 orders": (numbered("order", 299, under="example.net"), settings(), ""),
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
def test_what_is_told_is_when_it_is_possible(
    events: list[Event], wait_s: float, tmp_path: Path
) -> None:
    """Not earlier than the CA would have it, and not much later; then it is not refused."""
    ledger = written(tmp_path, events)
    refusal = ledger.refusal(settings(), now=NOW)
    assert refusal is not None
    assert wait_s <= refusal.until - NOW <= wait_s * 1.05
    told = refusal.why.partition("again from ")[2].removesuffix(" UTC")
    minute = time.strptime(told + " +0000", "%Y-%m-%d %H:%M %z")
    assert minute[:5] == time.gmtime(refusal.until + 59)[:5]
    assert ledger.refusal(settings(), now=refusal.until) is None


def test_the_longest_wait_is_told(tmp_path: Path) -> None:
    events = [*[event("issued")] * 5, *[failed()] * 5]
    refusal = written(tmp_path, events).refusal(settings(), now=NOW)
    assert refusal is not None
    assert "exactly these names" in refusal.why


# --- what the CA has said -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "until", "at", "is_refused"),
    [
        (NAME, NOW + 90, NOW, True),
        (NAME, NOW + 90, NOW + 89, True),
        (NAME, NOW + 90, NOW + 90, False),
        ("other.example.com", NOW + 90, NOW, False),
        (NAME, NOW + 365 * DAY, NOW + 7 * DAY - 1, True),  # it believes nobody for longer
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


def test_an_account_is_told_to_wait(tmp_path: Path) -> None:
    ledger = written(tmp_path, [event("rate-limited", not_before=NOW + 90, account="a1")])
    asked = settings("other.example.com")
    assert ledger.refusal(asked, now=NOW, account="a1") is not None
    assert ledger.refusal(asked, now=NOW, account="a2") is None


def test_a_renewal_by_ari_is_free_of_limits_but_not_of_what_was_said(tmp_path: Path) -> None:
    events = [*[event("issued")] * 5, *[failed()] * 5]
    ledger = written(tmp_path, events)
    assert ledger.refusal(settings(), now=NOW, is_renewal_by_ari=True) is None
    ledger = written(tmp_path, [event("rate-limited", not_before=NOW + 90)])
    assert ledger.refusal(settings(), now=NOW, is_renewal_by_ari=True) is not None


# --- files that are not right ---------------------------------------------------------------------

_CUT_OFF = '{"at": 1800000000.0, "what": "fai'


@pytest.mark.parametrize(
    "line",
    [
        _CUT_OFF,
        "",
        "null",
        "[]",
        '"failed"',
        "{}",
        '{"at": "noon", "what": "failed", "directory": "x", "names": []}',
        '{"at": 1.0, "what": "failed", "directory": 7, "names": []}',
        '{"at": 1.0, "what": "failed", "directory": "x", "names": "chat"}',
        '{"at": 1.0, "what": "failed", "directory": "x", "names": [], "not_before": "never"}',
        "\x00\x00\x00\ufffd",
    ],
)
def test_a_line_that_is_none(line: str, tmp_path: Path) -> None:
    """The others count, and what is written next is whole."""
    ledger = written(tmp_path, [failed()] * 4, tail=line)
    assert ledger.refusal(settings(), now=NOW) is None
    ledger.append("failed", directory=CA, names=[NAME], failed_names=[NAME], now=NOW)
    assert ledger.refusal(settings(), now=NOW) is not None
    last = (tmp_path / "ledger.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["failed_names"] == [NAME]


def test_no_file_and_one_that_is_for_others_too(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "ledger.jsonl"
    ledger = Ledger(str(path))
    assert ledger.is_empty
    assert ledger.refusal(settings(), now=NOW) is None
    umask = os.umask(0)
    try:
        ledger.append("order", directory=CA, names=[NAME], now=NOW)
    finally:
        os.umask(umask)
    assert not ledger.is_empty
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_old_events_go_but_not_what_tells_that_it_has_worked(tmp_path: Path) -> None:
    old = [failed(31 * DAY), event("issued", 31 * DAY), event("order", 31 * DAY)]
    ledger = written(tmp_path, [*old, event("order", 29 * DAY)])
    ledger.append("order", directory=CA, names=[NAME], now=NOW)
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["issued", "order", "order"]
    assert ledger.has_succeeded(CA)
    assert (tmp_path / "ledger.jsonl").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.jsonl"]


@pytest.mark.parametrize(
    ("what", "directory", "expected"),
    [
        ("issued", CA, True),
        ("staging-ok", CA, True),
        ("issued", STAGING, False),
        ("failed", CA, False),
        ("order", CA, False),
    ],
)
def test_whether_it_has_ever_worked(
    what: str, directory: str, expected: bool, tmp_path: Path
) -> None:
    ledger = written(tmp_path, [event(what, directory=directory)])
    assert ledger.has_succeeded(CA) is expected


def test_somebody_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """A clock that was days ahead, and is right again: nobody waits for days."""
    ledger = written(tmp_path, [failed(-10 * DAY)] * 5)
    refusal = ledger.refusal(settings(), now=NOW)
    assert refusal is not None
    assert refusal.until <= NOW + 12.5 * MINUTE
    assert ledger.refusal(settings(), now=refusal.until) is None


def test_a_clock_that_was_never_set_frees_nobody(tmp_path: Path) -> None:
    ledger = written(tmp_path, [*[failed()] * 5, {**event("order"), "at": 1000.0}])
    assert ledger.refusal(settings(), now=NOW) is not None
    assert ledger.refusal(settings(), now=1000.0) is not None
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 6


def test_how_much_is_used_up(tmp_path: Path) -> None:
    events = [*[failed()] * 2, *[event("issued")] * 3, *[event("order")] * 5]
    usage = written(tmp_path, events).usage(settings(), now=NOW)
    found = {each.words: (each.used, each.most) for each in usage}
    assert found == {
        f"failed validations of {NAME} within an hour": (2, 5),
        "certificates for exactly these names within a week": (3, 5),
        "certificates under example.com within a week": (3, 50),
        "orders of this account within three hours": (5, 300),
    }


# --- registered domains ---------------------------------------------------------------------------

_LIST = """\
// ===BEGIN ICANN DOMAINS===
com
uk   // spaces end a rule
co.uk
*.ck
!www.ck
公司.cn

// ===BEGIN PRIVATE DOMAINS===
github.io
"""


@pytest.mark.parametrize(
    ("name", "by_list", "without"),
    [
        ("example.com", "example.com", "example.com"),
        ("a.b.example.com", "example.com", "example.com"),
        ("*.b.example.com", "example.com", "example.com"),
        ("A.Example.COM.", "example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk", "example.co.uk"),
        ("a.example.uk", "example.uk", "example.uk"),
        ("a.b.github.io", "b.github.io", "github.io"),
        ("a.b.other.ck", "b.other.ck", "other.ck"),
        ("a.www.ck", "www.ck", "www.ck"),
        ("a.example.xn--55qx5d.cn", "example.xn--55qx5d.cn", "xn--55qx5d.cn"),
        ("a.example.unheard-of", "example.unheard-of", "example.unheard-of"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::/64", "2001:db8::/64"),
    ],
)
def test_registered_domains(name: str, by_list: str, without: str, tmp_path: Path) -> None:
    path = tmp_path / "public_suffix_list.dat"
    path.write_text(_LIST, encoding="utf-8")
    assert RegisteredDomains(str(path)).of(name) == by_list
    assert RegisteredDomains(str(tmp_path / "none")).of(name) == without


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
