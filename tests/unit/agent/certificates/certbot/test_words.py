"""What certbot said, in words for a person; one case a few files, each from a real run.

NAME.txt is certbot's output, NAME.log.txt the end of its log if that says more, NAME.yml what
they mean. They were written by certbot 1.12, 2.1, 4.0 and 5.8 against Pebble, and against a front
of Pebble that answers in the words of Let's Encrypt where Pebble cannot (limits, accounts, CAA).
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.agent.certificates.certbot.words import Failure, explain
from tests.support import paths

CASES = paths.CASES / "certbot"
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC).timestamp()
SETTINGS: dict[str, Any] = {
    "names": ["chat.example.org"],
    "directory": "https://acme.example.org/dir",
    "challenge": "http-01",
    "challenge_port": 8402,
}
KINDS = {
    "connection",
    "dns",
    "caa",
    "unauthorized",
    "rate-limited",
    "email",
    "account",
    "account-gone",
    "eab",
    "bad-nonce",
    "directory-down",
    "tls",
    "timeout",
    "rejected-identifier",
    "bad-csr",
    "profile",
    "port-in-use",
    "clock",
    "lock",
    "plugin",
    "unknown",
}
SECRET = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
LOG = "Saving debug log to /var/log/deployer/certbot/letsencrypt.log\n"


def explained(output: str, log: str = "", **settings: Any) -> Failure:
    return explain(output, log, settings={**SETTINGS, **settings}, now=NOW)


def told_by(name: str, **settings: Any) -> Failure:
    """What the files of case `name` mean."""
    log = CASES / f"{name}.log.txt"
    text = log.read_text() if log.exists() else ""
    return explained((CASES / f"{name}.txt").read_text(), text, **settings)


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yml")))
def test_words(name: str) -> None:
    case = yaml.safe_load((CASES / f"{name}.yml").read_text())
    failure = told_by(name, **case.get("settings", {}))
    assert failure.words == case["words"]
    assert failure.kind == case["kind"]
    assert list(failure.failed_names) == case.get("failed_names", [])
    at = case.get("retry_at")
    assert failure.retry_at == (None if at is None else datetime.fromisoformat(at).timestamp())


def test_every_kind_has_a_case() -> None:
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in CASES.glob("*.yml")}
    assert kinds == KINDS


def test_a_log_of_another_run_is_passed_over() -> None:
    log = (CASES / "rate-header-only.log.txt").read_text()
    failure = explained("No such thing. See the logfile /tmp/certbot-log-x1/log for more.\n", log)
    assert failure.kind == "unknown"
    assert explained(LOG + "An unexpected error occurred:\nX\n", log).kind == "rate-limited"


def test_an_answer_that_was_put_right_by_the_next_one_is_no_cause() -> None:
    log = (CASES / "bad-nonce.log.txt").read_text()
    fine = "2026-11-21 09:46:34,475:DEBUG:acme.client:Received response:\nHTTP 200\n\n{}\n"
    assert told_by("port-in-use").kind == "port-in-use"
    output = (CASES / "port-in-use.txt").read_text()
    assert explained(output, log + fine).kind == "port-in-use"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "certbot ended without any output"),
        (LOG + "\n- - - -\n", "certbot ended without any output"),
        (
            LOG + "An unexpected error occurred:\nKeyError: 'x'\n"
            "Ask for help or search for solutions at https://community.letsencrypt.org. See the "
            "logfile /var/log/x or re-run Certbot with -v for more details.\n",
            "KeyError: 'x'",
        ),
        ("1\n2\n3\n4\n  5  6\n", "2 3 4 5 6"),
        ("x" * 5000, "x" * 599 + "…"),
        ("\x1b[31mred\x07\u202e", "?[31mred??"),
        ("{0} {directory} %s", "{0} {directory} %s"),
    ],
)
def test_unknown_output_is_quoted(output: str, words: str) -> None:
    failure = explained(output)
    assert (failure.words, failure.kind) == (words, "unknown")


@pytest.mark.parametrize(
    "line",
    ["a-", " ", "token ", "secret-", "Encountered error ", "Detail: \n", "A: b\n", '"x" != ', "=/"],
)
def test_no_ca_can_make_us_search_for_long(line: str) -> None:
    answer = "2026-11-21 09:46:34,475:DEBUG:acme.client:Received response:\nHTTP 400\nA: b\n\n"
    text = line * (65536 // len(line))
    detail = json.dumps({"type": "urn:ietf:params:acme:error:malformed", "detail": text})
    started = time.process_time()
    explained(LOG + "  Domain: a\n  Type: dns\n  Detail: " + text, eab={"hmac_key": "a-a-a-a-b"})
    explained(LOG + "Encountered error" + text, answer + text)
    explained(LOG, answer + detail, eab={"hmac_key": "a-a-a-a-b"})
    assert time.process_time() - started < 5


def test_a_failed_wildcard_is_the_name_as_it_was_asked_for() -> None:
    names = ["*.chat.example.org", "www.example.org"]
    failure = told_by("no-txt-record", names=names, challenge="dns-01")
    assert failure.failed_names == ("*.chat.example.org", "chat.example.org")


@pytest.mark.parametrize("junk", ["Retry-After: soon", "Retry-After: -5", "Retry-After: ", "X: 1"])
def test_a_time_that_is_none_is_an_hour(junk: str) -> None:
    log = (CASES / "rate-header-only.log.txt").read_text().replace("Retry-After: 5400", junk)
    output = (CASES / "rate-header-only.txt").read_text()
    assert explained(output, log).retry_at == NOW + 3600


@pytest.mark.parametrize("body", ["", "{", "[]", '{"type": 7, "detail": null, "subproblems": 3}'])
def test_an_answer_without_a_form_is_reported_by_its_status(body: str) -> None:
    log = (
        f"2026-11-21 09:46:34,475:DEBUG:acme.client:Received response:\nHTTP 500\nA: b\n\n{body}\n"
    )
    assert explained(LOG, log).words == (
        "the CA answers 500 Internal Server Error at https://acme.example.org/dir: try again later"
    )


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output",
    [
        f"certbot: error: unrecognized arguments: --eab-hmac-key {SECRET}",
        f"An unexpected error occurred:\nValueError: {SECRET[:20]}{SECRET[20:]} is not base64",
        f"  Domain: chat.example.org\n  Type: unauthorized\n  Detail: got {SECRET}\n",
    ],
)
def test_the_hmac_key_is_in_no_words(output: str) -> None:
    words = explained(output, eab={"kid": "kid-1", "hmac_key": SECRET}).words
    assert SECRET[:16] not in words
    assert "(hidden)" in words or "hmac" in words


def test_a_key_that_was_wrapped_is_hidden_too() -> None:
    output = "Error: the key abcdefgh-\n   ijklmnop-\n   qrstuvwx was not taken"
    words = explained(output, eab={"kid": "kid-1", "hmac_key": "abcdefgh-ijklmnop-qrstuvwx"}).words
    assert words == "Error: the key (hidden) was not taken"


def test_what_a_dns_plugin_keeps_secret_is_in_no_words(tmp_path: Path) -> None:
    path = tmp_path / "dns.ini"
    path.write_text(
        "# x\ndns_x_server = 192.0.2.53\ndns_x_api_key = s3cr3tw0rd\ndns_x_token=abcd1234\n"
    )
    dns = {"plugin": "x", "credentials": str(path), "propagation_s": 1}
    output = "Error communicating with the API at 192.0.2.53: s3cr3tw0rd is not abcd1234"
    words = explained(output, dns=dns).words
    assert "(hidden) is not (hidden)" in words
    assert "192.0.2.53" in words


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("password=hunter22, user=me", "password=(hidden), user=me"),
        ('{"api_key": "abcdefgh"}', '{"api_key": (hidden)"}'),
        ("Authorization token: abc.def-ghi", "Authorization token: (hidden)"),
        ("the secret key could not be read", "the secret key could not be read"),
        ("--eab-hmac-key abc123def", "--eab-hmac-key (hidden)"),
    ],
)
def test_what_is_called_a_secret_is_hidden(said: str, shown: str) -> None:
    assert explained(said).words == shown
