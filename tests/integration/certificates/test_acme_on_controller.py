"""Certificates that certbot gets on the controller, from a real CA on loopback."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployer.agent.certificates.ledger import Ledger
from deployer.certificates.acme.issuer import Issuer
from deployer.certificates.acme.order import rehearse
from deployer.certificates.acme.store import CertificateStore, IssuedCertificate, lineage_of
from deployer.errors import CertificateError, UnreachableError, UsageError
from tests.support.certificates import pebble as pebble_here
from tests.support.certificates.pebble import Pebble, Responder
from tests.support.waiting import PATIENCE_S, until

NAMES = ("one.example.com", "two.example.com", "three.example.com")
EAB = {
    "kid": "kid-1",
    "hmac_key": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
}


def issuer(folder: Path, **options: Any) -> Issuer:
    return Issuer(folder, log=lambda line: None, **options)


def events(folder: Path) -> list[str]:
    text = (folder / "ledger.jsonl").read_text()
    return [json.loads(line)["what"] for line in text.splitlines()]


def certbots(folder: Path) -> list[int]:
    """The processes that were started with `folder` in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder / "config") in words:
            found.append(int(entry.parent.name))
    return found


def unwanted(token: str, key_authorization: str | None) -> None:
    pytest.fail("no challenge was expected")


def load(pair: IssuedCertificate, folder: Path) -> None:
    """OpenSSL takes the pair, as a proxy would."""
    for name, content in (("chain", pair.fullchain_pem), ("key", pair.key_pem)):
        (folder / name).write_bytes(content)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "chain", folder / "key")


def test_three_names_are_ordered_once_and_then_kept(
    pebble: Pebble, responder: Responder, folder: Path, tmp_path: Path
) -> None:
    settings, before, lines = pebble.settings(*NAMES), pebble.orders(), list[str]()
    first = Issuer(folder, log=lines.append).obtain(settings, answer=responder.answer)

    assert set(first.leaf.names) == set(NAMES)
    assert first.leaf.key_type == "ecdsa-p256"
    load(first, tmp_path)
    assert [wanted for _, wanted in responder.asked] == [True] * 3 + [False] * 3
    assert responder.answers == {}
    for name in NAMES:
        assert f"answering the challenge for {name}" in lines
    assert b"PRIVATE KEY" not in repr(first).encode()
    assert events(folder) == ["order", "issued"]
    attempt = issuer(folder).last_attempt(settings)
    assert attempt is not None
    assert (attempt["ok"], attempt["what"]) == (True, "issued")

    again = issuer(folder)
    assert again.kept(settings) == first
    assert again.obtain(settings, answer=unwanted) == first
    assert pebble.orders() == before + 1

    # Other names, another key, another profile: none of them is what is there.
    assert again.kept(pebble.settings(*NAMES[:2])) is None
    assert again.kept({**settings, "key_type": "rsa-2048"}) is None
    assert again.kept({**settings, "profile": "shortlived"}) is None
    # The folder is closed, and its keys too.
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = folder / f"{lineage_of(settings)}.pem"
    assert kept.stat().st_mode & 0o777 == 0o600

    forced = issuer(folder).obtain(settings, answer=responder.answer, is_forced=True)
    assert forced.serial != first.serial
    assert issuer(folder).kept(settings) == forced


def test_a_certificate_of_another_ca_never_counts(
    pebble: Pebble, responder: Responder, folder: Path, tmp_path: Path
) -> None:
    ours = issuer(folder).obtain(pebble.settings("cas.example.com"), answer=responder.answer)
    with pebble_here.running(tmp_path / "ca") as (other, other_responder):
        settings = other.settings("cas.example.com")
        assert issuer(folder).kept(settings) is None
        theirs = issuer(folder).obtain(settings, answer=other_responder.answer)
        assert other.orders() == 1
    assert theirs.serial != ours.serial
    # Both stay, each for its own.
    assert issuer(folder).kept(pebble.settings("cas.example.com")) == ours
    assert issuer(folder).kept(settings) == theirs


def test_an_answer_that_cannot_be_given_ends_the_order_before_the_ca_looks(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    gone = UnreachableError("no answer", host="web2")
    withdrawn = []

    def answer(token: str, key_authorization: str | None) -> None:
        if key_authorization is None:
            withdrawn.append(token)
        elif len(responder.asked) == 1:
            raise gone
        responder.answer(token, key_authorization)

    given = issuer(folder)
    for _ in range(2):  # what went wrong in this run is not tried again in it
        with pytest.raises(UnreachableError) as caught:
            given.obtain(pebble.settings(*NAMES), answer=answer)
        assert caught.value is gone
    assert responder.looked_at == 0
    assert responder.answers == {}
    assert responder.asked[0][0] in withdrawn
    assert events(folder) == ["order", "failed"]
    assert certbots(folder) == []


def test_a_ca_that_is_down_is_reported(responder: Responder, folder: Path, tmp_path: Path) -> None:
    gone = pebble_here.start_pebble(tmp_path / "ca", http_port=responder.port)
    gone.stop()
    with pytest.raises(CertificateError) as caught:
        issuer(folder).obtain(gone.settings("down.example.com"), answer=unwanted)
    assert caught.value.kind == "directory-down"
    assert caught.value.exit_code == 3
    assert "no certificate for down.example.com: " in str(caught.value)
    attempt = issuer(folder).last_attempt(gone.settings("down.example.com"))
    assert attempt is not None
    assert not attempt["ok"]
    assert attempt["words"] == caught.value.why
    assert "Traceback" not in str(caught.value)


def test_a_ca_that_is_not_trusted_is_not_asked(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    with pytest.raises(CertificateError) as caught:
        issuer(folder).obtain(pebble.settings("tls.example.com", ca_bundle=None), answer=unwanted)
    assert caught.value.kind == "tls"


def test_a_validation_that_fails_names_its_name_and_uses_up_the_budget(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    def answer(token: str, key_authorization: str | None) -> None:
        """A host that claims to answer and does not."""

    settings = pebble.settings("silent.example.com")
    with pytest.raises(CertificateError) as caught:
        issuer(folder).obtain(settings, answer=answer)
    assert caught.value.failed_names == ("silent.example.com",)
    assert caught.value.kind == "unauthorized"

    ledger = Ledger(str(folder / "ledger.jsonl"))
    for _ in range(4):
        ledger.append(
            "failed",
            directory=pebble.directory,
            names=settings["names"],
            failed_names=settings["names"],
        )
    before = pebble.orders()
    with pytest.raises(CertificateError) as refused:
        issuer(folder).obtain(settings, answer=unwanted)
    assert refused.value.kind == "rate-limited"
    assert refused.value.retry_at is not None
    assert time.time() < refused.value.retry_at < time.time() + 3601
    assert pebble.orders() == before


def test_an_account_is_bound_to_a_customer_and_the_secret_stays_one(
    folder: Path, tmp_path: Path
) -> None:
    with pebble_here.running(tmp_path / "ca", eab={EAB["kid"]: EAB["hmac_key"]}) as (ca, responder):
        command_lines: list[bytes] = []

        def answer(token: str, key_authorization: str | None) -> None:
            for pid in certbots(folder):
                command_lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
            responder.answer(token, key_authorization)

        settings = ca.settings("bound.example.com", eab=EAB)
        with pytest.raises(CertificateError) as caught:
            issuer(folder).obtain({**settings, "eab": None}, answer=unwanted)
        assert caught.value.kind == "eab"
        assert "eab: {kid" in str(caught.value)
        wrong = {"kid": "kid-1", "hmac_key": "b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfT"}
        with pytest.raises(CertificateError) as refused:
            issuer(folder).obtain({**settings, "eab": wrong}, answer=unwanted)
        assert wrong["hmac_key"] not in str(refused.value)
        issuer(folder).obtain(settings, answer=answer)
    assert command_lines
    assert not any(EAB["hmac_key"].encode() in line for line in command_lines)
    for path in folder.rglob("*"):
        assert not path.is_file() or EAB["hmac_key"].encode() not in path.read_bytes(), path


def test_an_account_unknown_to_the_ca_is_registered_again(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    settings = pebble.settings("forgotten.example.com")
    before = issuer(folder).obtain(settings, answer=responder.answer)
    (registration,) = folder.glob("config/accounts/**/regr.json")
    forgotten = registration.read_text().replace("/my-account/", "/my-account/0")
    registration.write_text(forgotten)
    after = issuer(folder).obtain(settings, answer=responder.answer, is_forced=True)
    assert after.serial != before.serial
    (aside,) = folder.glob("former-accounts/**/regr.json")
    assert aside.read_text() == forgotten
    assert (folder / "former-accounts").stat().st_mode & 0o077 == 0


def test_an_address_and_a_name_with_an_rsa_key_and_a_contact(
    pebble: Pebble, responder: Responder, workdir: Path
) -> None:
    (workdir / ("long" * 20)).mkdir()
    folder = (
        Path("long" * 20) / ".deployer/certbot"
    )  # where the playbook lies in the working folder
    names = ("address.example.com", "127.0.0.1")
    settings = pebble.settings(*names, key_type="rsa-2048", email="ops@deployer.example.net")
    pair = issuer(folder).obtain(settings, answer=responder.answer)
    assert set(pair.leaf.names) == set(names)
    assert pair.leaf.key_type == "rsa-2048"
    assert issuer(folder).kept(settings) == pair


def test_a_profile_that_the_ca_has_not_is_not_asked_for(pebble: Pebble, folder: Path) -> None:
    before = pebble.orders()
    with pytest.raises(CertificateError, match="does not offer the profile shortlived") as caught:
        issuer(folder).obtain(
            pebble.settings("profile.example.com", profile="shortlived"), answer=unwanted
        )
    assert caught.value.kind == "profile"
    assert pebble.orders() == before


def test_threads_that_ask_for_one_certificate_share_one_order(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    given, before = issuer(folder), pebble.orders()
    settings = pebble.settings("shared.example.com")
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(given.obtain, settings, answer=responder.answer) for _ in range(4)]
        other = pool.submit(
            given.obtain, pebble.settings("second.example.com"), answer=responder.answer
        )
        serials = {each.result(60).serial for each in asked}
        assert other.result(60).leaf.names == ("second.example.com",)
    assert len(serials) == 1
    assert pebble.orders() == before + 2


PROGRAM = """
import json, sys, threading, time, urllib.request
from pathlib import Path
from deployer.certificates.acme.issuer import Issuer

settings, folder, forever = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "forever"

def answer(token, key_authorization):
    print("answering", flush=True)
    if forever:
        threading.Event().wait(60)

print(Issuer(folder, log=lambda line: None).obtain(settings, answer=answer).serial, flush=True)
"""


def start(settings: dict[str, Any], folder: Path, how: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PROGRAM, json.dumps(settings), str(folder), how]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_processes_that_ask_for_one_certificate_wait_for_each_other(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    settings = pebble.settings("processes.example.com")
    held, go_on = threading.Event(), threading.Event()

    def answer(token: str, key_authorization: str | None) -> None:
        held.set()
        assert go_on.wait(PATIENCE_S)
        responder.answer(token, key_authorization)

    before = pebble.orders()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(issuer(folder).obtain, settings, answer=answer)
        assert held.wait(PATIENCE_S)
        other = start(settings, folder, "now")
        until(lambda: other.poll() is not None or _opens(other.pid, folder / "order.lock"))
        assert other.poll() is None, "it ended before it waited"
        go_on.set()
        shown, _ = other.communicate(timeout=PATIENCE_S)
        assert shown.split() == [first.result(60).serial]
    assert pebble.orders() == before + 1


def _opens(pid: int, path: Path) -> bool:
    links = Path(f"/proc/{pid}/fd").glob("*")
    return any(os.path.realpath(link) == str(path) for link in links)


def test_a_controller_that_is_killed_takes_its_certbot_along_before_the_ca_looks(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    process = start(pebble.settings("killed.example.com"), folder, "forever")
    assert process.stdout is not None
    assert process.stdout.readline() == "answering\n"
    assert certbots(folder)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    until(lambda: not certbots(folder))
    assert responder.looked_at == 0
    assert (folder / "order").stat().st_mode & 0o777 == 0o700
    # The next run is not held up by anything that was left.
    pair = issuer(folder).obtain(pebble.settings("killed.example.com"), answer=responder.answer)
    assert pair.leaf.names == ("killed.example.com",)
    assert not (folder / "order").exists()


@pytest.mark.parametrize("why", ["cancelled", "timeout"])
def test_an_order_that_is_cut_short_leaves_nothing_running(
    pebble: Pebble, responder: Responder, folder: Path, why: str
) -> None:
    cancel = threading.Event()

    def answer(token: str, key_authorization: str | None) -> None:
        responder.answer(token, key_authorization)
        if key_authorization is None:
            return
        if why == "cancelled":
            cancel.set()
        until(lambda: not certbots(folder))

    given = issuer(folder, cancel=cancel, limit_s=4.0 if why == "timeout" else 60.0)
    with pytest.raises(CertificateError) as caught:
        given.obtain(pebble.settings("cut.example.com"), answer=answer)
    assert caught.value.kind == why
    assert certbots(folder) == []
    assert responder.answers == {}
    assert responder.looked_at == 0


def test_a_certificate_issued_before_an_interruption_is_not_ordered_again(
    pebble: Pebble, responder: Responder, folder: Path
) -> None:
    settings = pebble.settings("cut-off.example.com")
    first = issuer(folder).obtain(settings, answer=responder.answer)
    kept = folder / f"{lineage_of(settings)}.pem"
    kept.unlink()
    assert issuer(folder).obtain(settings, answer=unwanted).serial == first.serial
    # What is damaged counts as absent; a key that others may read is not used.
    CertificateStore(folder).keep(settings)
    kept.write_bytes(b"\0" * 100)
    assert issuer(folder).obtain(settings, answer=unwanted).serial == first.serial
    kept.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        issuer(folder).obtain(settings, answer=unwanted)


def test_short_lifetimes_are_renewed_when_half_is_left(folder: Path, tmp_path: Path) -> None:
    with pebble_here.running(tmp_path / "ca", validity_s=6) as (ca, responder):
        settings = ca.settings("short.example.com")
        first = issuer(folder).obtain(settings, answer=responder.answer)
        assert first.leaf.not_after - first.due_at == pytest.approx(first.leaf.lifetime_s / 2)
        until(lambda: issuer(folder).kept(settings) is None)
        second = issuer(folder).obtain(settings, answer=responder.answer)
    assert second.serial != first.serial


def test_a_rehearsal_keeps_nothing(pebble: Pebble, responder: Responder, folder: Path) -> None:
    settings = pebble.settings("rehearsed.example.com")
    rehearse(settings, folder=folder, answer=responder.answer, log=lambda line: None)
    assert responder.looked_at > 0
    assert CertificateStore(folder).newest(settings) is None


def test_a_dns_plugin_that_is_not_here_is_named_with_its_package(
    pebble: Pebble, folder: Path
) -> None:
    dns = {"plugin": "hetzner-cloud", "credentials": "/nowhere", "propagation_s": 5}
    settings = pebble.settings("*.wild.example.com", challenge="dns-01", dns=dns)
    before = pebble.orders()
    with pytest.raises(UsageError, match="certbot-dns-hetzner-cloud from PyPI"):
        issuer(folder).obtain(settings, answer=unwanted)
    assert pebble.orders() == before


#: A plugin of certbot as others write them, for the DNS that comes with Pebble.
PLUGIN = """
import json, urllib.request
from certbot.plugins import dns_common

class Authenticator(dns_common.DNSAuthenticator):
    @classmethod
    def add_parser_arguments(cls, add):
        super().add_parser_arguments(add, default_propagation_seconds=600)
        add("credentials", help="an INI file")

    def more_info(self):
        return "for tests"

    def _setup_credentials(self):
        self.api = self._configure_credentials("credentials", "an INI file", {"api": "its URL"})

    def _tell(self, what, message):
        data = json.dumps(message).encode()
        urllib.request.urlopen(self.api.conf("api") + what, data, timeout=600).close()

    def _perform(self, domain, name, value):
        self._tell("/set-txt", {"host": name + ".", "value": value})

    def _cleanup(self, domain, name, value):
        self._tell("/clear-txt", {"host": name + "."})
"""
