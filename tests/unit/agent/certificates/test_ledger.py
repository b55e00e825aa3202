"""The failure budget: which orders must wait, and until when."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployer.agent.certificates.ledger import Ledger
from deployer.agent.certificates.registered_domain import RegisteredDomains

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
LE = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
OTHER = "https://ca.example.net/dir"


def settings(*names: str, directory: str = LE, limits: str = "letsencrypt") -> dict[str, Any]:
    return {"domain": names[0], "names": list(names), "directory": directory, "limits": limits}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "certificates" / "ledger.jsonl"


@pytest.fixture
def ledger(path: Path, tmp_path: Path) -> Ledger:
    suffixes = tmp_path / "suffixes.dat"
    suffixes.write_text("// a list\ncom\nuk\nco.uk\n")
    return Ledger(str(path), suffix_list=str(suffixes))


def note(ledger: Ledger, what: str, *names: str, at: float, **details: Any) -> None:
    ledger.append(what, **{"directory": LE, "names": names, "now": at, **details})


def wait(ledger: Ledger, *names: str, now: float = NOW, **options: Any) -> float | None:
    """For how many seconds an order must wait; `None` where it may be made."""
    known = {key: options.pop(key) for key in ("account", "is_renewal_by_ari") if key in options}
    refusal = ledger.refusal(settings(*names, **options), now=now, **known)
    return None if refusal is None else refusal.until - now


# --- each limit at its edge -----------------------------------------------------------------------

#: What is counted, of how many names, how many of it may be, and how long one takes to come back.
LIMITS: dict[str, tuple[str, str, Callable[[int], tuple[str, ...]], int, float]] = {
    "duplicates": (LE, "issued", lambda n: ("a.com",), 5, 7 * DAY / 5),
    "of a domain": (LE, "issued", lambda n: (f"w{n}.a.com",), 50, 7 * DAY / 50),
    "orders": (LE, "order", lambda n: (f"a{n}.com",), 300, 36.0),
    "failed": (LE, "failed", lambda n: ("a.com",), 5, HOUR / 5),
    "orders in staging": (STAGING, "order", lambda n: (f"a{n}.com",), 1500, 7.2),
    "failed in staging": (STAGING, "failed", lambda n: ("a.com",), 200, 18.0),
}


@pytest.mark.parametrize("case", LIMITS)
def test_the_last_one_is_allowed_and_the_next_waits_for_a_token(
    ledger: Ledger, path: Path, case: str
) -> None:
    directory, what, names_of, most, token_s = LIMITS[case]
    lines = []
    for number in range(most):
        names = names_of(number)
        event = {"at": NOW, "what": what, "directory": directory, "names": names}
        lines.append({**event, "failed_names": names if what == "failed" else ()})
    path.parent.mkdir()
    path.write_text("".join(json.dumps(each) + "\n" for each in lines[:-1]))
    assert wait(ledger, "a.com", directory=directory) is None
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    waits = wait(ledger, "a.com", directory=directory)
    assert waits is not None
    assert token_s <= waits <= 1.03 * token_s + 1e-3
    assert wait(ledger, "a.com", directory=directory, now=NOW + waits) is None
    assert wait(ledger, "a.com", directory=directory, now=NOW + 0.9 * token_s) is not None


def test_a_limit_of_one_ca_says_nothing_of_another(ledger: Ledger) -> None:
    for _ in range(5):
        note(ledger, "issued", "a.com", at=NOW)
    assert wait(ledger, "a.com") is not None
    assert wait(ledger, "a.com", directory=STAGING) is None
    assert wait(ledger, "a.com", "b.com") is None, "another set of names"
    assert wait(ledger, "A.com") is not None, "names do not differ by the case of letters"


def test_a_bucket_never_holds_more_than_its_most(ledger: Ledger) -> None:
    note(ledger, "issued", "a.com", at=NOW - 20 * DAY)
    for _ in range(4):
        note(ledger, "issued", "a.com", at=NOW)
    assert wait(ledger, "a.com") is None
    note(ledger, "issued", "a.com", at=NOW)
    assert wait(ledger, "a.com") is not None, "twenty days of rest do not add up to a sixth"


def test_the_longest_of_several_reasons_is_reported(ledger: Ledger) -> None:
    for _ in range(5):
        note(ledger, "failed", "a.com", at=NOW, failed_names=["a.com"])
        note(ledger, "issued", "a.com", at=NOW)
    refusal = ledger.refusal(settings("a.com"), now=NOW)
    assert refusal is not None
    assert refusal.why == (
        "too many certificates for exactly these names within a week: 5 is the most; "
        "it is possible again from 2027-01-16 18:37 UTC"
    )


def test_failures_count_for_the_names_that_failed(ledger: Ledger) -> None:
    for _ in range(5):
        note(ledger, "failed", "a.com", "b.com", at=NOW, failed_names=["b.com"])
    assert wait(ledger, "a.com") is None
    assert wait(ledger, "c.com", "b.com") is not None


def test_a_renewal_is_free_of_the_limits_of_orders_and_domains(ledger: Ledger) -> None:
    for number in range(50):
        note(ledger, "issued", f"w{number}.a.com", at=NOW)
    assert wait(ledger, "new.a.com") is not None
    assert wait(ledger, "w7.a.com") is None


def test_renewals_by_ari_are_free_and_take_nothing(ledger: Ledger) -> None:
    for _ in range(5):
        note(ledger, "issued", "a.com", at=NOW, is_renewal_by_ari=True)
    assert wait(ledger, "a.com") is None
    for _ in range(5):
        note(ledger, "issued", "a.com", at=NOW)
    assert wait(ledger, "a.com") is not None
    assert wait(ledger, "a.com", is_renewal_by_ari=True) is None


# --- other CAs, and what a CA says itself ---------------------------------------------------------


def test_a_ca_without_known_limits_is_still_not_asked_after_five_failures(ledger: Ledger) -> None:
    other: dict[str, Any] = {"directory": OTHER, "limits": "none"}
    for _ in range(9):
        note(ledger, "issued", "a.com", at=NOW, directory=OTHER)
    assert wait(ledger, "a.com", **other) is None
    for _ in range(5):
        note(ledger, "failed", "a.com", at=NOW, directory=OTHER, failed_names=["a.com"])
    assert wait(ledger, "a.com", **other) is not None
    assert wait(ledger, "a.com", **other, is_renewal_by_ari=True) is not None


@pytest.mark.parametrize("limits", ["letsencrypt", "none"])
def test_what_the_ca_said_holds_for_these_names_or_this_account(
    ledger: Ledger, limits: str
) -> None:
    note(ledger, "rate-limited", "a.com", at=NOW, account="1", not_before=NOW + HOUR)
    assert wait(ledger, "a.com", "b.com", limits=limits) == HOUR
    assert wait(ledger, "a.com", limits=limits, is_renewal_by_ari=True) == HOUR
    assert wait(ledger, "b.com", limits=limits) is None
    assert wait(ledger, "b.com", limits=limits, account="1") == HOUR
    assert wait(ledger, "b.com", limits=limits, account="2") is None
    assert wait(ledger, "a.com", limits=limits, directory=OTHER) is None
    assert wait(ledger, "a.com", limits=limits, now=NOW + HOUR) is None


def test_what_the_ca_said_holds_a_week_at_most(ledger: Ledger) -> None:
    note(ledger, "rate-limited", "a.com", at=NOW, not_before=NOW + 4000 * DAY)
    assert wait(ledger, "a.com") == 7 * DAY


# --- clocks ---------------------------------------------------------------------------------------


def test_a_clock_that_was_years_ahead_blocks_no_longer_than_the_limit(ledger: Ledger) -> None:
    for _ in range(5):
        note(ledger, "failed", "a.com", at=NOW + 900 * DAY, failed_names=["a.com"])
    waits = wait(ledger, "a.com")
    assert waits is not None
    assert waits <= HOUR
    assert wait(ledger, "a.com", now=NOW + waits) is None, "the jump was noted"


def test_a_clock_that_was_never_set_does_not_make_events_old(ledger: Ledger) -> None:
    for _ in range(5):
        note(ledger, "issued", "a.com", at=NOW)
    note(ledger, "failed", "a.com", at=12.0)
    assert wait(ledger, "a.com", now=15.0) is not None
    assert wait(ledger, "a.com") is not None


# --- the file -------------------------------------------------------------------------------------


def test_a_line_that_was_cut_off_costs_itself_alone(ledger: Ledger, path: Path) -> None:
    for _ in range(5):
        note(ledger, "issued", "a.com", at=NOW)
    path.write_bytes(path.read_bytes()[:-20])
    assert wait(ledger, "a.com") is None
    note(ledger, "issued", "a.com", at=NOW)
    assert wait(ledger, "a.com") is not None


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "3",
        "{}",
        "null",
        "\x00\x00",
        "\xff",
        '{"at": 1}',
        '{"at": "x", "what": "order"}',
        '{"at": 1, "what": "issued", "directory": 1, "names": []}',
        '{"at": 1, "what": "issued", "directory": "", "names": null}',
        '{"at": 1, "what": "rate-limited", "directory": "", "names": [], "not_before": []}',
    ],
)
def test_what_is_no_event_is_passed_over(ledger: Ledger, path: Path, line: str) -> None:
    path.parent.mkdir()
    path.write_bytes(line.encode("latin-1") + b"\n")
    assert ledger.is_empty
    assert wait(ledger, "a.com") is None
    note(ledger, "issued", "a.com", at=NOW)
    assert ledger.has_succeeded(LE)


def test_old_events_go_but_that_something_has_worked_is_kept(ledger: Ledger, path: Path) -> None:
    note(ledger, "staging-ok", "a.com", at=NOW - 40 * DAY, directory=STAGING)
    note(ledger, "issued", "a.com", at=NOW - 39 * DAY)
    note(ledger, "issued", "a.com", at=NOW - 31 * DAY)
    note(ledger, "order", "a.com", at=NOW - 31 * DAY)
    note(ledger, "order", "a.com", at=NOW - 29 * DAY)
    note(ledger, "order", "a.com", at=NOW)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(each["what"], (NOW - each["at"]) / DAY) for each in found] == [
        ("staging-ok", 40),
        ("issued", 31),
        ("order", 29),
        ("order", 0),
    ]
    assert ledger.has_succeeded(STAGING)
    assert not ledger.has_succeeded(OTHER)
    assert list(path.parent.iterdir()) == [path]


def test_those_who_write_at_once_lose_nothing_to_one_another(ledger: Ledger, path: Path) -> None:
    for number in range(20):
        note(ledger, "order", f"old{number}.com", at=NOW - (31 - number / 100) * DAY)

    def write(number: int) -> None:  # each prunes what is just too old for it
        at = NOW - DAY + number * DAY / 100
        note(Ledger(str(path)), "order", f"a{number}.com", at=at)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    found = [json.loads(line)["names"][0] for line in path.read_text().splitlines()]
    assert sorted(name for name in found if name.startswith("a")) == sorted(
        f"a{number}.com" for number in range(40)
    )
    assert len([name for name in found if name.startswith("old")]) < 20


def test_it_is_for_its_owner_alone(ledger: Ledger, path: Path) -> None:
    old = os.umask(0o000)
    try:
        note(ledger, "order", "a.com", at=NOW - 40 * DAY)
        modes = [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)]
        Path(f"{path}.new").touch(0o644)
        note(ledger, "order", "a.com", at=NOW)
    finally:
        os.umask(old)
    assert modes == [0o700, 0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().splitlines()) == 1


def test_a_ledger_that_is_not_there_is_empty(ledger: Ledger, path: Path) -> None:
    assert ledger.is_empty
    assert not ledger.has_succeeded(LE)
    assert wait(ledger, "a.com") is None
    assert not path.parent.exists(), "asking makes nothing"


def test_usage_counts_against_each_limit(ledger: Ledger) -> None:
    note(ledger, "failed", "a.com", at=NOW - HOUR / 10, failed_names=["a.com"])
    for name in ("a.com", "a.com", "b.a.com"):
        note(ledger, "order", name, at=NOW)
        note(ledger, "issued", name, at=NOW)
    found = ledger.usage(settings("a.com"), now=NOW)
    assert [(each.words, each.used, each.most) for each in found] == [
        ("failed validations of a.com within an hour", 1, 5),
        ("certificates for exactly these names within a week", 2, 5),
        ("certificates under a.com within a week", 3, 50),
        ("orders of this account within three hours", 3, 300),
    ]


# --- registered domains ---------------------------------------------------------------------------

SUFFIXES = """\
// ===BEGIN ICANN DOMAINS===
com
uk
co.uk
jp
*.kawasaki.jp
!city.kawasaki.jp
*.ck
!www.ck
cn
公司.cn
// ===BEGIN PRIVATE DOMAINS===
github.io   // trailing words
"""


@pytest.mark.parametrize(
    ("name", "by_list", "by_thumb"),
    [
        ("example.com", "example.com", "example.com"),
        ("*.example.com", "example.com", "example.com"),
        ("a.b.Example.com", "example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk", "example.co.uk"),
        ("a.b.city.kawasaki.jp", "city.kawasaki.jp", "kawasaki.jp"),
        ("a.b.c.kawasaki.jp", "b.c.kawasaki.jp", "kawasaki.jp"),
        ("a.www.ck", "www.ck", "www.ck"),
        ("a.b.other.ck", "b.other.ck", "other.ck"),
        ("me.github.io", "me.github.io", "github.io"),
        ("github.io", "github.io", "github.io"),
        ("a.shop.xn--55qx5d.cn", "shop.xn--55qx5d.cn", "xn--55qx5d.cn"),
        ("a.b.unheard", "b.unheard", "b.unheard"),
        ("localhost", "localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
    ],
)
def test_registered_domains(tmp_path: Path, name: str, by_list: str, by_thumb: str) -> None:
    suffixes = tmp_path / "suffixes.dat"
    suffixes.write_text(SUFFIXES, encoding="utf-8")
    assert RegisteredDomains(str(suffixes)).of(name) == by_list
    assert RegisteredDomains(str(tmp_path / "none")).of(name) == by_thumb
