"""What is on a host between two runs, in words; and how a host's history reads."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from deployer.agent.commit.states import UNDER_WAY
from deployer.commit.host_status import (
    Ended,
    Lock,
    UnfinishedCommit,
    ended_from,
    last_note,
    lock_from,
    lock_words,
    outcome_words,
    status_document,
    status_from,
    unfinished_notes,
    unfinished_words,
    when,
)
from deployer.commit.kept_edits import kept_edits
from deployer.commit.states import MEANINGS
from deployer.model import CheckResult, HandshakeResult
from deployer.report.history import history_lines
from deployer.verify.summary import summary_lines

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
RECOVER = "deployer recover site.yml"
FACTS: dict[str, Any] = {
    "lock": {"who": "ada", "from": "desk", "since": "2026-11-21T11:58:00Z"},
    "pending": {
        "commit": "c7",
        "who": "bob",
        "from": "lab",
        "time": "2026-11-21T11:00:00Z",
        "state": "pending",
        "deadline": "2026-11-21T12:02:00Z",
        "why": "",
        "failed": [],
        "kept": [],
    },
    "generation": 3,
    "last": None,
}
FREE = {"lock": None, "pending": None, "generation": 0, "last": None}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-21T11:59:59Z", "2026-11-21 11:59:59 UTC, 1 second ago"),
        ("2026-11-21T11:59:00Z", "2026-11-21 11:59:00 UTC, 60 seconds ago"),
        ("2026-11-21T11:57:00Z", "2026-11-21 11:57:00 UTC, 3 minutes ago"),
        ("2026-11-21T08:30:00+00:00", "2026-11-21 08:30:00 UTC, 3 hours ago"),
        ("2026-11-18T12:00:00Z", "2026-11-18 12:00:00 UTC, 3 days ago"),
        ("2026-11-21T12:00:05Z", "2026-11-21 12:00:05 UTC"),  # the host's clock is ahead
        ("yesterday", "yesterday"),
        ("", "at an unknown time"),
    ],
)
def test_times_show_their_age_if_the_clocks_agree(text: str, words: str) -> None:
    assert when(text, NOW) == words


def test_a_free_host_has_nothing_to_report() -> None:
    status = status_from(FREE)
    assert (status.lock, status.unfinished, status.last) == (None, None, None)
    assert list(unfinished_notes(status, now=NOW, recover=RECOVER)) == []
    assert last_note(None, now=NOW) == ""
    assert outcome_words(None, now=NOW) == "nothing has been applied here yet"


def test_the_lock_message_names_holder_time_and_command() -> None:
    lock = status_from(FACTS).lock
    assert lock is not None
    words = lock_words(lock, now=NOW, history="deployer history site.yml")
    assert words.startswith(
        "the run of ada from desk holds the lock of this host, since 2026-11-21 11:58:00 UTC, "
        "2 minutes ago\n"
    )
    assert "\n--lock-timeout SECONDS waits until it ends;\n" in words
    assert "`deployer history site.yml`" in words
    later = lock_words(lock, now=NOW, waited_s=2.5, history="")
    assert "still holds the lock" in later
    assert "waited 2.5 s for it" in later


def test_the_error_locked_gives_the_same_lock_as_the_facts() -> None:
    details = {"holder": "ada from desk", "since": "2026-11-21T11:58:00Z", "pid": 7}
    assert lock_from(details) == status_from(FACTS).lock
    assert Lock(who="the watchdog", origin="web1", since="").owner == "the watchdog on web1"


@pytest.mark.parametrize("state", sorted(UNDER_WAY))
def test_an_unfinished_commit_is_reported_with_state_and_fix(state: Any) -> None:
    failed = ({"resource_id": "file:/etc/a", "message": "no\nspace"},)
    found = UnfinishedCommit(
        commit="c7",
        who="bob",
        origin="lab",
        time="2026-11-21T11:00:00Z",
        state=state,
        deadline="2026-11-21T12:02:00Z",
        failed=failed if state == "revert-failed" else (),
    )
    words = unfinished_words(found, now=NOW, recover=RECOVER)
    assert words.startswith(
        "the commit c7 of bob from lab, started 2026-11-21 11:00:00 UTC, 60 minutes ago"
    )
    assert f"State: {state}: {MEANINGS[found.state]}." in words
    if state == "revert-failed":
        assert words.endswith(
            f"Nothing was changed by this run. To fix it, once the cause is gone: {RECOVER}\n"
            f"To leave the host as it is now: {RECOVER} --abandon"
        )
    else:
        assert words.endswith(f"Nothing was changed by this run. To fix it: {RECOVER}")
    assert ("soon after 2026-11-21 12:02:00 UTC, or at the next boot" in words) == (
        state == "pending"
    )
    assert ("file:/etc/a: no\n        space" in words) == (state == "revert-failed")
    assert RECOVER not in unfinished_words(found, now=NOW)


def test_a_deadline_that_has_passed() -> None:
    pending = {**FACTS["pending"], "deadline": "2026-11-21T11:02:00Z"}
    found = status_from({**FACTS, "pending": pending}).unfinished
    assert found is not None
    assert "rolls it back shortly, or at the next boot" in unfinished_words(found, now=NOW)


def test_a_read_only_command_gets_one_line() -> None:
    (at_work,) = unfinished_notes(status_from(FACTS), now=NOW, recover=RECOVER)
    assert "the run of ada from desk holds the lock" in at_work
    alone = status_from({**FACTS, "lock": None})
    (pending,) = unfinished_notes(alone, now=NOW, recover=RECOVER)
    assert pending.endswith(f"to fix it: {RECOVER}")
    assert "\n" not in at_work + pending


def ended(**about: Any) -> Ended:
    return ended_from(
        {
            "commit": "c6",
            "who": "bob",
            "from": "lab",
            "time": "2026-11-21T11:00:00Z",
            "state": "reverted",
            "why": "",
            **about,
        }
    )


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (
            ended(why="deadline"),
            "was rolled back by the host: it was not confirmed by its deadline",
        ),
        (ended(why="boot"), "was rolled back by the host: the host was booted again"),
        (ended(why="the controller went away"), "the run that created it disconnected"),
        (ended(state="abandoned", why="deadline"), "was abandoned: the host was left as it was"),
        (
            ended(state="revert-failed", kept=[{"path": "/etc/a", "why": "edited"}]),
            "was rolled back; not restored, because it was changed meanwhile: /etc/a",
        ),
    ],
)
def test_a_rollback_by_the_host_is_always_reported(last: Ended, words: str) -> None:
    assert words in last_note(last, now=NOW)
    assert words in outcome_words(last, now=NOW)


@pytest.mark.parametrize("why", ["the verification failed", "interrupted", "sh ended with 1"])
def test_a_rollback_by_a_run_needs_no_note(why: str) -> None:
    assert last_note(ended(why=why), now=NOW) == ""
    assert outcome_words(ended(why=why), now=NOW).endswith(f"was rolled back: {why}")


def test_a_confirmed_commit_has_its_generation() -> None:
    words = outcome_words(ended(state="confirmed", generation=4), now=NOW)
    assert words.endswith("was confirmed as generation 4")


# --- files that were kept -------------------------------------------------------------------------


def kept(former: bytes | None, now: bytes | None) -> dict[str, Any]:
    """The only item of a reply with these contents."""
    encoded = [None if text is None else base64.b64encode(text).decode() for text in (former, now)]
    item = {"path": "/etc/a", "why": "edited", "former_b64": encoded[0], "now_b64": encoded[1]}
    (made,) = kept_edits({"kept": [item]}, secrets={"sesame"})
    return dict(made)


def test_an_edited_file_is_diffed_from_before_the_commit_to_now() -> None:
    assert kept(b"one\ntwo\n", b"one\nthree\n")["diff"].splitlines() == [
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+three",
    ]
    assert kept(None, b"new\n")["diff"] == "@@ -0,0 +1 @@\n+new"
    assert kept(b"old\n", None)["diff"] == "@@ -1 +0,0 @@\n-old"


def test_an_edited_file_with_secrets_or_bytes_has_no_diff() -> None:
    assert kept(b"a\n", b"key sesame\n")["diff"].endswith("+key (secret)")
    assert "diff" not in kept(b"a\n", b"\0\1")
    assert "diff" not in kept(b"a\n", b"-----BEGIN PRIVATE KEY-----\n")
    (bare,) = kept_edits({"kept": [{"path": "/etc/a", "why": "edited"}]})
    assert dict(bare) == {"path": "/etc/a", "why": "edited"}


# --- history --------------------------------------------------------------------------------------


def entry(**about: Any) -> dict[str, Any]:
    return {
        "generation": None,
        "commit": "c6",
        "who": "bob",
        "from": "lab",
        "time": "2026-11-21T11:00:00Z",
        "state": "reverted",
        "changes": [],
        "verified": [],
        **about,
    }


def read(*entries: dict[str, Any], verbose: bool = False) -> str:
    return "\n".join(
        " " * line.indent + line.text for line in history_lines(entries, verbose=verbose)
    )


CHANGES = [
    {"resource_id": "package:nginx", "action": "create"},
    {"resource_id": "file:/etc/a", "action": "update"},
    {"resource_id": "file:/etc/b", "action": "create"},
    {"resource_id": "service:nginx", "action": "update"},
]


def test_a_generation_lists_its_changes_and_its_verification() -> None:
    confirmed = entry(
        generation=3,
        state="confirmed",
        changes=CHANGES,
        verified=["2 handshakes (x: y)", "5 more checks: page, h2c"],
    )
    counts = "1 installed, 1 created, 1 updated, 1 changed"
    assert read(confirmed).splitlines() == [
        "   3  2026-11-21 11:00:00Z  confirmed  bob from lab",
        f"      {counts}: package nginx, /etc/a, /etc/b and 1 more",
        "      verified by 2 handshakes (x: y), 5 more checks",
    ]
    whole = read(confirmed, verbose=True)
    assert "        changed service nginx" in whole
    assert (
        "      verified by\n        2 handshakes (x: y)\n        5 more checks: page, h2c" in whole
    )


def test_every_state_has_a_text() -> None:
    assert "reverted   bob from lab" in read(entry(why="boot"))
    assert "because the host was booted again" in read(entry(why="boot"))
    for state in UNDER_WAY:
        assert f"{state:<9}  bob from lab" in read(entry(state=state))
        assert f"not finished: {MEANINGS[state]}" in read(entry(state=state))
    kept_files = entry(state="revert-failed", kept=[{"path": "/etc/a", "why": "edited"}])
    assert "reverted   bob from lab" in read(kept_files)
    assert "but kept /etc/a: edited" in read(kept_files)
    assert "not finished" not in read(kept_files)
    assert "abandoned  bob" in read(entry(state="abandoned"))
    failed = entry(state="revert-failed", failed=[{"resource_id": "user:x", "message": "no"}])
    assert "not restored: user:x: no" in read(failed)
    assert read() == "  nothing has been applied here yet"


def test_a_damaged_record_can_be_read() -> None:
    words = read(entry(who="", **{"from": "", "time": ""}))
    assert "at an unknown time" in words
    assert "someone from somewhere" in words


def check(name: str, target: str, **about: Any) -> CheckResult:
    return CheckResult(
        site="a.example", name=name, target=target, hop=about.pop("hop", "proxy"), ok=True, **about
    )


def test_a_verification_in_one_line() -> None:
    assert summary_lines(
        [
            check("certificate", "a.example", valid_until="2027-02-19"),
            check("redirect to https", "http://a.example/"),
            check("handshake", "/ws", seconds=0.0123),
            check("handshake", "/ws at 127.0.0.1:7890", seconds=0.003, hop="backend"),
            check("handshake", "www.a.example/ws", seconds=0.02),
            check("h2c refused", "/ws"),
            check("h2c refused", "/"),
        ]
    ) == [
        "3 handshakes (a.example/ws: proxy 12 ms, service 3 ms; www.a.example/ws: proxy 20 ms)",
        "TLS until 2027-02-19 (a.example)",
        "3 more checks: redirect to https, h2c refused",
    ]
    assert summary_lines([]) == []


def test_a_refusal_is_no_handshake_in_the_summary() -> None:
    refused = HandshakeResult(uri="wss://a.example/", hop="proxy", status_code=403)
    shaken = replace(check("handshake", "/"), handshake=refused)
    left_out = replace(check("handshake", "/raw"), skipped=True)
    assert summary_lines([shaken, left_out]) == ["1 refusal of the service, unchanged (a.example/)"]


def test_the_status_as_json() -> None:
    status = status_from(FACTS)
    document = status_document(
        lock=status.lock,
        unfinished=status.unfinished,
        last=ended(why="boot", kept=[{"path": "/etc/a", "why": "edited", "now_b64": "aGk="}]),
        recover=RECOVER,
    )
    assert document is not None
    assert document["lock"] == {"who": "ada", "from": "desk", "since": "2026-11-21T11:58:00Z"}
    assert document["under_way"]["means"] == MEANINGS[document["under_way"]["state"]]
    assert document["recover"] == RECOVER
    assert (document["last"]["why"], document["last"]["kept"]) == ("boot", ["/etc/a"])
    assert status_document(recover=RECOVER) is None


def test_a_damaged_journal_can_only_be_abandoned() -> None:
    damage = {"resource_id": "journal", "message": "line 1 is not as it was written"}
    pending = {**FACTS["pending"], "state": "revert-failed", "failed": [damage]}
    found = status_from({**FACTS, "pending": pending}).unfinished
    assert found is not None
    words = unfinished_words(found, now=NOW, recover=RECOVER)
    assert "State: revert-failed: the host is as it was found" in words
    assert words.endswith(f"To leave the host as it is now: {RECOVER} --abandon")
    assert "To fix it" not in words


def test_an_unknown_watchdog_is_not_mentioned() -> None:
    pending = {**FACTS["pending"], "time": "", "watched": False}
    found = status_from({**FACTS, "pending": pending}).unfinished
    assert found is not None
    words = unfinished_words(found, now=NOW, recover=RECOVER)
    assert "Its record cannot be read" in words
    assert "without a watchdog" not in words
