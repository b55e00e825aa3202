"""What an ACME server says of itself, and servers, clocks and roots that are not right."""

from __future__ import annotations

import email.utils
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from deployer.agent.certificates import directory as module
from deployer.agent.certificates.directory import (
    Directory,
    DirectoryError,
    read_directory,
    renewal_window,
)
from deployer.agent.certificates.x509 import Certificate
from tests.support.certificates.pki import EXPIRED, Issued, authority, issued, server_context
from tests.support.servers.scripted import Peer, Script, Server
from tests.support.waiting import at_most
from tests.unit.agent.certificates.test_x509 import der, made

DAY = 86400.0
DOCUMENT = {"newNonce": "https://ca.example/nonce", "newOrder": "https://ca.example/order"}


def root_pem(folder: Path) -> str:
    """The root of all that is right here, in a file."""
    path = folder / "root.pem"
    path.write_bytes(authority("root").pem)
    return str(path)


def https(folder: Path, script: Script, leaf: Issued | None = None) -> Server:
    """A server on loopback with a certificate that is right, or with `leaf`."""
    shown = leaf or issued("127.0.0.1", by=authority("root"))
    return Server(script, tls=server_context(folder, shown), reads_head=True)


def says(document: Any = DOCUMENT, *headers: str, status: str = "200 OK") -> Script:
    body = document if isinstance(document, str) else json.dumps(document)
    return lambda peer: peer.answer(status, *headers, body=body)


def dated(off_s: float) -> str:
    """The header of a server whose clock is `off_s` behind ours."""
    return f"Date: {email.utils.formatdate(time.time() - off_s, usegmt=True)}"


def refused(server: Server, bundle: str | None, path: str = "/dir") -> DirectoryError:
    with server, pytest.raises(DirectoryError) as caught:
        read_directory(f"https://127.0.0.1:{server.port}{path}", bundle)
    assert str(caught.value) == caught.value.words
    return caught.value


def test_a_directory(tmp_path: Path) -> None:
    meta = {"externalAccountRequired": True, "profiles": {"shortlived": "six days"}}
    document = {**DOCUMENT, "meta": meta, "renewalInfo": "https://ca.example/ari"}
    with https(tmp_path, says(document, dated(0))) as server:
        found = read_directory(f"https://127.0.0.1:{server.port}/dir", root_pem(tmp_path))
    assert found.profiles == {"shortlived": "six days"}
    assert found.needs_eab
    assert found.renewal_info == "https://ca.example/ari"
    assert abs(found.clock_off_s) < 5


@pytest.mark.parametrize("meta", [None, [], "text", {"profiles": ["a"]}, {"profiles": None}])
def test_a_directory_that_says_little(meta: Any) -> None:
    found = Directory({**DOCUMENT, "meta": meta}, 0.0)
    assert found.profiles == {}
    assert not found.needs_eab
    assert found.renewal_info == ""


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off_s", "words"),
    [
        (10 * DAY, "the host's clock is 10.0 days ahead of the CA's"),
        (-10 * DAY, "the host's clock is 10.0 days behind the CA's"),
        (3 * 3600.0, "the host's clock is 3.0 hours ahead of the CA's"),
    ],
)
def test_a_clock_that_is_wrong(off_s: float, words: str, tmp_path: Path) -> None:
    error = refused(https(tmp_path, says(DOCUMENT, dated(off_s))), root_pem(tmp_path))
    assert error.kind == "clock"
    assert words in error.words
    assert "timedatectl set-ntp true" in error.words


def test_a_clock_that_makes_the_ca_look_expired(tmp_path: Path) -> None:
    """TLS fails because of our clock: that is reported, not that the CA is not trusted."""
    leaf = issued("127.0.0.1", by=authority("root"), ends=EXPIRED)
    error = refused(https(tmp_path, says(DOCUMENT, dated(40 * DAY)), leaf), root_pem(tmp_path))
    assert error.kind == "clock"
    assert "40.0 days ahead" in error.words
    assert "look expired" in error.words


def test_a_clock_that_makes_the_ca_look_too_new(tmp_path: Path) -> None:
    error = refused(
        https(tmp_path, says(DOCUMENT, dated(-40 * DAY)), issued("127.0.0.1", by=None)),
        root_pem(tmp_path),
    )
    assert error.kind == "clock"
    assert "40.0 days behind" in error.words
    assert "not valid yet" in error.words


@pytest.mark.parametrize("off_s", [1800.0, -1800.0])
def test_a_clock_that_is_a_little_off(off_s: float, tmp_path: Path) -> None:
    with https(tmp_path, says(DOCUMENT, dated(off_s))) as server:
        found = read_directory(f"https://127.0.0.1:{server.port}/dir", root_pem(tmp_path))
    assert abs(found.clock_off_s - off_s) < 5


@pytest.mark.parametrize(
    "date",
    ["X-No-Date: 1", "Date: ", "Date: yesterday", "Date: Sat, 31 Feb 99999 25:61:61 GMT"],
)
def test_a_server_that_does_not_know_the_time(date: str, tmp_path: Path) -> None:
    with https(tmp_path, says(DOCUMENT, date)) as server:
        found = read_directory(f"https://127.0.0.1:{server.port}/dir", root_pem(tmp_path))
    assert found.clock_off_s == 0.0


# --- trust ----------------------------------------------------------------------------------------


def test_a_ca_that_is_not_trusted(tmp_path: Path) -> None:
    leaf = issued("127.0.0.1", by=authority("another root"))
    script = says(DOCUMENT, dated(0))
    error = refused(https(tmp_path, script, leaf), root_pem(tmp_path))
    assert error.kind == "tls"
    assert "is not trusted" in error.words
    assert "is its root in the ca_bundle?" in error.words
    error = refused(https(tmp_path, script, leaf), None)
    assert error.kind == "tls"
    assert "a CA of your own needs ca_bundle" in error.words


def test_a_ca_of_another_name(tmp_path: Path) -> None:
    leaf = issued("ca.example.com", by=authority("root"))
    error = refused(https(tmp_path, says(), leaf), root_pem(tmp_path))
    assert error.kind == "tls"
    assert "127.0.0.1" in error.words


@pytest.mark.parametrize("content", [None, "", "no certificate\n"])
def test_roots_that_cannot_be_read(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(content)
    error = refused(https(tmp_path, says()), str(path))
    assert error.kind == "tls"
    assert f"the ca_bundle {path} cannot be used" in error.words


# --- servers that are not right -------------------------------------------------------------------


def garbage(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def half(peer: Peer) -> None:
    peer.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"newOrder": ')


def endless_headers(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (says(status="404 Not Found"), "answers with 404 Not Found"),
        (says(status="503 Service Unavailable"), "answers with 503 Service Unavailable"),
        (says("<html>welcome</html>"), "does not answer with an ACME directory"),
        (says([1, 2]), "does not answer with an ACME directory"),
        (says({"keyChange": "x"}), "does not answer with an ACME directory"),
        (says(""), "does not answer with an ACME directory"),
        (half, "does not answer with an ACME directory"),
        (garbage, "does not answer as a web server does"),
        (endless_headers, "does not answer as a web server does"),
        (lambda peer: None, "does not answer as a web server does"),
        (says("[" * 100_000), "does not answer with an ACME directory"),
        (
            lambda peer: peer.answer("302 Found", f"Location: {peer.target}"),
            "answers with 302",
        ),
    ],
)
def test_a_server_that_is_no_ca(script: Script, words: str, tmp_path: Path) -> None:
    error = refused(https(tmp_path, script), root_pem(tmp_path))
    assert error.kind == "directory-down"
    assert words in error.words
    assert "https://127.0.0.1:" in error.words


def test_a_server_without_tls(tmp_path: Path) -> None:
    error = refused(Server(says(), reads_head=False), root_pem(tmp_path))
    assert error.kind == "directory-down"
    assert "cannot be reached" in error.words


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DirectoryError, match="cannot be reached: nothing listens there"):
        read_directory(f"https://127.0.0.1:{port}/dir", None)


def test_an_unknown_host_name() -> None:
    with pytest.raises(DirectoryError, match="its name does not resolve on the host"):
        read_directory("https://ca.invalid/dir", None)


def drips(peer: Peer) -> None:
    peer.drip(b"HTTP/1.1 200 OK\r\nX: y\r\n" + b"X: y\r\n" * 50)


def drips_a_body(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    peer.drip(b" ")


@pytest.mark.parametrize("script", [lambda peer: peer.until_it_leaves(), drips, drips_a_body])
def test_a_server_that_is_slow(
    script: Callable[[Peer], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent, or with a byte now and then: one limit for all of an answer."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    began = time.monotonic()
    error = refused(https(tmp_path, script), root_pem(tmp_path))
    assert time.monotonic() - began < at_most(2)
    assert error.kind == "directory-down"
    assert "has not answered within 0.1 s" in error.words


def test_a_listener_that_accepts_no_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/dir"
        with pytest.raises(DirectoryError, match=r"has not answered within 0\.1 s"):
            read_directory(url, root_pem(tmp_path))


def test_no_redirect_leads_away_from_tls(tmp_path: Path) -> None:
    with Server(says()) as plain:
        to = f"Location: http://127.0.0.1:{plain.port}/dir"
        server = https(tmp_path, says(None, to, status="302 Found"))
        error = refused(server, root_pem(tmp_path))
    assert "leads away from TLS" in error.words
    assert error.kind == "directory-down"


def test_it_is_asked_over_https_alone() -> None:
    with pytest.raises(DirectoryError) as caught:
        read_directory("http://127.0.0.1/dir", None)
    assert caught.value.kind == "directory-down"


# --- renewal information --------------------------------------------------------------------------

_WINDOW = {"start": "2026-12-01T08:00:00Z", "end": "2026-12-03T10:00:00+02:00"}


@pytest.mark.parametrize(
    ("document", "headers", "expected", "asked_in_s"),
    [
        ({"suggestedWindow": _WINDOW}, (), (1796112000.0, 1796284800.0), 21600.0),
        ({"suggestedWindow": _WINDOW}, ("Retry-After: 3600",), (1796112000.0, 1796284800.0), 3600),
        ({"suggestedWindow": _WINDOW}, ("Retry-After: 1",), (1796112000.0, 1796284800.0), 60.0),
        ({"suggestedWindow": _WINDOW}, ("Retry-After: nan",), (1796112000.0, 1796284800.0), 60.0),
        (
            {"suggestedWindow": _WINDOW},
            ("Retry-After: 99999999",),
            (1796112000.0, 1796284800.0),
            DAY,
        ),
        (
            {"suggestedWindow": {**_WINDOW, "start": "2026-12-01T08:00:00.123456Z"}},
            ("Retry-After: soon",),
            (1796112000.0, 1796284800.0),
            21600.0,
        ),
        ({"suggestedWindow": {"start": _WINDOW["end"], "end": _WINDOW["start"]}}, (), None, 0),
        ({"suggestedWindow": {"start": "soon", "end": "later"}}, (), None, 0),
        ({"suggestedWindow": []}, (), None, 0),
        ({}, (), None, 0),
        ("nothing", (), None, 0),
    ],
)
def test_renewal_information(
    document: Any,
    headers: tuple[str, ...],
    expected: tuple[float, float] | None,
    asked_in_s: float,
    tmp_path: Path,
) -> None:
    asked: list[str] = []

    def script(peer: Peer) -> None:
        asked.append(peer.target)
        says(document, *headers)(peer)

    theirs: x509.Certificate = made(ec.generate_private_key(ec.SECP256R1()))
    certificate = Certificate(der(theirs))
    with https(tmp_path, script) as server:
        info = f"https://127.0.0.1:{server.port}/ari/"
        found = renewal_window(
            Directory({"renewalInfo": info}, 0.0), certificate, root_pem(tmp_path)
        )
    assert asked == [f"/ari/{certificate.ari_id}"]
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert (found.start, found.end) == expected
    assert abs(found.ask_again_at - time.time() - asked_in_s) < 5


def test_no_renewal_information_is_asked_of_a_ca_without_it() -> None:
    certificate = Certificate(der(made(ec.generate_private_key(ec.SECP256R1()))))
    assert renewal_window(Directory(DOCUMENT, 0.0), certificate, None) is None
